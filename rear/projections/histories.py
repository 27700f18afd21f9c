"""Aggregates that are few and have many fields: all their events are kept, and a value is the fold of its events.

Beside that each kind has a table with a row for each, of what it is looked for by.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, cast

from rear.domain import purchase as purchases
from rear.domain import service_request as requests
from rear.domain.event import AggregateType
from rear.domain.events import AnyEvent
from rear.domain.link_events import LinkEvent
from rear.domain.purchase import Purchase
from rear.domain.request_decisions import RequestFilter
from rear.domain.request_events import RequestEvent
from rear.domain.service_request import ForgottenRequest, ServiceRequest
from rear.domain.window import Instant
from rear.ledger.codec import decode
from rear.projections.rows import Row

LATEST: Final = 2**63 - 1
"""The last nanosecond that a column can hold, in the year 2262. What is later is written as this."""


LARGEST_READ: Final = 2 * 1024 * 1024
"""Bytes of events from which on a list of aggregates ends: as values they take up many times as much."""


@dataclass(frozen=True, slots=True)
class RequestRows:
    """Service requests, each with the sequence of its first event, and whether there are more after them.

    They may be fewer than were asked for where they are large, but one at least where there is any.
    """

    rows: Sequence[tuple[int, ServiceRequest]]
    more: bool


def history_row(sequence: int, aggregate: AggregateType, aggregate_id: str, event: bytes) -> Row:
    """For NEW_HISTORY: one event, with its place in the ledger and its bytes there."""
    return (sequence, aggregate.value, aggregate_id, event)


def events_of(connection: sqlite3.Connection, aggregate: AggregateType, aggregate_id: str) -> list[AnyEvent]:
    """The events of one aggregate, the first one first; none where there is no such aggregate."""
    found = connection.execute(
        "SELECT event FROM histories WHERE aggregate_id = ? AND aggregate = ? ORDER BY sequence",
        (aggregate_id, aggregate.value),
    )
    return [decode(event).event for (event,) in found]


def purchase_of(connection: sqlite3.Connection, contract_id: str) -> Purchase | None:
    """A purchase by its id; None where there is none."""
    events = cast("list[LinkEvent]", events_of(connection, AggregateType.PURCHASE, contract_id))
    begun: Purchase | None = None
    return reduce(purchases.evolve, events, begun)


def request_of(connection: sqlite3.Connection, request_id: str) -> ServiceRequest | None:
    """A service request by its id; None where there is none."""
    events = cast("list[RequestEvent]", events_of(connection, AggregateType.REQUEST, request_id))
    begun: ServiceRequest | None = None
    return reduce(requests.evolve, events, begun)


def requests_of(connection: sqlite3.Connection, wanted: RequestFilter, after: int, limit: int) -> RequestRows:
    """Service requests, oldest first, whose first event is above the sequence `after`."""
    query = "SELECT sequence, service_request_id FROM service_requests WHERE sequence > ?"
    arguments: list[int | str] = [after]
    if wanted.submitted_by is not None:
        query += " AND submitted_by = ?"
        arguments.append(wanted.submitted_by)
    if wanted.states:
        query += f" AND state IN ({', '.join('?' * len(wanted.states))})"
        arguments += sorted(state.value for state in wanted.states)
    if wanted.with_operation:
        query += " AND NOT operation_deleted"
    found = connection.execute(f"{query} ORDER BY sequence LIMIT ?", (*arguments, limit + 1)).fetchall()
    rows: list[tuple[int, ServiceRequest]] = []
    size = 0
    for sequence, key in found[:limit]:
        size += _size_of(connection, AggregateType.REQUEST, key)
        if rows and size > LARGEST_READ:
            return RequestRows(rows, True)
        request = request_of(connection, key)
        assert request is not None, "a request's row comes with its first event"
        rows.append((sequence, request))
    return RequestRows(rows, len(found) > limit)


def _size_of(connection: sqlite3.Connection, aggregate: AggregateType, aggregate_id: str) -> int:
    (size,) = connection.execute(
        "SELECT sum(length(event)) FROM histories WHERE aggregate_id = ? AND aggregate = ?",
        (aggregate_id, aggregate.value),
    ).fetchone()
    return size or 0


def new_request_row(sequence: int, request: ServiceRequest) -> Row:
    """For NEW_REQUEST, with the place of the request's first event."""
    return (
        sequence,
        request.id,
        request.intent.name,
        request.submitted_by,
        *_run(request)[:-1],
        request.created_at,
        request.updated_at,
    )


def request_row(request: ServiceRequest) -> Row:
    """For PUT_REQUEST."""
    return (*_run(request), request.id)


def deleted_row(request: ForgottenRequest) -> Row:
    """For DELETE_OPERATION."""
    return (request.version, request.updated_at, request.id)


def _run(request: ServiceRequest) -> Row:
    return (
        request.state.value,
        request.open,
        None if request.failure is None else request.failure.reason,
        request.operation_deleted,
        request.version,
        request.updated_at,
    )


def purchase_row(purchase: Purchase) -> Row:
    """For PUT_PURCHASE."""
    order, copy, pending, undone = purchase.order, purchase.copy, purchase.pending, purchase.undone
    return (
        purchase.id,
        order.provider_id,
        order.endpoint,
        order.flavour_id,
        purchase.service_request_id,
        purchase.component,
        purchase.open,
        None if pending is None else pending.verb.value,
        None if copy is None else copy.state.value,
        None if copy is None else copy.revision,
        None if copy is None else _held(copy.window.start),
        None if copy is None else _held(copy.window.end),
        None if undone is None else undone.reason,
        purchase.version,
        purchase.requested_at,
        purchase.updated_at,
    )


def _held(instant: Instant) -> int:
    return min(max(instant, -LATEST), LATEST)
