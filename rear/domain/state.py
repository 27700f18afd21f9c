"""All aggregates of one ledger in memory, with an exact way back for each event."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import TypeVar

from rear.domain import allocation, contract, pool, purchase, service_request
from rear.domain.allocation import Allocation
from rear.domain.calendar import PoolCalendar
from rear.domain.contract import Contract
from rear.domain.events import (
    AllocationActivated,
    AllocationCreated,
    AllocationEvent,
    AllocationFailed,
    AllocationPeered,
    AllocationReleased,
    AnyEvent,
    CapacityChanged,
    ContractActivated,
    ContractCancelled,
    ContractCompleted,
    ContractExpired,
    ContractPurchased,
    ContractReserved,
    ContractRevoked,
    HoldReleased,
    LedgerOpened,
    LossAccepted,
    PoolEvent,
    PoolRegistered,
    PoolReserved,
    PoolRetired,
    PoolTermsChanged,
    WriterChanged,
)
from rear.domain.link_events import LinkObserved, LinkRequested, LinkUndone
from rear.domain.pool import Pool
from rear.domain.purchase import Purchase
from rear.domain.request_events import OfRequest, OperationDeleted, RequestEvent
from rear.domain.service_request import ForgottenRequest, ServiceRequest
from rear.domain.value import value
from rear.domain.window import Instant

Aggregate = Pool | Contract | Allocation | Purchase | ServiceRequest
Value = TypeVar("Value")


@value
class Service:
    """The ledger's own aggregate: who it is, and who writes it."""

    version: int = 0
    log_id: str = ""
    epoch: int = 0
    endpoint: str = ""


@value
class Step:
    """One event with the aggregate before and after it: enough to go back, and to write table rows."""

    event: AnyEvent
    before: Aggregate | Service | None
    after: Aggregate | Service | ForgottenRequest
    last_recorded: Instant
    calendar: PoolCalendar | None = None


@dataclass(slots=True)
class State:
    """Every live aggregate after the newest event, and the calendars of the pools.

    Aggregates are immutable, so to go back is to take the value from before; the calendars are indexes that
    change in place and are changed back. A calendar is made when it is first asked for, so that a replay of a long
    history makes none.
    """

    pools: dict[str, Pool] = field(default_factory=dict)
    contracts: MutableMapping[str, Contract] = field(default_factory=dict)
    allocations: MutableMapping[str, Allocation] = field(default_factory=dict)
    service: Service = field(default_factory=Service)
    last_recorded: Instant = Instant(0)
    purchases: MutableMapping[str, Purchase] = field(default_factory=dict)
    offers_changed: int = 0
    """Counts changes of pools' terms and capacities, and of which pools there are."""
    requests: MutableMapping[str, ServiceRequest] = field(default_factory=dict)
    _calendars: dict[str, PoolCalendar] = field(default_factory=dict)

    def calendar(self, pool_id: str) -> PoolCalendar:
        """The calendar of a pool. Raises KeyError where there is no such pool."""
        calendar = self._calendars.get(pool_id)
        if calendar is None:
            calendar = self._calendars[pool_id] = self.pools[pool_id].calendar()
        return calendar

    def forget(self, ended: Contract | Allocation | Purchase | ServiceRequest) -> None:
        """Drops what has ended of what there is for a time only. One that lives, or has moved on, stays.

        Each goes by itself: a replay may stop for breath between the events that end them.
        """
        if isinstance(ended, Contract):
            if not ended.live and self.contracts.get(ended.id) is ended:
                del self.contracts[ended.id]
        elif isinstance(ended, ServiceRequest):
            if not ended.open and self.requests.get(ended.id) is ended:
                del self.requests[ended.id]
        elif isinstance(ended, Purchase):
            if not ended.open and self.purchases.get(ended.id) is ended:
                del self.purchases[ended.id]
        elif not ended.stands and self.allocations.get(ended.id) is ended:
            del self.allocations[ended.id]

    def apply(self, event: AnyEvent) -> Step:
        """Moves on by one event; `revert` with what this returns goes back."""
        recorded = self.last_recorded
        if event.cause.recorded_at > recorded:
            self.last_recorded = event.cause.recorded_at
        key = event.originator_id
        match event:
            case PoolReserved() | HoldReleased():
                before = self.pools[key]
                _check_version(event, before)
                after = self.pools[key] = pool.evolve(before, event)
                _follow(self._calendars.get(key), event, before, after)
                return Step(event, before, after, recorded)
            case AllocationCreated() | AllocationReleased():
                return self._apply_to_allocation(event, recorded)
            case (
                ContractReserved()
                | ContractPurchased()
                | ContractCancelled()
                | ContractActivated()
                | ContractCompleted()
                | ContractExpired()
                | ContractRevoked()
            ):
                known = self.contracts.get(key)
                _check_version(event, known)
                evolved = self.contracts[key] = contract.evolve(known, event)
                return Step(event, known, evolved, recorded)
            case PoolRegistered() | PoolTermsChanged() | CapacityChanged() | PoolRetired():
                return self._apply_rare(event, recorded)
            case AllocationPeered() | AllocationActivated() | AllocationFailed():
                return self._apply_to_allocation(event, recorded)
            case LedgerOpened() | WriterChanged() | LossAccepted():
                service = self.service
                _check_version(event, service)
                self.service = evolve_service(service, event)
                return Step(event, service, self.service, recorded)
            case OfRequest():
                return self._apply_to_request(event, recorded)
            case LinkRequested() | LinkObserved() | LinkUndone():
                copy = self.purchases.get(key)
                _check_version(event, copy)
                changed = self.purchases[key] = purchase.evolve(copy, event)
                return Step(event, copy, changed, recorded)

    def revert(self, step: Step) -> None:
        """Goes back by one event, the newest one that was applied."""
        event, before, key = step.event, step.before, step.event.originator_id
        self.last_recorded = step.last_recorded
        match event:
            case PoolReserved() | HoldReleased():
                assert isinstance(before, Pool)
                _follow(self._calendars.get(key), event, self.pools[key], before)
                self.pools[key] = before
            case PoolRegistered() | PoolTermsChanged() | CapacityChanged() | PoolRetired():
                self.offers_changed += 1
                _put_back(self.pools, key, before if isinstance(before, Pool) else None)
                _put_back(self._calendars, key, step.calendar)
            case AllocationCreated() | AllocationReleased():
                _put_back(self.allocations, key, before if isinstance(before, Allocation) else None)
            case AllocationPeered() | AllocationActivated() | AllocationFailed():
                assert isinstance(before, Allocation)
                self.allocations[key] = before
            case LedgerOpened() | WriterChanged() | LossAccepted():
                assert isinstance(before, Service)
                self.service = before
            case OfRequest():
                _put_back(self.requests, key, before if isinstance(before, ServiceRequest) else None)
            case LinkRequested() | LinkObserved() | LinkUndone():
                _put_back(self.purchases, key, before if isinstance(before, Purchase) else None)
            case _:  # of a contract
                _put_back(self.contracts, key, before if isinstance(before, Contract) else None)

    def _apply_to_allocation(self, event: AllocationEvent, recorded: Instant) -> Step:
        before = self.allocations.get(event.originator_id)
        _check_version(event, before)
        after = self.allocations[event.originator_id] = allocation.evolve(before, event)
        return Step(event, before, after, recorded)

    def _apply_to_request(self, event: RequestEvent, recorded: Instant) -> Step:
        before = self.requests.get(event.originator_id)
        if before is None and isinstance(event, OperationDeleted):
            # In a replay, of a request that has come to its end before. Who decides this anew has recalled it.
            forgotten = ForgottenRequest(event.originator_id, event.originator_version, event.cause.at)
            return Step(event, None, forgotten, recorded)
        _check_version(event, before)
        after = self.requests[event.originator_id] = service_request.evolve(before, event)
        return Step(event, before, after, recorded)

    def _apply_rare(self, event: PoolEvent, recorded: Instant) -> Step:
        """Events that change a pool as a whole: its calendar is dropped, to be made anew, where capacity changes."""
        self.offers_changed += 1
        before = self.pools.get(event.originator_id)
        _check_version(event, before)
        calendar = self._calendars.get(event.originator_id)
        changed = self.pools[event.originator_id] = pool.evolve(before, event)
        if isinstance(event, CapacityChanged):
            self._calendars.pop(event.originator_id, None)
        return Step(event, before, changed, recorded, calendar)


def _check_version(event: AnyEvent, before: Aggregate | Service | None) -> None:
    """An aggregate's versions count its events from 1."""
    version = 0 if before is None else before.version
    if event.originator_version != version + 1:
        raise ValueError(
            f"{event.originator_id} is at version {version}; event {event.originator_version} does not follow"
        )


def evolve_service(service: Service, event: LedgerOpened | WriterChanged | LossAccepted) -> Service:
    """The ledger's own aggregate after `event`. Pure."""
    match event:
        case LedgerOpened(log_id=log_id):
            return Service(event.originator_version, log_id)
        case WriterChanged(epoch=epoch, endpoint=endpoint):
            return Service(event.originator_version, service.log_id, epoch, endpoint)
        case LossAccepted():
            return Service(event.originator_version, service.log_id, service.epoch, service.endpoint)


def _follow(calendar: PoolCalendar | None, event: PoolReserved | HoldReleased, before: Pool, after: Pool) -> None:
    """Brings a calendar from one pool value to the next: what the event's hold was goes, what it is comes."""
    if calendar is None:
        return
    hold_id = event.hold.id if isinstance(event, PoolReserved) else event.hold_id
    gone, come = before.holds.get(hold_id), after.holds.get(hold_id)
    if gone is not None:
        calendar.vacate(gone)
    if come is not None:
        calendar.occupy(come)


def _put_back(mapping: MutableMapping[str, Value], key: str, value: Value | None) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value
