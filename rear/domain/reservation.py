"""Reserving a partition of a flavour for a window: what a provider promises, and when it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rear.domain import allocation, pool
from rear.domain.allocation import Allocation
from rear.domain.calendar import PoolCalendar
from rear.domain.contract import Contract
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.events import (
    AllocationCreated,
    AllocationSide,
    AnyEvent,
    Cause,
    ContractReserved,
)
from rear.domain.flavour import parse_flavour_id
from rear.domain.hold import Hold, HoldKind
from rear.domain.lifecycle import ContractState
from rear.domain.partition import check_against, check_well_formed, on_step
from rear.domain.pool import Pool
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.refusals import (
    CapacityExceeded,
    FlavourChanged,
    FlavourNotFound,
    InvalidField,
    PriceAboveMaximum,
)
from rear.domain.value import value
from rear.domain.window import DAY, FOREVER, HOUR, MINUTE, AskedWindow, Duration, Instant, Window, after


@value
class Promises:
    """What a provider lets buyers ask for. All are durations in nanoseconds.

    `skew` is how far in the past an asked start may lie, so that a buyer's clock may be a little behind.
    """

    default_lease: Duration = DAY
    default_ttp: Duration = Duration(10 * MINUTE)
    maximum_ttp: Duration = HOUR
    horizon: Duration = Duration(3 * 366 * DAY)
    skew: Duration = Duration(0)


@value
class ReserveCommand:
    """A wish to hold a partition of a flavour. `confirm` agrees at once, without a purchase."""

    contract_id: str
    flavour_id: str
    partition: Demand
    window: AskedWindow
    ttp: Duration | None
    confirm: bool
    max_price: Money | None
    priority: int
    fingerprint: bytes
    chain_id: str


WINDOW: Final = "window"


def resolve_window(asked: AskedWindow, promises: Promises, now: Instant, parent: str = WINDOW) -> Window:
    """The window that counts. Raises InvalidField for one that is empty, over, or beyond the horizon."""
    start = now if asked.start is None else asked.start
    if asked.start is not None and asked.start < now:
        if asked.start < now - promises.skew:
            raise InvalidField(f"{parent}.start", "lies in the past; leave it out to begin now")
        start = now
    if asked.duration is not None:
        if asked.end is not None:
            raise InvalidField(f"{parent}.duration", "does not go with an end: give one of them")
        if asked.duration <= 0:
            raise InvalidField(f"{parent}.duration", "must be longer than nothing")
        end = after(start, asked.duration)
    else:
        end = after(start, promises.default_lease) if asked.end is None else asked.end
    if end <= start:
        raise InvalidField(f"{parent}.end", "must come after the start: the window is empty or turned round")
    if end > now + promises.horizon:
        raise InvalidField(f"{parent}.end", f"lies beyond this provider's horizon of {promises.horizon // DAY} days")
    return Window(start, Instant(min(end, FOREVER)))


def find_pool(pools: Mapping[str, Pool], asked_flavour_id: str, field: str = "flavour_id") -> Pool:
    """The pool behind a flavour id that is still sold. An old flavour is, unless its terms have changed."""
    if not asked_flavour_id:
        raise InvalidField(field, "is required")
    parsed = parse_flavour_id(asked_flavour_id)
    if parsed is None:
        raise InvalidField(field, "is not a flavour's id, which has the form <pool>-<n>")
    found = pools.get(parsed[0])
    if found is None or parsed[1] > found.offers:
        raise FlavourNotFound(f"there is no flavour {asked_flavour_id}", {"flavour_id": asked_flavour_id})
    if found.offer is None:
        raise FlavourNotFound(
            f"flavour {asked_flavour_id} is no longer offered: pool {found.id} is retired",
            {"flavour_id": asked_flavour_id},
        )
    if parsed[1] < found.terms_since_offer:
        raise FlavourChanged(
            f"the terms of pool {found.id} have changed since flavour {asked_flavour_id}; "
            f"the current one is {found.offer.flavour_id}",
            {"flavour_id": asked_flavour_id, "current_flavour_id": found.offer.flavour_id},
        )
    return found


def reserve(
    source: Pool, calendar: PoolCalendar, command: ReserveCommand, promises: Promises, cause: Cause
) -> tuple[AnyEvent, ...]:
    """The three events of a reservation: of the pool, the contract and the provider's allocation.

    Raises a refusal; CapacityExceeded comes without a counter-offer, which takes a search of its own.
    """
    now = cause.at
    check_well_formed(command.partition, "partition")
    check_against(command.partition, source.terms, source.capacity, source.units, "partition")
    window = resolve_window(command.window, promises, now)
    purchase_before = None if command.confirm else after(now, _ttp(command.ttp, window, promises, now))
    price = source.terms.price.total(command.partition, window.duration)
    _check_price(price, command.max_price)
    units = calendar.place(command.partition, window)
    if units is None:
        raise CapacityExceeded(f"pool {source.id} has not that much free for the whole window")
    wanted = Hold(command.contract_id, HoldKind.CONTRACT, window, command.partition.quantities, units)
    side = AllocationSide.PROVIDER
    allocation_id = allocation.allocation_id(command.contract_id, side)
    return (
        pool.hold(source, calendar, wanted, promises.default_lease, cause),
        ContractReserved(
            command.contract_id,
            1,
            cause,
            state=ContractState.CONFIRMED if command.confirm else ContractState.RESERVED,
            buyer_id=cause.caller,
            flavour_id=command.flavour_id,
            pool_id=source.id,
            partition=command.partition,
            assigned_units=units,
            window=window,
            purchase_before=purchase_before,
            price=price,
            priority=command.priority,
            fingerprint=command.fingerprint,
            allocation_id=allocation_id,
            chain_id=command.chain_id,
        ),
        AllocationCreated(
            allocation_id,
            1,
            cause,
            contract_id=command.contract_id,
            side=side,
            pool_id=source.id,
            window=window,
            quantities=command.partition.quantities,
            units=units,
        ),
    )


def end(
    ended: Contract,
    held_by: Pool,
    calendar: PoolCalendar,
    stands_for_it: Allocation,
    ending: AnyEvent,
    reason: str,
    promises: Promises,
    cause: Cause,
) -> Sequence[AnyEvent]:
    """The ending of a contract with what follows from it: its hold and its allocation are released."""
    return (
        pool.release(held_by, calendar, ended.id, promises.default_lease, cause),
        ending,
        allocation.release(stands_for_it, reason, cause),
    )


def counter_offer(
    source: Pool,
    calendar: PoolCalendar,
    partition: Demand,
    asked: Window,
    earliest: Instant | None,
    exhaustive: bool,
    now: Instant,
) -> CounterOffer:
    """What would fit, once the search for the earliest start has come to its end."""
    kinds = {kind: amount for kind, amount in partition.quantities.items() if amount > 0}
    most = calendar.most_that_fits(Demand(Quantities(kinds), partition.units), asked)
    window = None if earliest is None else Window(earliest, after(earliest, asked.duration))
    return CounterOffer(
        flavour_id=source.offer.flavour_id if source.offer else "",
        most_in_window=on_step(most, source.terms),
        asked_window=asked,
        earliest_window=window,
        exhaustive=exhaustive,
        as_of=now,
    )


def _ttp(asked: Duration | None, window: Window, promises: Promises, now: Instant) -> Duration:
    longest = min(promises.maximum_ttp, window.end - now)
    if asked is None:
        return Duration(min(promises.default_ttp, longest))
    if asked <= 0:
        raise InvalidField("ttp", "must be longer than nothing")
    if asked > longest:
        raise InvalidField(
            "ttp",
            f"is {asked / 1e9:g} s; the longest here is {longest / 1e9:g} s (and no longer than the window)",
        )
    return asked


def _check_price(price: Money | None, maximum: Money | None) -> None:
    if maximum is None:
        return
    if price is None:
        return
    if price.currency != maximum.currency:
        raise InvalidField(
            "max_price.currency_code", f"is {maximum.currency}; this flavour is sold in {price.currency}"
        )
    if price.nanos > maximum.nanos:
        raise PriceAboveMaximum(
            f"the price is {price.nanos / 1e9:g} {price.currency}, above the maximum that was given",
            {"price_nanos": str(price.nanos), "currency": price.currency},
        )
