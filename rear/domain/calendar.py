"""What is free in one pool over time: divisible quantities by kind, and each discrete unit by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from rear.domain.demand import Demand
from rear.domain.hold import Hold
from rear.domain.quantities import Quantities
from rear.domain.step_function import StepFunction
from rear.domain.unit_calendar import UnitCalendar
from rear.domain.units import Unit, UnitShare
from rear.domain.usage import IDLE, add_to, next_at_most
from rear.domain.value import value
from rear.domain.window import BEGINNING, FOREVER, Duration, Instant, Window


@value
class EarliestFit:
    """The first start at which a demand fits. Without one, `exhaustive` tells "none" from "not looked on".

    Before `reached` it fits nowhere: a search that was not exhaustive goes on from there.
    """

    start: Instant | None
    exhaustive: bool
    reached: Instant = field(default=BEGINNING, compare=False)


class PoolCalendar:
    """The usage of one pool. It records what was decided and never refuses: ask `place` before `occupy`.

    A kind or a device costs memory only while something is held on it.
    """

    __slots__ = ("_capacity", "_totals", "_units", "_usage")

    def __init__(self, capacity: Quantities, units: Sequence[Unit] = ()) -> None:
        self.resize(capacity)
        self._usage: dict[str, StepFunction] = {}
        self._units = UnitCalendar(units)

    @property
    def capacity(self) -> Quantities:
        """The pool's total of each divisible kind."""
        return self._capacity

    @property
    def units(self) -> tuple[Unit, ...]:
        """The pool's devices by class and name."""
        return self._units.units

    def resize(self, capacity: Quantities) -> None:
        """Change the totals for all time; what is held stays held. Undone by resizing back."""
        self._capacity = capacity
        self._totals = dict(capacity)  # a plain dict is quicker to look in, for each of thousands of pools

    def equip(self, units: Sequence[Unit]) -> None:
        """Change the devices for all time; what is held stays held. Undone by equipping back."""
        self._units.equip(units)

    def occupy(self, hold: Hold) -> None:
        """Count `hold` from now on. Negative quantities are a planned increase."""
        for kind, amount in hold.quantities.items():
            add_to(self._usage, kind, hold.window, amount)
        self._units.occupy(hold.units, hold.window)

    def vacate(self, hold: Hold) -> None:
        """Count `hold` no longer: exactly undoes `occupy(hold)`."""
        for kind, amount in hold.quantities.items():
            add_to(self._usage, kind, hold.window, -amount)
        self._units.vacate(hold.units, hold.window)

    def free(self, window: Window) -> Quantities:
        """The least that is free in `window` of each kind of the capacity; a shortfall is negative."""
        least = {}
        for kind, total in self._totals.items():
            usage = self._usage.get(kind)
            least[kind] = total if usage is None else total - usage.peak(window)
        return Quantities.of_sorted(least)

    def free_units(self, window: Window) -> tuple[UnitShare, ...]:
        """Every device by class and name, with the millis free on it throughout `window` (also none)."""
        return self._units.free(window)

    def free_with(self, hold: Hold, window: Window) -> Quantities:
        """What `free(window)` would be after `occupy(hold)`."""
        return self._free_changed(hold, 1, window)

    def free_units_with(self, hold: Hold, window: Window) -> tuple[UnitShare, ...]:
        """What `free_units(window)` would be after `occupy(hold)`."""
        return self._units.free_with(hold.units, hold.window, window)

    def free_without(self, hold: Hold, window: Window) -> Quantities:
        """What `free(window)` would be after `vacate(hold)`."""
        return self._free_changed(hold, -1, window)

    def free_units_without(self, hold: Hold, window: Window) -> tuple[UnitShare, ...]:
        """What `free_units(window)` would be after `vacate(hold)`."""
        return self._units.free_without(hold.units, hold.window, window)

    def fits(self, demand: Demand, window: Window) -> bool:
        """Whether `place` would find a place, at less cost."""
        return self._quantities_fit(demand.quantities, window) and (
            not demand.units or self._units.fits(demand.units, window)
        )

    def place(self, demand: Demand, window: Window) -> tuple[UnitShare, ...] | None:
        """The devices that `demand` would get for the whole of `window`; None where it does not fit.

        The peak in the window decides, for all kinds at once. Devices are the fullest that still fit, ties by
        name, all different, and come sorted. Exact also where several unit requests compete for devices.
        """
        if not self._quantities_fit(demand.quantities, window):
            return None
        return self._units.place(demand.units, window) if demand.units else ()

    def most_that_fits(self, demand: Demand, window: Window) -> Demand:
        """The largest part of `demand` that fits in `window`, all of it together.

        Of each kind the lesser of what is asked and what is free, zero of one that the pool lacks. Of the
        unit requests the most devices in all, earlier requests first; one without any has count zero.
        """
        free = self.free(window)
        quantities = {kind: min(asked, max(free.of(kind), 0)) for kind, asked in demand.quantities.items()}
        return Demand(Quantities(quantities), self._units.most_that_fits(demand.units, window))

    def next_start(self, demand: Demand, duration: Duration, candidate: Instant) -> Instant | None:
        """One jump of the search for a start: `candidate` where `demand` fits there for `duration`.

        Otherwise a later instant, before which it cannot fit; None where it can never fit from `candidate` on
        (a hold to the end of time never ends). The search goes on from any instant returned.
        """
        reached = candidate
        for kind in demand.quantities:
            amount = demand.quantities[kind]
            if amount <= 0:
                continue
            total = self._totals.get(kind)
            if total is None:
                return None
            start = next_at_most(self._usage.get(kind, IDLE), total - amount, candidate, duration)
            if start is None:
                return None
            reached = max(reached, start)
        start = self._units.next_start(demand.units, duration, candidate)
        if start is None:
            return None
        reached = max(reached, start)
        return reached if reached < FOREVER else None

    def earliest_fit(
        self, demand: Demand, duration: Duration, not_before: Instant, not_after: Instant, max_jumps: int
    ) -> EarliestFit:
        """The first start in [not_before, not_after] at which `demand` fits for `duration`."""
        candidate = not_before
        for _ in range(max_jumps):
            if candidate > not_after:
                break
            reached = self.next_start(demand, duration, candidate)
            if reached is None or reached == candidate:
                return EarliestFit(reached, exhaustive=True, reached=candidate)
            candidate = reached
        return EarliestFit(None, exhaustive=candidate > not_after, reached=candidate)

    def usage_steps(self, kind: str, window: Window) -> list[tuple[Instant, int]]:
        """What is used of `kind`: at the window's start, then wherever it changes inside the window."""
        return self._usage.get(kind, IDLE).steps(window)

    def _free_changed(self, hold: Hold, sign: int, window: Window) -> Quantities:
        least = {}
        for kind, total in self._totals.items():
            usage, amount = self._usage.get(kind), hold.quantities.of(kind)
            if amount:
                least[kind] = total - (usage or IDLE).peak_with(window, hold.window, sign * amount)
            else:
                least[kind] = total if usage is None else total - usage.peak(window)
        return Quantities.of_sorted(least)

    def _quantities_fit(self, quantities: Quantities, window: Window) -> bool:
        busy = []
        for kind, amount in quantities.items():
            if amount <= 0:
                continue
            total = self._totals.get(kind)
            if total is None:
                return False
            usage = self._usage.get(kind)
            if usage is not None:
                busy.append((usage, total - amount))
            elif amount > total:
                return False
        for usage, limit in busy:  # noqa: SIM110 - twice as quick as `all`
            if not usage.stays_within(limit, window):
                return False
        return True
