"""The consumer's side of a contract: what a sight of it, or its absence, makes of the purchase and the allocation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from rear.domain import allocation as allocations
from rear.domain import purchase as purchases
from rear.domain.allocation import Allocation, allocation_id
from rear.domain.counter_offer import CounterOffer
from rear.domain.event import Cause
from rear.domain.events import AllocationCreated, AllocationSide, AnyEvent
from rear.domain.link import ContractCopy
from rear.domain.purchase import Purchase
from rear.domain.window import Duration


def virtual_node_id(contract_id: str) -> str:
    """The id of the consumer's allocation for a contract."""
    return allocation_id(contract_id, AllocationSide.CONSUMER)


def seen(
    purchase: Purchase,
    allocation: Allocation | None,
    contract: ContractCopy,
    cause: Cause,
    elapsed: Duration | None = None,
) -> Sequence[AnyEvent]:
    """All that follows from a contract that the seller showed; nothing where that is known.

    With its first sight comes the VIRTUAL_NODE (step 21), inactive; where the contract is ACTIVE and the allocation is
    peered it becomes active (step 27), and with the contract it ends. What is about to be cancelled gets none.
    `allocation` is the one of this contract, None where there is none that stands.
    """
    events: list[AnyEvent] = [*purchases.observe(purchase, contract, cause, elapsed)]
    if not events:
        return ()
    after: Purchase = reduce(purchases.evolve, events, purchase)  # type: ignore[arg-type]  # they are of the purchase
    if allocation is not None and (not contract.live or after.undone is not None):
        reason = contract.ending.reason if contract.ending is not None else "its contract ended"
        events += _released(allocation, reason, cause)
    elif allocation is not None:
        activated = allocations.activate_if_due(allocation, contract.state, cause)
        events += [] if activated is None else [activated]
    elif purchase.copy is None and contract.live and not after.cancelling:
        events.append(_created(contract, cause))
    return events


def undone(
    purchase: Purchase,
    allocation: Allocation | None,
    reason: str,
    message: str,
    cause: Cause,
    counter_offer: CounterOffer | None = None,
    elapsed: Duration | None = None,
) -> Sequence[AnyEvent]:
    """All that follows where the seller has no contract; nothing where nothing is open any more."""
    event = purchases.undo(purchase, reason, message, cause, counter_offer, elapsed)
    return () if event is None else (event, *_released(allocation, message, cause))


def given_up(
    purchase: Purchase,
    allocation: Allocation | None,
    reason: str,
    message: str,
    cause: Cause,
    elapsed: Duration | None = None,
) -> Sequence[AnyEvent]:
    """All that follows where a seller may have a contract that is not wanted; nothing where it was given up before."""
    if purchase.undone is not None or not purchase.open:
        return ()
    return (*purchases.give_up(purchase, reason, message, cause, elapsed), *_released(allocation, message, cause))


def _released(allocation: Allocation | None, reason: str, cause: Cause) -> Sequence[AnyEvent]:
    return () if allocation is None else (allocations.release(allocation, reason, cause),)


def _created(contract: ContractCopy, cause: Cause) -> AllocationCreated:
    return AllocationCreated(
        virtual_node_id(contract.id),
        1,
        cause,
        contract.id,
        AllocationSide.CONSUMER,
        "",
        contract.window,
        contract.partition.quantities,
        contract.assigned_units,
    )
