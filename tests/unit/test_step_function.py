"""The step function against a list of all that was added, looked through instant by instant."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rear.domain import step_function
from rear.domain.step_function import StepFunction
from rear.domain.usage import IDLE, add_to, next_at_most
from rear.domain.window import HOUR, Duration, Instant, Window

LAST = 40

Added = tuple[Window, int]


def window(start: int, end: int) -> Window:
    return Window(Instant(start), Instant(end))


def function_of(*added: Added) -> StepFunction:
    function = StepFunction()
    for over, amount in added:
        function.add(over, amount)
    return function


def value_at(added: list[Added], instant: int) -> int:
    return sum(amount for over, amount in added if over.start <= instant < over.end)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, LAST - 1))
    return window(start, draw(st.integers(start + 1, LAST)))


additions = st.lists(st.tuples(windows(), st.integers(-3, 5)), max_size=30)
limits = st.integers(-6, 12)


@pytest.fixture(scope="module", params=["one block", "many small blocks"], autouse=True)
def _blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Thirty windows make one block of the real size, so everything is tried with small ones as well."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "many small blocks":
            patch.setattr(step_function, "MOST_IN_BLOCK", 6)
            patch.setattr(step_function, "LEAST_IN_BLOCK", 3)
        yield


def test_back_to_back_windows_do_not_add_up() -> None:
    function = function_of((window(0, 10), 5), (window(10, 20), 5))
    assert function.peak(window(0, 20)) == 5
    assert function.steps(window(0, 30)) == [(0, 5), (20, 0)]


def test_what_ends_at_an_instant_is_gone_before_what_begins_there_counts() -> None:
    function = function_of((window(0, 10), 5), (window(10, 20), 3))
    assert [function.at(Instant(at)) for at in (9, 10, 19, 20)] == [5, 3, 3, 0]


def test_the_peak_decides_not_the_sum_of_all_that_overlap() -> None:
    function = function_of((window(0, 10), 4), (window(20, 30), 4), (window(40, 50), 4))
    assert function.peak(window(0, 50)) == 4


def test_changes_at_one_instant_that_net_to_zero_hide_nothing_after_it() -> None:
    function = function_of((window(0, 10), 7), (window(10, 30), 7))
    assert len(function) == 2
    assert function.peak(window(15, 20)) == 7


def test_a_peak_counts_what_began_before_the_window() -> None:
    function = function_of((window(0, 100), 6))
    assert function.peak(window(50, 60)) == 6


def test_a_peak_ignores_what_begins_at_the_windows_end() -> None:
    function = function_of((window(10, 20), 6))
    assert function.peak(window(0, 10)) == 0
    assert function.peak(window(0, 11)) == 6


def test_nanoseconds_are_not_rounded() -> None:
    whole_hour = window(0, HOUR)
    function = function_of((whole_hour, 1), (window(HOUR - 1, 2 * HOUR), 1))
    assert function.peak(whole_hour) == 2
    assert function.last_above(whole_hour.start, whole_hour.end, 1) == HOUR - 1


def test_nothing_is_in_use_before_the_first_window_and_after_the_last() -> None:
    function = function_of((window(10, 20), 5))
    assert (function.at(Instant(0)), function.at(Instant(20))) == (0, 0)
    assert function.peak(window(20, 1_000)) == 0


def test_a_lowered_stretch_has_negative_values_and_zero_beside_it() -> None:
    function = function_of((window(10, 20), -5))
    assert function.peak(window(10, 20)) == -5
    assert function.peak(window(5, 20)) == 0
    assert function.first_at_most(Instant(0), -5) == 10
    assert function.first_at_most(Instant(20), -1) is None


def test_an_empty_window_changes_nothing() -> None:
    function = function_of((window(10, 10), 5))
    assert not function
    assert function.steps(window(5, 5)) == []


def test_a_function_by_name_exists_only_while_it_is_not_zero() -> None:
    functions: dict[str, StepFunction] = {}
    add_to(functions, "pods", window(0, 10), 3)
    add_to(functions, "pods", window(5, 20), 4)
    add_to(functions, "pods", window(0, 10), -3)
    assert list(functions) == ["pods"]
    add_to(functions, "pods", window(5, 20), -4)
    assert functions == {}


def test_an_idle_function_never_has_less_than_zero() -> None:
    assert next_at_most(IDLE, 0, Instant(5), Duration(10)) == 5
    assert next_at_most(IDLE, -1, Instant(5), Duration(10)) is None


@given(additions)
def test_values_and_steps_are_those_of_the_list(added: list[Added]) -> None:
    function = function_of(*added)
    values = [value_at(added, instant) for instant in range(-1, LAST + 2)]
    assert [function.at(Instant(instant)) for instant in range(-1, LAST + 2)] == values
    assert len(function) == sum(before != after for before, after in pairwise(values))
    assert bool(function) == any(values)
    assert function.steps(window(-1, LAST + 2)) == [
        (at - 1, value) for at, value in enumerate(values) if at == 0 or value != values[at - 1]
    ]


@given(additions, windows())
def test_the_peak_is_the_highest_value_in_the_window(added: list[Added], over: Window) -> None:
    function = function_of(*added)
    expected = max(value_at(added, instant) for instant in range(over.start, over.end))
    assert function.peak(over) == expected
    assert [function.stays_within(expected - less, over) for less in (0, 1)] == [True, False]


@given(additions, windows(), windows(), st.integers(-5, 5))
def test_a_peak_can_be_told_before_adding(added: list[Added], over: Window, asked: Window, amount: int) -> None:
    function = function_of(*added)
    foreseen = function.peak_with(asked, over, amount)
    function.add(over, amount)
    assert foreseen == function.peak(asked)


@given(additions, windows(), limits)
def test_the_first_and_the_last_step_above_a_limit(added: list[Added], over: Window, limit: int) -> None:
    function = function_of(*added)
    above = [at for at in range(over.start, over.end) if value_at(added, at) > limit]
    last = function.last_above(over.start, over.end, limit)
    if not above:
        assert last is None
    else:
        assert last is not None
        assert {value_at(added, at) for at in range(last, above[-1] + 1)} == {value_at(added, above[-1])}
        assert last == over.start or value_at(added, last - 1) != value_at(added, last)


@given(additions, st.integers(-2, LAST + 2), limits)
def test_the_first_instant_at_or_below_a_limit(added: list[Added], start: int, limit: int) -> None:
    low = (at for at in range(start, LAST + 4) if value_at(added, at) <= limit)
    assert function_of(*added).first_at_most(Instant(start), limit) == next(low, None)


@given(additions, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_undoing_in_any_order_leaves_what_is_left(added: list[Added], chance: random.Random) -> None:
    function = function_of(*added)
    left = list(added)
    chance.shuffle(left)
    while left:
        over, amount = left.pop()
        function.add(over, -amount)
        values = [value_at(left, instant) for instant in range(-1, LAST + 1)]
        assert [function.at(Instant(instant)) for instant in range(-1, LAST + 1)] == values
        assert function.peak(window(-1, LAST + 1)) == max(values)
    assert len(function) == 0


@pytest.mark.parametrize("seed", range(8))
def test_thousands_of_windows_come_and_go(seed: int) -> None:
    chance = random.Random(seed)
    function, added = StepFunction(), list[Added]()
    for wanted in (1_200, 300, 900, 20, 400, 0, 200):
        while len(added) < wanted:
            start = chance.randrange(1_000_000)
            added.append((window(start, start + chance.randrange(1, 300_000)), chance.randrange(-2, 9)))
            function.add(*added[-1])
        chance.shuffle(added)
        added.sort(key=lambda entry: entry[0].start // 100_000 if seed % 2 else 0, reverse=True)
        while len(added) > wanted:
            over, amount = added.pop()
            function.add(over, -amount)
        steps = swept(added)
        everywhere = window(-1, 2_000_000)
        assert function.steps(everywhere) == steps
        assert function.peak(everywhere) == max(value for _, value in steps)
        if steps[1:]:
            cut = chance.randrange(len(steps) - 1)
            rest = [(max(at, steps[cut][0]), value) for at, value in steps[cut:]]
            middle = sorted(value for _, value in rest)[len(rest) // 2]
            since = window(rest[0][0], everywhere.end)
            assert function.peak(since) == max(value for _, value in rest)
            assert function.first_at_most(since.start, middle) == next(at for at, v in rest if v <= middle)
            above = [at for at, value in rest if value > middle]
            assert function.last_above(since.start, since.end, middle) == (above[-1] if above else None)


def swept(added: list[Added]) -> list[tuple[int, int]]:
    """The steps of all that was added, by one pass over the changes in order."""
    changes = Counter[int]()
    for over, amount in added:
        changes[over.start] += amount
        changes[over.end] -= amount
    steps = [(-1, 0)]
    for at in sorted(at for at, change in changes.items() if change):
        steps.append((at, steps[-1][1] + changes[at]))
    return steps


def test_blocks_that_empty_are_joined() -> None:
    """Else the few breakpoints that are left would cost as much to look through as all of them did."""
    function = function_of(*((window(2 * start, 2 * start + 501), 1 + start % 7) for start in range(2_000)))
    blocks = len(function._starts)
    for start in range(2_000):
        if start % 20:
            function.add(window(2 * start, 2 * start + 501), -1 - start % 7)
    assert len(function) == 200
    assert len(function._starts) < blocks / 4
