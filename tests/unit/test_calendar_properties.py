"""The pool's calendar against a plain list of holds, where every instant and every choice is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from rear.domain.calendar import EarliestFit, PoolCalendar
from rear.domain.demand import Demand
from rear.domain.hold import Hold, HoldKind
from rear.domain.matching import assign
from rear.domain.quantities import Quantities
from rear.domain.units import Unit, UnitRequest, UnitShare, attributes
from rear.domain.window import Duration, Instant, Window

LAST = 24
CAPACITY = Quantities({"cpu_millicores": 10, "pods": 4})
MODELS = (attributes({"model": "T4"}), attributes({"model": "A100", "memory": "80"}))
UNITS = (*(Unit("GPU", f"g{index}", MODELS[index % 2]) for index in range(4)), Unit("NIC", "n0"))


class Oracle:
    """The same questions, answered from a list of holds without any cleverness."""

    def __init__(self, holds: Sequence[Hold]) -> None:
        self.holds = holds

    def free(self, kind: str, window: Window) -> int:
        return CAPACITY[kind] - max(
            sum(hold.quantities.of(kind) for hold in self.holds if hold.window.contains(Instant(at)))
            for at in range(window.start, window.end)
        )

    def millis(self, unit: Unit, window: Window) -> int:
        return 1_000 - max(
            sum(
                share.millis
                for hold in self.holds
                for share in hold.units
                if hold.window.contains(Instant(at)) and (share.unit_class, share.name) == name_of(unit)
            )
            for at in range(window.start, window.end)
        )

    def placements(self, requests: Sequence[UnitRequest], window: Window) -> Iterator[tuple[Unit, ...]]:
        """Every way to give each wanted device of each request a device of its own."""
        wanted = [request for request in requests for _ in range(request.count)]
        millis = {unit: self.millis(unit, window) for unit in UNITS}
        for chosen in permutations(UNITS, len(wanted)):
            if all(
                unit.unit_class == request.unit_class
                and unit.matches(request.attributes)
                and millis[unit] >= request.millis_each
                for unit, request in zip(chosen, wanted, strict=True)
            ):
                yield chosen

    def quantities_fit(self, quantities: Quantities, window: Window) -> bool:
        return all(
            amount == 0 or (kind in CAPACITY and self.free(kind, window) >= amount)
            for kind, amount in quantities.items()
        )

    def fits(self, demand: Demand, window: Window) -> bool:
        return self.quantities_fit(demand.quantities, window) and any(
            True for _ in self.placements(demand.units, window)
        )


def name_of(unit: Unit) -> tuple[str, str]:
    return unit.unit_class, unit.name


def calendar_of(holds: Sequence[Hold]) -> PoolCalendar:
    calendar = PoolCalendar(CAPACITY, UNITS)
    for hold in holds:
        calendar.occupy(hold)
    return calendar


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, LAST - 1))
    return Window(Instant(start), Instant(draw(st.integers(start + 1, LAST))))


def amounts(least: int) -> st.SearchStrategy[Quantities]:
    kinds = st.sampled_from(["cpu_millicores", "pods", "cpu_millicores", "pods", "storage_bytes"])
    return st.dictionaries(kinds, st.integers(least, 5) | st.just(11), max_size=3).map(Quantities)


@st.composite
def holds_in_a_pool(draw: st.DrawFn) -> list[Hold]:
    """Holds as they come to be: whatever still fits; now and then a planned increase."""
    holds: list[Hold] = []
    for index in range(draw(st.integers(0, 7))):
        window, quantities = draw(windows()), draw(amounts(-2))
        oracle = Oracle(holds)
        if not oracle.quantities_fit(Quantities({k: max(v, 0) for k, v in quantities.items()}), window):
            continue
        shares = tuple(
            UnitShare(*name_of(unit), millis)
            for unit in draw(st.lists(st.sampled_from(UNITS), max_size=3, unique=True))
            if (millis := draw(st.sampled_from([200, 500, 1_000]))) <= oracle.millis(unit, window)
        )
        holds.append(Hold(str(index), HoldKind.CONTRACT, window, quantities, shares))
    return holds


requests = st.builds(
    UnitRequest,
    unit_class=st.sampled_from(["GPU", "GPU", "GPU", "NIC"]),
    count=st.integers(0, 2) | st.just(1),
    millis_each=st.sampled_from([200, 300, 500, 800, 1_000]),
    attributes=st.sampled_from([(), (), MODELS[0], MODELS[1][:1]]),
)
demands = st.builds(Demand, amounts(0), st.lists(requests, max_size=3).map(tuple))


@given(holds_in_a_pool(), windows())
def test_what_is_free_is_the_least_over_the_window(holds: list[Hold], window: Window) -> None:
    calendar, oracle = calendar_of(holds), Oracle(holds)
    assert calendar.free(window) == Quantities({kind: oracle.free(kind, window) for kind in CAPACITY})
    assert calendar.free_units(window) == tuple(
        UnitShare(*name_of(unit), oracle.millis(unit, window)) for unit in UNITS
    )


@given(holds_in_a_pool(), demands, windows())
@settings(max_examples=200)
def test_a_placement_is_found_where_there_is_one_and_takes_the_fullest_devices(
    holds: list[Hold], demand: Demand, window: Window
) -> None:
    calendar, oracle = calendar_of(holds), Oracle(holds)
    shares = calendar.place(demand, window)
    assert calendar.fits(demand, window) == (shares is not None) == oracle.fits(demand, window)
    if shares is None:
        return
    possible = list(oracle.placements(demand.units, window))
    millis = {unit: oracle.millis(unit, window) for unit in UNITS}
    by_fullness = [sorted((unit.unit_class, millis[unit], unit.name) for unit in chosen) for chosen in possible]
    taken = [unit for share in shares for unit in UNITS if name_of(unit) == (share.unit_class, share.name)]
    assert sorted((unit.unit_class, millis[unit], unit.name) for unit in taken) == min(by_fullness)
    wanted = [request.millis_each for request in demand.units for _ in range(request.count)]
    assert shares in [
        tuple(sorted(UnitShare(*name_of(unit), each) for unit, each in zip(chosen, wanted, strict=True)))
        for chosen in possible
    ]


@given(holds_in_a_pool(), demands, windows())
def test_the_most_that_fits_does_fit_and_no_more_would(holds: list[Hold], demand: Demand, window: Window) -> None:
    calendar, oracle = calendar_of(holds), Oracle(holds)
    most = calendar.most_that_fits(demand, window)
    assert dict(most.quantities) == {
        kind: min(amount, oracle.free(kind, window)) if kind in CAPACITY else 0
        for kind, amount in demand.quantities.items()
    }
    possible = [
        counts
        for counts in product(*(range(request.count + 1) for request in demand.units))
        if any(True for _ in oracle.placements(with_counts(demand.units, counts), window))
    ]
    assert most.units == with_counts(demand.units, max(possible, key=lambda counts: (sum(counts), counts)))
    assert calendar.place(most, window) is not None


def with_counts(requests: Sequence[UnitRequest], counts: Sequence[int]) -> tuple[UnitRequest, ...]:
    return tuple(
        UnitRequest(request.unit_class, count, request.millis_each, request.attributes)
        for request, count in zip(requests, counts, strict=True)
    )


@given(holds_in_a_pool(), demands, st.integers(1, 8), st.integers(0, LAST), st.integers(0, LAST + 4))
@settings(max_examples=200)
def test_the_earliest_fit_is_the_first_start_of_all_that_fits(
    holds: list[Hold], demand: Demand, duration: int, not_before: int, not_after: int
) -> None:
    calendar, oracle = calendar_of(holds), Oracle(holds)
    starts = (
        start
        for start in range(not_before, not_after + 1)
        if oracle.fits(demand, Window(Instant(start), Instant(start + duration)))
    )
    found = calendar.earliest_fit(
        demand, Duration(duration), Instant(not_before), Instant(not_after), max_jumps=LAST + 10
    )
    first = next(starts, None)
    assert found == EarliestFit(None if first is None else Instant(first), exhaustive=True)


@given(holds_in_a_pool(), demands, st.integers(1, 8), st.integers(0, LAST))
def test_a_jump_passes_over_no_start_that_fits(
    holds: list[Hold], demand: Demand, duration: int, candidate: int
) -> None:
    calendar, oracle = calendar_of(holds), Oracle(holds)
    reached = calendar.next_start(demand, Duration(duration), Instant(candidate))
    for start in range(candidate, LAST + 2 if reached is None else reached):
        assert not oracle.fits(demand, Window(Instant(start), Instant(start + duration)))
    if reached == candidate:
        assert oracle.fits(demand, Window(Instant(candidate), Instant(candidate + duration)))


@given(holds_in_a_pool(), st.data())
def test_vacating_undoes_occupying_and_is_foreseen_exactly(holds: list[Hold], data: st.DataObject) -> None:
    calendar = calendar_of(holds)
    while holds:
        window = data.draw(windows())
        gone = holds.pop(data.draw(st.integers(0, len(holds) - 1)))
        with_it = calendar.free(window), calendar.free_units(window)
        without = calendar.free_without(gone, window), calendar.free_units_without(gone, window)
        calendar.vacate(gone)
        left = calendar_of(holds)
        assert without == (calendar.free(window), calendar.free_units(window))
        assert without == (left.free(window), left.free_units(window))
        assert with_it == (calendar.free_with(gone, window), calendar.free_units_with(gone, window))
        for kind in ("cpu_millicores", "pods", "storage_bytes"):
            everywhere = Window(Instant(-1), Instant(LAST + 1))
            assert calendar.usage_steps(kind, everywhere) == left.usage_steps(kind, everywhere)


@given(st.lists(st.integers(0, 7), max_size=6), st.lists(st.integers(0, 2), min_size=3, max_size=3))
@settings(max_examples=300)
def test_assignment_serves_the_most_with_the_first_devices_that_can(servable: list[int], counts: list[int]) -> None:
    serving = assign(servable, counts)
    used = sorted(device for devices in serving for device in devices)
    assert len(used) == len(set(used))
    assert all(servable[device] >> request & 1 for request, some in enumerate(serving) for device in some)
    assert all(len(some) <= count for some, count in zip(serving, counts, strict=True))
    possible = {()} | {
        tuple(device for device, request in enumerate(choice) if request is not None)
        for choice in product([None, 0, 1, 2], repeat=len(servable))
        if all(choice.count(request) <= count for request, count in enumerate(counts))
        and all(request is None or servable[device] >> request & 1 for device, request in enumerate(choice))
    }
    most = max(map(len, possible))
    assert tuple(used) == min(devices for devices in possible if len(devices) == most)
