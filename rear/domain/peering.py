"""What an offer of resources comes to at its consumer (step 27)."""

from __future__ import annotations

from rear.domain import allocation as allocations
from rear.domain import purchase as purchases
from rear.domain.allocation import Allocation, Peering
from rear.domain.event import Cause
from rear.domain.events import AnyEvent
from rear.domain.fabric import HeardOffer
from rear.domain.lifecycle import ContractState
from rear.domain.purchase import Purchase


def peered(
    purchase: Purchase, stands: Allocation, heard: HeardOffer, fabric: str, endpoint: str, cause: Cause
) -> tuple[AnyEvent, ...]:
    """What is recorded of an offer that `fabric` has attached at `endpoint`, for one commit.

    The contract as the offer showed it, that the allocation is peered, and that it is active where the contract is.
    Nothing of it where there is nothing new.
    """
    events: list[AnyEvent] = []
    for observed in purchases.observe(purchase, heard.contract, cause, heard.elapsed):
        events.append(observed)
        purchase = purchases.evolve(purchase, observed)
    if purchase.state not in (ContractState.CONFIRMED, ContractState.ACTIVE):
        return tuple(events)
    carried = allocations.peer(stands, Peering(purchase.order.provider_id, fabric, endpoint), cause)
    if carried is not None:
        events.append(carried)
        stands = allocations.evolve(stands, carried)
    activated = allocations.activate_if_due(stands, purchase.state, cause)
    return (*events, activated) if activated is not None else tuple(events)
