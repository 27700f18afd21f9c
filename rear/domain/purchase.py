"""The Purchase aggregate: the buyer's copy of a contract, and what is still asked of its seller.

The seller's ledger decides. A copy applies higher revisions only, and nothing here ends because a clock here says so.
"""

from __future__ import annotations

from typing import Final
from uuid import NAMESPACE_URL, uuid5

from rear.domain import contradiction
from rear.domain.counter_offer import CounterOffer
from rear.domain.event import Cause
from rear.domain.lifecycle import ContractState
from rear.domain.link import ContractCopy, LinkVerb, Order
from rear.domain.link_events import LinkEvent, LinkObserved, LinkRequested, LinkUndone
from rear.domain.refusals import RequestIdReused, WrongState
from rear.domain.value import value
from rear.domain.window import Duration, Instant

UNTRUE: Final = "UNTRUE_ANSWER"
"""The reason of a LinkUndone where the seller answered with what the request cannot have led to."""

MOST_EVENTS: Final = 100
"""Of one purchase that is believed in: a contract's life has four changes, and a seller must not fill this ledger."""


@value
class PendingLink:
    """A request to the seller whose outcome is not known yet."""

    verb: LinkVerb
    request_id: str
    reason: str = ""


@value
class Undone:
    """Why there is no contract; `reason` is stable, as in `google.rpc.ErrorInfo`."""

    reason: str
    message: str
    counter_offer: CounterOffer | None = None


@value
class Purchase:
    """A purchase after its newest event. Its id is that of the contract that its reservation leads to.

    `request_id` is that of the reservation. `copy` is the contract as it was last seen, None while it never was. A
    purchase that is `undone` gives nobody a contract, whatever else is to be seen: one that the seller has all the same
    is cancelled.
    """

    id: str
    version: int
    order: Order
    service_request_id: str
    component: str
    request_id: str
    requested_at: Instant
    updated_at: Instant
    pending: PendingLink | None = None
    copy: ContractCopy | None = None
    undone: Undone | None = None

    @property
    def open(self) -> bool:
        """Whether something may still come of it: a request is under way, or the seller holds capacity for it."""
        return self.pending is not None or (self.copy is not None and self.copy.live)

    @property
    def state(self) -> ContractState | None:
        """The state of the contract as it was last seen; None where there is none."""
        return None if self.copy is None or self.undone is not None else self.copy.state

    @property
    def cancelling(self) -> bool:
        """Whether its end was asked for, and is not seen yet."""
        return self.pending is not None and self.pending.verb is LinkVerb.CANCEL


def evolve(purchase: Purchase | None, event: LinkEvent) -> Purchase:
    """The purchase after `event`. Pure."""
    at, version = event.cause.at, event.originator_version
    if purchase is None:
        if not isinstance(event, LinkRequested) or event.order is None:
            raise ValueError("a purchase's first event must be a LinkRequested with an order")
        asked = event.link_request_id
        return Purchase(
            event.originator_id,
            version,
            event.order,
            event.service_request_id,
            event.component,
            asked,
            at,
            at,
            PendingLink(event.verb, asked, event.reason),
        )
    pending, copy, undone = purchase.pending, purchase.copy, purchase.undone
    match event:
        case LinkRequested():
            pending = PendingLink(event.verb, event.link_request_id, event.reason)
        case LinkObserved():
            copy = event.contract
            pending = None if pending is None or _settled(pending.verb, copy) else pending
        case LinkUndone():
            pending, copy = None, None
            undone = undone or Undone(event.reason, event.message, event.counter_offer)
    return Purchase(
        purchase.id,
        version,
        purchase.order,
        purchase.service_request_id,
        purchase.component,
        purchase.request_id,
        purchase.requested_at,
        max(purchase.updated_at, at),
        pending,
        copy,
        undone,
    )


def _settled(verb: LinkVerb, copy: ContractCopy) -> bool:
    """Whether a contract that looks like this shows what became of the request."""
    match verb:
        case LinkVerb.RESERVE:
            return True
        case LinkVerb.PURCHASE:
            return copy.state is not ContractState.RESERVED
        case LinkVerb.CANCEL:
            return not copy.live


def request_reserve(
    purchase: Purchase | None,
    contract_id: str,
    request_id: str,
    order: Order,
    service_request_id: str,
    component: str,
    cause: Cause,
) -> LinkRequested | None:
    """Decides to reserve (step 14); None where that was decided before.

    `contract_id` is what `request_id` leads to (`rear.domain.contract.contract_id`); a purchase that is not open any
    more is in the tables only. Raises RequestIdReused where the id stands for another order.
    """
    if purchase is None:
        return LinkRequested(contract_id, 1, cause, LinkVerb.RESERVE, request_id, order, service_request_id, component)
    if (purchase.order, purchase.service_request_id, purchase.component) != (order, service_request_id, component):
        raise RequestIdReused(
            f"request_id {request_id!r} was used before, for another order; take a new one for a new attempt",
            {"request_id": request_id, "contract_id": contract_id},
        )
    return None


def request_purchase(purchase: Purchase, request_id: str, cause: Cause) -> LinkRequested | None:
    """Decides to buy what is reserved (step 22); None where that was decided before, or the contract is agreed.

    Raises WrongState where there is nothing to buy.
    """
    pending, state = purchase.pending, purchase.state
    if pending is not None and pending.verb is LinkVerb.PURCHASE:
        return None
    if pending is None and state in (ContractState.CONFIRMED, ContractState.ACTIVE):
        return None
    if pending is not None or state is not ContractState.RESERVED:
        raise WrongState(
            f"the purchase of contract {purchase.id} is {_told(purchase)}: there is nothing to buy",
            {"contract_id": purchase.id, "state": "" if state is None else state.value},
        )
    return _asked(purchase, LinkVerb.PURCHASE, request_id, "", cause)


def request_cancel(purchase: Purchase, request_id: str, reason: str, cause: Cause) -> LinkRequested | None:
    """Decides to end the contract, whatever is under way; None where that was decided before or nothing is left."""
    if purchase.cancelling or not purchase.open:
        return None
    return _asked(purchase, LinkVerb.CANCEL, request_id, reason, cause)


def observe(
    purchase: Purchase, contract: ContractCopy, cause: Cause, elapsed: Duration | None = None
) -> tuple[LinkEvent, ...]:
    """What a contract that the seller showed changes: nothing, where its revision is not above that of the copy.

    One that cannot be true undoes the purchase, and is cancelled; of one that was undone only the end is of interest.
    Nothing is written of a purchase that is not open any more, so that it can be forgotten. Raises ValueError for a
    contract with another id.
    """
    if contract.id != purchase.id:
        raise ValueError(f"contract {contract.id} is not the one of purchase {purchase.id}")
    if not purchase.open or (purchase.copy is not None and contract.revision <= purchase.copy.revision):
        return ()
    if purchase.undone is not None and contract.live:
        return ()
    wrong = "" if purchase.undone is not None else _wrong(purchase, contract)
    if wrong:
        return give_up(purchase, UNTRUE, wrong, cause, elapsed)
    return (LinkObserved(purchase.id, purchase.version + 1, cause, contract, elapsed),)


def give_up(
    purchase: Purchase, reason: str, message: str, cause: Cause, elapsed: Duration | None = None
) -> tuple[LinkUndone, LinkRequested]:
    """Gives up a purchase whose seller may have a contract all the same, which is cancelled, should there be one."""
    undone = LinkUndone(purchase.id, purchase.version + 1, cause, reason, message, None, elapsed)
    request_id, version = give_up_id(purchase.id), purchase.version + 2
    return undone, LinkRequested(purchase.id, version, cause, LinkVerb.CANCEL, request_id, reason=message)


def give_up_id(purchase_id: str) -> str:
    """The request id of the cancellation of a contract that is there although its purchase is undone."""
    return str(uuid5(NAMESPACE_URL, f"{purchase_id}/given up"))


def undo(
    purchase: Purchase,
    reason: str,
    message: str,
    cause: Cause,
    counter_offer: CounterOffer | None = None,
    elapsed: Duration | None = None,
) -> LinkUndone | None:
    """Records that the seller has no contract for it; None where nothing is open any more."""
    if not purchase.open:
        return None
    return LinkUndone(purchase.id, purchase.version + 1, cause, reason, message, counter_offer, elapsed)


def _asked(purchase: Purchase, verb: LinkVerb, request_id: str, reason: str, cause: Cause) -> LinkRequested:
    return LinkRequested(purchase.id, purchase.version + 1, cause, verb, request_id, reason=reason)


def _wrong(purchase: Purchase, contract: ContractCopy) -> str:
    """What of a contract cannot be true; empty where nothing is wrong with it."""
    if purchase.version >= MOST_EVENTS:
        return f"the contract changed more than {MOST_EVENTS} times"
    return contradiction.of_order(purchase.order, contract) or (
        "" if purchase.copy is None else contradiction.of_copy(purchase.copy, contract)
    )


def _told(purchase: Purchase) -> str:
    if purchase.undone is not None:
        return f"undone ({purchase.undone.reason})"
    if purchase.pending is not None:
        return f"waiting for its {purchase.pending.verb.value}"
    return "gone" if purchase.copy is None else purchase.copy.state.value
