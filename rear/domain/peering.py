"""What an offer of resources comes to at its consumer (step 27)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rear.domain import allocation as allocations
from rear.domain import purchase as purchases
from rear.domain import virtual_node
from rear.domain.allocation import CARRIED_STATES, Allocation, Peering
from rear.domain.event import Cause
from rear.domain.events import AllocationEvent, AnyEvent
from rear.domain.fabric import HeardOffer
from rear.domain.lifecycle import ContractState
from rear.domain.link_events import LinkEvent
from rear.domain.purchase import Purchase

AGREED: Final = frozenset({ContractState.CONFIRMED, ContractState.ACTIVE})
"""States of contracts whose resources may be asked for."""


def to_be_peered(purchase: Purchase) -> bool:
    """Whether there is something to be asked for: a contract that is bought, and not to be given back."""
    return purchase.state in AGREED and not purchase.cancelling


def peered(
    purchase: Purchase, stands: Allocation, heard: HeardOffer, fabric: str, endpoint: str, cause: Cause
) -> Sequence[AnyEvent]:
    """What is recorded of an offer that `fabric` has attached at `endpoint`, for one commit; nothing where it is known.

    All that follows from the contract as the offer showed it, that the allocation is peered, and that it is active
    where the contract is.
    """
    events = [*virtual_node.seen(purchase, stands, heard.contract, cause, heard.elapsed)]
    for event in events:
        if isinstance(event, AllocationEvent):
            stands = allocations.evolve(stands, event)
        elif isinstance(event, LinkEvent):
            purchase = purchases.evolve(purchase, event)
    if purchase.state is None or stands.state not in CARRIED_STATES:
        return events
    carried = allocations.peer(stands, Peering(purchase.order.provider_id, fabric, endpoint), cause)
    if carried is not None:
        events.append(carried)
        stands = allocations.evolve(stands, carried)
    activated = allocations.activate_if_due(stands, purchase.state, cause)
    if activated is not None:
        events.append(activated)
    return events
