"""From committed steps to statements: each row once a batch, however often its aggregate changed in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rear.domain.allocation import Allocation
from rear.domain.contract import Contract
from rear.domain.event import AggregateType
from rear.domain.events import (
    AllocationCreated,
    CapacityChanged,
    ContractReserved,
    HoldReleased,
    PoolRegistered,
    PoolReserved,
    PoolTermsChanged,
)
from rear.domain.pool import Pool
from rear.domain.purchase import Purchase
from rear.domain.rating import UNKNOWN, Rating, rated
from rear.domain.request_events import IntentAccepted
from rear.domain.service_request import ForgottenRequest, ServiceRequest
from rear.domain.state import Service
from rear.ledger.commit import Committed
from rear.projections import histories, rows, schema
from rear.projections.rows import Row

Statement = tuple[str, list[Row]]


@dataclass(slots=True)
class PoolChange:
    """A pool as the batch leaves it, with the newest events in it that set its parts."""

    pool: Pool
    new: bool = False
    terms: bytes | None = None
    capacity: bytes | None = None
    offer: bytes | None = None

    @property
    def rare(self) -> bool:
        """Whether more than the offer changed of a pool that was there before."""
        return not self.new and (self.terms is not None or self.capacity is not None)


@dataclass(slots=True)
class Changes:
    """What a batch changed, by table; where rows begin, with the place and the bytes of their first event."""

    pools: dict[str, PoolChange] = field(default_factory=dict)
    holds: dict[tuple[str, str], Row | None] = field(default_factory=dict)
    began: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)
    created: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    purchases: dict[str, Purchase] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    requests: dict[str, ServiceRequest] = field(default_factory=dict)
    deleted: list[Row] = field(default_factory=list)
    histories: list[Row] = field(default_factory=list)
    ratings: dict[str, Rating] = field(default_factory=dict)


def statements(committed: Iterable[Committed]) -> list[Statement]:
    """The statements that write what the steps changed, each with its rows; to be executed in order."""
    return _statements(changes_of(committed))


def changes_of(committed: Iterable[Committed]) -> Changes:
    """What the steps changed, each aggregate once, as the last of them left it."""
    changes = Changes()
    for item in committed:
        after = item.step.after
        if isinstance(after, Pool):
            _take_pool(changes, after, item)
        elif isinstance(after, Contract):
            changes.contracts[after.id] = after
            if isinstance(item.step.event, ContractReserved):
                changes.began[after.id] = (item.sequence, item.payload)
        elif isinstance(after, Allocation):
            changes.allocations[after.id] = after
            if isinstance(item.step.event, AllocationCreated):
                changes.created[after.id] = (item.sequence, item.payload)
        elif isinstance(after, Purchase):
            changes.purchases[after.id] = after
            changes.histories.append(
                histories.history_row(item.sequence, AggregateType.PURCHASE, after.id, item.payload)
            )
            _rate(changes, item)
        elif isinstance(after, ServiceRequest | ForgottenRequest):
            _take_request(changes, after, item)
            changes.histories.append(
                histories.history_row(item.sequence, AggregateType.REQUEST, after.id, item.payload)
            )
            _rate(changes, item)
    return changes


def _take_request(changes: Changes, request: ServiceRequest | ForgottenRequest, item: Committed) -> None:
    if isinstance(request, ForgottenRequest):
        changes.deleted.append(histories.deleted_row(request))
        return
    changes.requests[request.id] = request
    if isinstance(item.step.event, IntentAccepted):
        changes.accepted[request.id] = item.sequence


def rare_statements(changes: Changes) -> list[Statement]:
    """Those for aggregates that are few: the same, however the tables are filled."""
    return [
        (schema.PUT_PURCHASE, [histories.purchase_row(found) for found in changes.purchases.values()]),
        (
            schema.NEW_REQUEST,
            [histories.new_request_row(place, changes.requests[key]) for key, place in changes.accepted.items()],
        ),
        (
            schema.PUT_REQUEST,
            [histories.request_row(found) for key, found in changes.requests.items() if key not in changes.accepted],
        ),
        (schema.DELETE_OPERATION, changes.deleted),
        (schema.NEW_HISTORY, changes.histories),
        (schema.ADD_RATING, [rows.rating_row(key, rating) for key, rating in changes.ratings.items()]),
    ]


def standing_row(last: Committed, service: Service) -> Row:
    """For PUT_STANDING: the position after a step, with what the service is then."""
    return (
        service.log_id,
        1,
        last.sequence,
        last.hash,
        last.step.event.cause.recorded_at,
        service.epoch,
        service.endpoint,
        service.version,
    )


def _rate(changes: Changes, item: Committed) -> None:
    for provider_id, more in rated(item.step.event, item.step.before):
        changes.ratings[provider_id] = changes.ratings.get(provider_id, UNKNOWN).plus(more)


def _take_pool(changes: Changes, pool: Pool, item: Committed) -> None:
    change = changes.pools.get(pool.id)
    if change is None:
        change = changes.pools[pool.id] = PoolChange(pool)
    change.pool = pool
    event = item.step.event
    match event:
        case PoolReserved(hold=hold):
            changes.holds[pool.id, hold.id] = rows.new_hold_row(item.sequence, pool.id, hold, item.payload)
        case HoldReleased(hold_id=hold_id):
            changes.holds[pool.id, hold_id] = None
        case PoolRegistered():
            change.new = True
            change.terms = change.capacity = item.payload
        case PoolTermsChanged():
            change.terms = item.payload
        case CapacityChanged():
            change.capacity = item.payload
    if getattr(event, "offer", None) is not None:
        change.offer = item.payload


def _statements(changes: Changes) -> list[Statement]:
    pools, began, contracts = changes.pools.values(), changes.began, changes.contracts
    created, allocations = changes.created, changes.allocations
    made: list[Statement] = [
        (schema.NEW_OFFER, [rows.new_offer_row(change.pool, change.offer or b"") for change in pools if change.new]),
        (schema.PUT_OFFER, [rows.offer_row(change.pool, change.offer) for change in pools if not change.new]),
        (schema.NEW_POOL, [(change.pool.id, change.terms, change.capacity) for change in pools if change.new]),
        (schema.PUT_POOL, [(change.terms, change.capacity, change.pool.id) for change in pools if change.rare]),
        (schema.NEW_HOLD, [row for row in changes.holds.values() if row is not None]),
        (schema.DROP_HOLD, [key for key, row in changes.holds.items() if row is None]),
        (
            schema.NEW_CONTRACT,
            [rows.new_contract_row(place, contracts[key], event) for key, (place, event) in began.items()],
        ),
        (schema.PUT_CONTRACT, [rows.contract_row(found) for key, found in contracts.items() if key not in began]),
        (
            schema.NEW_ALLOCATION,
            [rows.new_allocation_row(place, allocations[key], event) for key, (place, event) in created.items()],
        ),
        (
            schema.PUT_ALLOCATION,
            [rows.allocation_row(found) for key, found in allocations.items() if key not in created],
        ),
        *rare_statements(changes),
    ]
    return [statement for statement in made if statement[1]]
