"""Running usage of one kind over exact time, quick to change and to find peaks in.

The breakpoints are kept in blocks (a square-root decomposition). A block's values are kept relative to an
offset that is never stored: it is the block's highest value less the highest of its relative ones. So adding
over a long window rewrites at most two blocks, and one number for each block between them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

from rear.domain.window import Instant, Window

MOST_IN_BLOCK: Final = 64
"""A block with more breakpoints is cut in two. Measured with 10,000: 64 to 96 are best."""

LEAST_IN_BLOCK: Final = MOST_IN_BLOCK // 4
"""A block with fewer breakpoints joins a neighbour, if both together stay well below the most."""

_UNKNOWN: Final = -1


class StepFunction:
    """An integer for each instant: zero at first, changed over half-open windows.

    What is released at an instant is gone before what begins there is counted. A breakpoint exists only where
    the value changes, so adding an amount and then its negative leaves nothing behind.
    """

    __slots__ = ("_depths", "_highs", "_instants", "_starts", "_tops", "_values")

    def __init__(self) -> None:
        self._starts: list[Instant] = []  # the first breakpoint of each block
        self._instants: list[list[Instant]] = []
        self._values: list[list[int]] = []  # relative to the block's offset
        self._highs: list[int] = []  # the highest value of each block
        self._tops: list[int] = []  # the highest relative value of each block
        self._depths: list[int] = []  # the highest less the lowest, or _UNKNOWN until it is asked for

    def __len__(self) -> int:
        """The number of breakpoints."""
        return sum(map(len, self._instants))

    def __bool__(self) -> bool:
        """Whether the value is other than zero anywhere."""
        return bool(self._starts)

    def add(self, window: Window, amount: int) -> None:
        """Raise the value by `amount` over `window`; `add(window, -amount)` undoes it."""
        if amount == 0 or window.start >= window.end:
            return
        if len(self._starts) == 1:
            self._add_to_one(window.start, window.end, amount)
            return
        first, begin = self._breakpoint(window.start)
        last, stop = self._breakpoint(window.end)
        if first == last:
            self._raise(first, begin, stop, amount)
        else:
            self._raise(first, begin, len(self._values[first]), amount)
            if last - first > 1:
                highs = self._highs
                highs[first + 1 : last] = [high + amount for high in highs[first + 1 : last]]
            self._raise(last, 0, stop, amount)
        self._drop_if_flat(last, stop)
        self._drop_if_flat(first, begin)
        self._balance(last)
        if first != last:
            self._balance(first)

    def _add_to_one(self, start: Instant, end: Instant, amount: int) -> None:
        """`add` where there is one block, as on nearly every pool: in one pass, and half the time."""
        instants, values = self._instants[0], self._values[0]
        offset = self._highs[0] - self._tops[0]
        begin = bisect_left(instants, start)
        before = values[begin - 1] if begin else -offset
        if begin == len(instants) or instants[begin] != start:
            instants.insert(begin, start)
            values.insert(begin, before)
        stop = bisect_left(instants, end, begin + 1)
        if stop == len(instants) or instants[stop] != end:
            instants.insert(stop, end)
            values.insert(stop, values[stop - 1])
        values[begin:stop] = [value + amount for value in values[begin:stop]]
        if values[stop] == values[stop - 1]:
            del instants[stop], values[stop]
        if values[begin] == before:
            del instants[begin], values[begin]
        if not values:
            self._remove(0)
            return
        self._starts[0] = instants[0]
        self._measure(0, offset)
        if len(values) > MOST_IN_BLOCK:
            self._cut(0)

    def at(self, instant: Instant) -> int:
        """The value at `instant`."""
        block = bisect_right(self._starts, instant) - 1
        if block < 0:
            return 0
        step = bisect_right(self._instants[block], instant) - 1
        return self._values[block][step] + self._highs[block] - self._tops[block]

    def peak(self, window: Window) -> int:
        """The highest value in [start, end); of an empty window, the value at its start."""
        start, end = window.start, window.end
        if end <= start:
            return self.at(start)
        starts, highs, tops = self._starts, self._highs, self._tops
        last = bisect_left(starts, end) - 1
        if last < 0:
            return 0
        first = bisect_right(starts, start) - 1
        if first == last:
            instants = self._instants[first]
            begin = bisect_right(instants, start) - 1
            values = self._values[first][begin : bisect_left(instants, end)]
            return max(values) + highs[first] - tops[first]
        if first < 0:
            best = 0
        else:
            begin = bisect_right(self._instants[first], start) - 1
            best = max(self._values[first][begin:]) + highs[first] - tops[first]
        if last - first > 1:
            best = max(best, max(highs[first + 1 : last]))
        if highs[last] > best:  # else no part of that block can be higher
            stop = bisect_left(self._instants[last], end)
            best = max(best, max(self._values[last][:stop]) + highs[last] - tops[last])
        return best

    def peak_with(self, window: Window, over: Window, amount: int) -> int:
        """What `peak(window)` would be after `add(over, amount)`."""
        start, end = max(window.start, over.start), min(window.end, over.end)
        if start >= end:
            return self.peak(window)
        if start == window.start and end == window.end:
            return self.peak(window) + amount
        best = self.peak(Window(start, end)) + amount
        if window.start < start:
            best = max(best, self.peak(Window(window.start, start)))
        if end < window.end:
            best = max(best, self.peak(Window(end, window.end)))
        return best

    def stays_within(self, limit: int, window: Window) -> bool:
        """Whether `peak(window)` is `limit` or less; quickest where few breakpoints stay below it anyway."""
        return (len(self._highs) == 1 and self._highs[0] <= limit) or self.peak(window) <= limit

    def last_above(self, start: Instant, end: Instant, limit: int) -> Instant | None:
        """Where the last step in [start, end) that is above `limit` begins, at `start` earliest."""
        if start >= end:
            return None
        block, step = self._step_at(start)
        index = bisect_left(self._starts, end) - 1
        while index >= max(block, 0):
            if self._highs[index] > limit:
                bound = limit - self._highs[index] + self._tops[index]
                values, instants = self._values[index], self._instants[index]
                least = step if index == block else 0
                for position in range(bisect_left(instants, end) - 1, least - 1, -1):
                    if values[position] > bound:
                        return max(start, instants[position])
            index -= 1
        return start if block < 0 and limit < 0 else None

    def first_at_most(self, start: Instant, limit: int) -> Instant | None:
        """The first instant from `start` on where the value is `limit` or less; None if there is none."""
        block, step = self._step_at(start)
        if block < 0:
            if limit >= 0:
                return start
            block = step = 0
        for index in range(block, len(self._starts)):
            if self._highs[index] - self._depth(index) <= limit:
                bound = limit - self._highs[index] + self._tops[index]
                values = self._values[index]
                for position in range(step, len(values)):
                    if values[position] <= bound:
                        return max(start, self._instants[index][position])
            step = 0
        return None

    def steps(self, window: Window) -> list[tuple[Instant, int]]:
        """The value at the window's start, then each instant inside the window where it changes, in order."""
        start, end = window.start, window.end
        if start >= end:
            return []
        found = [(start, self.at(start))]
        first = max(bisect_right(self._starts, start) - 1, 0)
        for block in range(first, bisect_left(self._starts, end)):
            offset = self._highs[block] - self._tops[block]
            found += [
                (instant, value + offset)
                for instant, value in zip(self._instants[block], self._values[block], strict=True)
                if start < instant < end
            ]
        return found

    def _step_at(self, instant: Instant) -> tuple[int, int]:
        """Block and position of the step that `instant` lies in; (-1, -1) before the first breakpoint."""
        block = bisect_right(self._starts, instant) - 1
        if block < 0:
            return -1, -1
        return block, bisect_right(self._instants[block], instant) - 1

    def _breakpoint(self, instant: Instant) -> tuple[int, int]:
        """Block and position of a breakpoint at `instant`, put there first if need be.

        Cuts no block, and leaves measuring to `_raise`, which follows.
        """
        starts = self._starts
        block = bisect_right(starts, instant) - 1
        if block >= 0:
            instants = self._instants[block]
            step = bisect_right(instants, instant)
            if instants[step - 1] == instant:
                return block, step - 1
            instants.insert(step, instant)
            self._values[block].insert(step, self._values[block][step - 1])
            return block, step
        if not starts:
            starts.append(instant)
            self._instants.append([instant])
            self._values.append([0])
            for measure in (self._highs, self._tops, self._depths):
                measure.append(0)
            return 0, 0
        starts[0] = instant
        self._instants[0].insert(0, instant)
        self._values[0].insert(0, self._tops[0] - self._highs[0])
        return 0, 0

    def _raise(self, block: int, begin: int, stop: int, amount: int) -> None:
        """Add `amount` to the steps [begin, stop) of one block."""
        if begin == stop:
            return
        values = self._values[block]
        offset = self._highs[block] - self._tops[block]
        values[begin:stop] = [value + amount for value in values[begin:stop]]
        self._measure(block, offset)

    def _measure(self, block: int, offset: int) -> None:
        """Take the block's height again after its relative values changed under `offset`."""
        top = max(self._values[block])
        self._tops[block] = top
        self._highs[block] = top + offset
        self._depths[block] = _UNKNOWN

    def _depth(self, block: int) -> int:
        depth = self._depths[block]
        if depth == _UNKNOWN:
            depth = self._depths[block] = self._tops[block] - min(self._values[block])
        return depth

    def _drop_if_flat(self, block: int, step: int) -> None:
        """Remove a breakpoint where the value does not change."""
        values = self._values[block]
        if step > 0:
            if values[step] == values[step - 1]:
                del values[step], self._instants[block][step]
            return
        offset = self._highs[block] - self._tops[block]
        before = block - 1
        level = self._values[before][-1] + self._highs[before] - self._tops[before] if block > 0 else 0
        if values[0] + offset != level:
            return
        del values[0], self._instants[block][0]
        if values:
            self._starts[block] = self._instants[block][0]
            self._measure(block, offset)
        else:
            self._remove(block)

    def _balance(self, block: int) -> None:
        """Cut a block that is too long, join one that is too short."""
        if block >= len(self._starts):
            return
        size = len(self._values[block])
        if size > MOST_IN_BLOCK:
            self._cut(block)
        elif size < LEAST_IN_BLOCK and len(self._starts) > 1:
            left = min(block, len(self._starts) - 2)
            if len(self._values[left]) + len(self._values[left + 1]) <= MOST_IN_BLOCK * 3 // 4:
                self._join(left)

    def _cut(self, block: int) -> None:
        offset = self._highs[block] - self._tops[block]
        half = len(self._values[block]) // 2
        instants, values = self._instants[block], self._values[block]
        self._starts.insert(block + 1, instants[half])
        self._instants[block : block + 1] = [instants[:half], instants[half:]]
        self._values[block : block + 1] = [values[:half], values[half:]]
        for measure in (self._highs, self._tops, self._depths):
            measure.insert(block + 1, 0)
        self._measure(block, offset)
        self._measure(block + 1, offset)

    def _join(self, left: int) -> None:
        right = left + 1
        offset = self._highs[left] - self._tops[left]
        shift = self._highs[right] - self._tops[right] - offset
        self._values[left] += [value + shift for value in self._values[right]]
        self._instants[left] += self._instants[right]
        self._remove(right)
        self._measure(left, offset)

    def _remove(self, block: int) -> None:
        del self._starts[block], self._instants[block], self._values[block]
        del self._highs[block], self._tops[block], self._depths[block]
