"""What passes between a buyer and a seller, as the bodies of a purchase's events.

Readers raise KeyError for an enum's number that this version does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rear.domain.event import Cause
from rear.domain.link import LinkVerb, Order
from rear.domain.link_events import LinkObserved, LinkRequested, LinkUndone
from rear.event.v1 import purchase_pb2
from rear.wire.contracts import read_copy, read_counter_offer, write_copy, write_counter_offer
from rear.wire.values import (
    read_asked_window,
    read_duration,
    read_money,
    read_partition,
    write_asked_window,
    write_duration,
    write_money,
    write_partition,
)

LINK_VERB_NUMBERS: Final[Mapping[LinkVerb, purchase_pb2.LinkVerb.ValueType]] = {
    LinkVerb.RESERVE: purchase_pb2.LINK_VERB_RESERVE,
    LinkVerb.PURCHASE: purchase_pb2.LINK_VERB_PURCHASE,
    LinkVerb.CANCEL: purchase_pb2.LINK_VERB_CANCEL,
}

LINK_VERBS: Final[Mapping[int, LinkVerb]] = {number: verb for verb, number in LINK_VERB_NUMBERS.items()}
"""Without UNSPECIFIED."""


def write_order(message: purchase_pb2.Order, order: Order) -> None:
    """All that the order says."""
    message.provider_id = order.provider_id
    message.endpoint = order.endpoint
    message.flavour_id = order.flavour_id
    write_partition(message.partition, order.partition)
    write_asked_window(message.window, order.window)
    if order.ttp is not None:
        write_duration(message.ttp, order.ttp)
    message.confirm = order.confirm
    if order.max_price is not None:
        write_money(message.max_price, order.max_price)
    message.priority = order.priority


def read_order(message: purchase_pb2.Order) -> Order:
    """What `write_order` wrote."""
    return Order(
        message.provider_id,
        message.endpoint,
        message.flavour_id,
        read_partition(message.partition),
        read_asked_window(message.window),
        read_duration(message.ttp) if message.HasField("ttp") else None,
        message.confirm,
        read_money(message.max_price) if message.HasField("max_price") else None,
        message.priority,
    )


def write_requested(body: purchase_pb2.LinkRequested, event: LinkRequested) -> None:
    """A request that is about to be sent."""
    body.verb = LINK_VERB_NUMBERS[event.verb]
    body.link_request_id = event.link_request_id
    if event.order is not None:
        body.order.SetInParent()
        write_order(body.order, event.order)
    body.service_request_id = event.service_request_id
    body.component = event.component
    body.reason = event.reason


def read_requested(body: purchase_pb2.LinkRequested, purchase_id: str, version: int, cause: Cause) -> LinkRequested:
    """What `write_requested` wrote."""
    return LinkRequested(
        purchase_id,
        version,
        cause,
        LINK_VERBS[body.verb],
        body.link_request_id,
        read_order(body.order) if body.HasField("order") else None,
        body.service_request_id,
        body.component,
        body.reason,
    )


def write_observed(body: purchase_pb2.LinkObserved, event: LinkObserved) -> None:
    """A contract as its seller showed it."""
    write_copy(body.contract, event.contract)
    if event.elapsed is not None:
        write_duration(body.elapsed, event.elapsed)


def read_observed(body: purchase_pb2.LinkObserved, purchase_id: str, version: int, cause: Cause) -> LinkObserved:
    """What `write_observed` wrote."""
    elapsed = read_duration(body.elapsed) if body.HasField("elapsed") else None
    return LinkObserved(purchase_id, version, cause, read_copy(body.contract), elapsed)


def write_undone(body: purchase_pb2.LinkUndone, event: LinkUndone) -> None:
    """Why there is no contract."""
    body.reason = event.reason
    body.message = event.message
    if event.counter_offer is not None:
        write_counter_offer(body.counter_offer, event.counter_offer)
    if event.elapsed is not None:
        write_duration(body.elapsed, event.elapsed)


def read_undone(body: purchase_pb2.LinkUndone, purchase_id: str, version: int, cause: Cause) -> LinkUndone:
    """What `write_undone` wrote."""
    return LinkUndone(
        purchase_id,
        version,
        cause,
        body.reason,
        body.message,
        read_counter_offer(body.counter_offer) if body.HasField("counter_offer") else None,
        read_duration(body.elapsed) if body.HasField("elapsed") else None,
    )
