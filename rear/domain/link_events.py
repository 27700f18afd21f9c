"""Events of purchases: what is asked of sellers, and what was seen of their contracts."""

from __future__ import annotations

from rear.domain.counter_offer import CounterOffer
from rear.domain.event import Event
from rear.domain.link import ContractCopy, LinkVerb, Order
from rear.domain.value import value
from rear.domain.window import Duration


@value
class LinkRequested(Event):
    """A request to a seller is about to be sent, and is sent until its outcome is known.

    `order`, `service_request_id` and `component` are of a reservation, `reason` is of a cancellation.
    """

    verb: LinkVerb
    link_request_id: str
    order: Order | None = None
    service_request_id: str = ""
    component: str = ""
    reason: str = ""


@value
class LinkObserved(Event):
    """The seller's contract was seen at a higher revision. `elapsed` is None where nobody asked for it."""

    contract: ContractCopy
    elapsed: Duration | None = None


@value
class LinkUndone(Event):
    """There is no contract: the seller refused it, or does not have it. `reason` is stable."""

    reason: str
    message: str
    counter_offer: CounterOffer | None = None
    elapsed: Duration | None = None


LinkEvent = LinkRequested | LinkObserved | LinkUndone
