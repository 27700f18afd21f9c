"""The ResourcePool aggregate: capacity, holds, and the lineage of its flavours."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from immutables import Map

from rear.domain.calendar import PoolCalendar
from rear.domain.events import (
    CapacityChanged,
    Cause,
    HoldReleased,
    PoolEvent,
    PoolRegistered,
    PoolReserved,
    PoolRetired,
    PoolTermsChanged,
)
from rear.domain.flavour import Flavour, Offer, PoolTerms, flavour_id
from rear.domain.hold import Hold, Holds
from rear.domain.quantities import Quantities
from rear.domain.units import MILLIS_PER_UNIT, Unit, UnitShare
from rear.domain.value import value
from rear.domain.window import FOREVER, Duration, Instant, Window, after

NO_HOLDS: Final[Holds] = Map[str, Hold]()


@value
class Pool:
    """A pool after its newest event.

    `offers` counts its flavours; flavours numbered below `terms_since_offer` had other terms and are no longer
    sold. `offer` is None while the pool is retired.
    """

    id: str
    version: int
    terms: PoolTerms
    capacity: Quantities
    units: tuple[Unit, ...]
    offer: Offer | None
    offers: int
    terms_since_offer: int
    holds: Holds = NO_HOLDS

    @property
    def flavour(self) -> Flavour | None:
        """The current flavour; None while the pool is retired."""
        if self.offer is None:
            return None
        return Flavour(self.offer, self.terms, self.id, self.units)

    def calendar(self) -> PoolCalendar:
        """A new calendar of this pool's holds."""
        calendar = PoolCalendar(self.capacity, self.units)
        for hold in self.holds.values():
            calendar.occupy(hold)
        return calendar


def evolve(pool: Pool | None, event: PoolEvent) -> Pool:
    """The pool after `event`. Pure; the previous value stays valid."""
    match event:
        case PoolReserved(hold=hold, offer=offer):
            return _with_holds(_existing(pool), event, _existing(pool).holds.set(hold.id, hold), offer)
        case HoldReleased(hold_id=hold_id, offer=offer):
            return _with_holds(_existing(pool), event, _existing(pool).holds.delete(hold_id), offer)
        case PoolRegistered():
            return Pool(
                id=event.originator_id,
                version=event.originator_version,
                terms=event.terms,
                capacity=event.capacity,
                units=event.units,
                offer=event.offer,
                offers=1,
                terms_since_offer=1,
            )
        case PoolTermsChanged(terms=terms, offer=offer):
            number = _existing(pool).offers + 1
            return replace(
                _existing(pool),
                version=event.originator_version,
                terms=terms,
                offer=offer,
                offers=number,
                terms_since_offer=number,
            )
        case CapacityChanged(capacity=capacity, units=units, offer=offer):
            changed = replace(_existing(pool), version=event.originator_version, capacity=capacity, units=units)
            return changed if offer is None else replace(changed, offer=offer, offers=changed.offers + 1)
        case PoolRetired():
            return replace(_existing(pool), version=event.originator_version, offer=None)


def register(
    pool_id: str, terms: PoolTerms, capacity: Quantities, units: tuple[Unit, ...], cause: Cause
) -> PoolRegistered:
    """A new pool, with all of it on offer."""
    shares = tuple(UnitShare(unit.unit_class, unit.name, MILLIS_PER_UNIT) for unit in units)
    offer = Offer(flavour_id(pool_id, 1), "", capacity, shares, cause.at)
    return PoolRegistered(pool_id, 1, cause, terms=terms, capacity=capacity, units=units, offer=offer)


def hold(pool: Pool, calendar: PoolCalendar, wanted: Hold, lease: Duration, cause: Cause) -> PoolReserved:
    """Takes `wanted`, which the calendar has room for, and advertises what is left over [at, at + lease)."""
    window = Window(cause.at, after(cause.at, lease))
    offer = _next_offer(pool, calendar.free_with(wanted, window), calendar.free_units_with(wanted, window), cause.at)
    return PoolReserved(pool.id, pool.version + 1, cause, hold=wanted, offer=offer)


def release(pool: Pool, calendar: PoolCalendar, hold_id: str, lease: Duration, cause: Cause) -> HoldReleased:
    """Gives the hold's capacity back and advertises what is free over [at, at + lease).

    Raises KeyError where the pool has no such hold.
    """
    window = Window(cause.at, after(cause.at, lease))
    gone = pool.holds[hold_id]
    offer = _next_offer(pool, calendar.free_without(gone, window), calendar.free_units_without(gone, window), cause.at)
    return HoldReleased(pool.id, pool.version + 1, cause, hold_id=hold_id, offer=offer)


def change_terms(
    pool: Pool, calendar: PoolCalendar, terms: PoolTerms, lease: Duration, cause: Cause
) -> PoolTermsChanged:
    """New terms, and a new flavour under them. A retired pool is offered again."""
    window = Window(cause.at, after(cause.at, lease))
    offer = _offer(pool, calendar.free(window), calendar.free_units(window), cause.at)
    return PoolTermsChanged(pool.id, pool.version + 1, cause, terms=terms, offer=offer)


def change_capacity(
    pool: Pool, capacity: Quantities, units: tuple[Unit, ...], lease: Duration, cause: Cause
) -> CapacityChanged | None:
    """Another capacity from now on; None where holds that exist would not fit into it any more."""
    resized = replace(pool, capacity=capacity, units=units)
    names = {(unit.unit_class, unit.name) for unit in units}
    for held in pool.holds.values():
        if any((share.unit_class, share.name) not in names for share in held.units):
            return None
    calendar = resized.calendar()
    if any(amount < 0 for amount in calendar.free(Window(cause.at, FOREVER)).values()):
        return None
    if any(kind not in capacity for held in pool.holds.values() for kind in held.quantities):
        return None
    window = Window(cause.at, after(cause.at, lease))
    offer = _next_offer(pool, calendar.free(window), calendar.free_units(window), cause.at)
    return CapacityChanged(pool.id, pool.version + 1, cause, capacity=capacity, units=units, offer=offer)


def retire(pool: Pool, reason: str, cause: Cause) -> PoolRetired:
    """Withdraws the pool's flavour. Holds stay until they end."""
    current = pool.offer.flavour_id if pool.offer else ""
    return PoolRetired(pool.id, pool.version + 1, cause, reason=reason, retired_flavour_id=current)


def _existing(pool: Pool | None) -> Pool:
    if pool is None:
        raise ValueError("a pool's first event must be PoolRegistered")
    return pool


def _with_holds(pool: Pool, event: PoolEvent, holds: Holds, offer: Offer | None) -> Pool:
    return Pool(
        pool.id,
        event.originator_version,
        pool.terms,
        pool.capacity,
        pool.units,
        pool.offer if offer is None else offer,
        pool.offers if offer is None else pool.offers + 1,
        pool.terms_since_offer,
        holds,
    )


def _next_offer(pool: Pool, quantities: Quantities, units: tuple[UnitShare, ...], at: Instant) -> Offer | None:
    """The next flavour where it differs from the current one, and the pool is offered at all."""
    current = pool.offer
    if current is None or (current.quantities == quantities and current.units == units):
        return None
    return _offer(pool, quantities, units, at)


def _offer(pool: Pool, quantities: Quantities, units: tuple[UnitShare, ...], at: Instant) -> Offer:
    number = pool.offers + 1
    return Offer(flavour_id(pool.id, number), flavour_id(pool.id, pool.offers), quantities, units, at)
