"""What is free over time on each discrete unit of a pool by itself, and which units a placement gets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from rear.domain.matching import assign
from rear.domain.step_function import StepFunction
from rear.domain.units import MILLIS_PER_UNIT, Unit, UnitRequest, UnitShare
from rear.domain.usage import IDLE, add_to, next_at_most
from rear.domain.window import Duration, Instant, Window

_NONE_BUSY: Final[dict[str, StepFunction]] = {}


class UnitCalendar:
    """The usage of each device of one pool. It records what was decided and never refuses.

    A device keeps what it gives for the whole window, and a request's millis come from one device each.
    """

    __slots__ = ("_units", "_usage", "_whole")

    def __init__(self, units: Sequence[Unit] = ()) -> None:
        self._usage: dict[str, dict[str, StepFunction]] = {}  # by class, then by name; only while in use
        self.equip(units)

    @property
    def units(self) -> tuple[Unit, ...]:
        """The devices by class and name."""
        return tuple(unit for units in self._units.values() for unit in units)

    def equip(self, units: Sequence[Unit]) -> None:
        """Have these devices; what is held on one that goes comes back with it."""
        by_class: dict[str, list[Unit]] = {}
        for unit in sorted(units, key=lambda unit: (unit.unit_class, unit.name)):
            by_class.setdefault(unit.unit_class, []).append(unit)
        self._units: dict[str, tuple[Unit, ...]] = {name: tuple(found) for name, found in by_class.items()}
        self._whole = {
            name: tuple(UnitShare(name, unit.name, MILLIS_PER_UNIT) for unit in found)
            for name, found in by_class.items()
        }

    def occupy(self, shares: Iterable[UnitShare], window: Window) -> None:
        """Count `shares` from now on."""
        for share in shares:
            add_to(self._usage.setdefault(share.unit_class, {}), share.name, window, share.millis)

    def vacate(self, shares: Iterable[UnitShare], window: Window) -> None:
        """Count `shares` no longer: exactly undoes `occupy`."""
        for share in shares:
            add_to(self._usage.setdefault(share.unit_class, {}), share.name, window, -share.millis)

    def free(self, window: Window) -> tuple[UnitShare, ...]:
        """Every device by class and name, with the millis free on it throughout `window` (also none)."""
        return self._free_changed((), 0, window, window)

    def free_with(self, shares: Iterable[UnitShare], over: Window, window: Window) -> tuple[UnitShare, ...]:
        """What `free(window)` would be after `occupy(shares, over)`."""
        return self._free_changed(shares, 1, over, window)

    def free_without(self, shares: Iterable[UnitShare], over: Window, window: Window) -> tuple[UnitShare, ...]:
        """What `free(window)` would be after `vacate(shares, over)`."""
        return self._free_changed(shares, -1, over, window)

    def fits(self, requests: Sequence[UnitRequest], window: Window) -> bool:
        """Whether `place` would find a place; for a single request without looking at every device."""
        if len(requests) != 1:
            return self.place(requests, window) is not None
        request = requests[0]
        missing = request.count
        if missing <= 0:
            return True
        units = self._units.get(request.unit_class, ())
        if missing > len(units):
            return False
        busy = self._usage.get(request.unit_class, {})
        wanted, most_used = request.attributes, MILLIS_PER_UNIT - request.millis_each
        for unit in units:
            if wanted and not unit.matches(wanted):
                continue
            usage = busy.get(unit.name)
            if most_used >= 0 if usage is None else usage.stays_within(most_used, window):
                missing -= 1
                if missing == 0:
                    return True
        return False

    def place(self, requests: Sequence[UnitRequest], window: Window) -> tuple[UnitShare, ...] | None:
        """The devices that the requests would get, all different, sorted; None where they do not fit.

        Devices are the fullest that still fit, ties by name. Exact also where requests compete for devices.
        """
        if len(requests) == 1:
            return self._place_one(requests[0], window)
        shares: list[UnitShare] = []
        for unit_class, positions in _by_class(requests):
            wanted = [requests[position] for position in positions]
            devices = self._servable(unit_class, wanted, window)
            serving = assign([mask for _, _, mask in devices], [request.count for request in wanted])
            for request, chosen in zip(wanted, serving, strict=True):
                if len(chosen) < request.count:
                    return None
                shares += [UnitShare(unit_class, devices[index][1], request.millis_each) for index in chosen]
        return tuple(sorted(shares))

    def most_that_fits(self, requests: Sequence[UnitRequest], window: Window) -> tuple[UnitRequest, ...]:
        """Each request with the count that it can have: the most devices in all, earlier requests first."""
        counts = [0] * len(requests)
        for unit_class, positions in _by_class(requests):
            wanted = [requests[position] for position in positions]
            servable = [mask for _, _, mask in self._servable(unit_class, wanted, window)]
            granted: list[int] = []
            for position in positions:
                # Never takes back what an earlier request was granted: an augmenting path only adds.
                serving = assign(servable, [*granted, requests[position].count])
                counts[position] = sum(map(len, serving)) - sum(granted)
                granted.append(counts[position])
        return tuple(replace(request, count=count) for request, count in zip(requests, counts, strict=True))

    def next_start(self, requests: Sequence[UnitRequest], duration: Duration, candidate: Instant) -> Instant | None:
        """`candidate` where the requests fit there for `duration`, else a later one they cannot fit before.

        That instant is the first at which enough devices have reached a next candidate of their own.
        """
        reached = candidate
        for unit_class, positions in _by_class(requests):
            wanted = [requests[position] for position in positions]
            start = self._next_of_class(unit_class, wanted, duration, candidate)
            if start is None:
                return None
            reached = max(reached, start)
        return reached

    def _free_changed(
        self, shares: Iterable[UnitShare], sign: int, over: Window, window: Window
    ) -> tuple[UnitShare, ...]:
        changes: dict[tuple[str, str], int] = {}
        for share in shares:
            device = (share.unit_class, share.name)
            changes[device] = changes.get(device, 0) + sign * share.millis
        found = []
        for unit_class, shares_of_class in self._whole.items():
            busy = self._usage.get(unit_class, _NONE_BUSY)
            for whole in shares_of_class:
                usage = busy.get(whole.name)
                amount = changes.get((unit_class, whole.name), 0) if changes else 0
                if amount:
                    used = (usage or IDLE).peak_with(window, over, amount)
                elif usage is not None:
                    used = usage.peak(window)
                else:  # as most devices are: nothing to work out, and no new value
                    found.append(whole)
                    continue
                found.append(UnitShare(unit_class, whole.name, MILLIS_PER_UNIT - used))
        return tuple(found)

    def _free_millis(self, unit_class: str, units: Iterable[Unit], window: Window) -> Iterator[tuple[Unit, int]]:
        """Each unit with the least millis free in the window, one after the other."""
        busy = self._usage.get(unit_class, {})
        for unit in units:
            usage = busy.get(unit.name)
            yield unit, MILLIS_PER_UNIT if usage is None else MILLIS_PER_UNIT - usage.peak(window)

    def _place_one(self, request: UnitRequest, window: Window) -> tuple[UnitShare, ...] | None:
        unit_class, count, millis_each = request.unit_class, request.count, request.millis_each
        if count <= 0:
            return ()
        wanted = request.attributes
        fitting: list[tuple[int, str]] = []
        exact = 0
        for unit, millis in self._free_millis(unit_class, self._units.get(unit_class, ()), window):
            if millis >= millis_each and (not wanted or unit.matches(wanted)):
                fitting.append((millis, unit.name))
                exact += millis == millis_each
                if exact == count:  # none can be fuller, and they come by name: these are the ones
                    break
        if len(fitting) < count:
            return None
        names = [name for _, name in sorted(fitting)[:count]]
        return tuple(UnitShare(unit_class, name, millis_each) for name in sorted(names))

    def _servable(self, unit_class: str, requests: Sequence[UnitRequest], window: Window) -> list[tuple[int, str, int]]:
        """Devices as (millis free, name, bit set of the requests it can serve), the fullest first."""
        devices = []
        for unit, millis in self._free_millis(unit_class, self._units.get(unit_class, ()), window):
            able = _bits(millis >= request.millis_each and unit.matches(request.attributes) for request in requests)
            devices.append((millis, unit.name, able))
        return sorted(devices)

    def _next_of_class(
        self, unit_class: str, requests: Sequence[UnitRequest], duration: Duration, candidate: Instant
    ) -> Instant | None:
        busy = self._usage.get(unit_class, {})
        units = self._units.get(unit_class, ())
        counts = [request.count for request in requests]
        starts = [
            [
                next_at_most(busy.get(unit.name, IDLE), MILLIS_PER_UNIT - request.millis_each, candidate, duration)
                if unit.matches(request.attributes)
                else None
                for request in requests
            ]
            for unit in units
        ]

        def enough(instant: Instant) -> bool:
            masks = [_bits(start is not None and start <= instant for start in of_unit) for of_unit in starts]
            return sum(map(len, assign(masks, counts))) == sum(counts)

        instants = sorted({start for of_unit in starts for start in of_unit if start is not None})
        index = bisect_left(instants, True, key=enough)
        return instants[index] if index < len(instants) else None


def _bits(flags: Iterable[bool]) -> int:
    """The bit set of the positions that are true."""
    return sum(1 << position for position, flag in enumerate(flags) if flag)


def _by_class(requests: Sequence[UnitRequest]) -> list[tuple[str, list[int]]]:
    """The positions of the requests for at least one device, by class."""
    positions: dict[str, list[int]] = {}
    for position, request in enumerate(requests):
        if request.count > 0:
            positions.setdefault(request.unit_class, []).append(position)
    return sorted(positions.items())
