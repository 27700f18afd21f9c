"""Real time against the ledger's order: between which positions a call's point can lie."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from tests.checker.history import Call, Unknown
from tests.checker.timelines import Effect


class Floor:
    """The newest point of all calls that had ended when another began.

    Calls are passed in the order in which they began, and each one's point is told before the next.
    """

    def __init__(self) -> None:
        self._ended: list[tuple[int, int, str]] = []
        self._newest = 0
        self._why = "the beginning"

    def under(self, call: Call) -> int:
        """What must not lie after the call's point, as a position."""
        while self._ended and self._ended[0][0] < call.began:
            _, point, why = heappop(self._ended)
            if point > self._newest:
                self._newest, self._why = point, why
        return self._newest

    @property
    def why(self) -> str:
        """The call that the floor comes from."""
        return self._why

    def stands(self, call: Call, point: int) -> None:
        """The call's point."""
        heappush(self._ended, (call.ended, point, str(call)))


class Ceiling:
    """The last position before the effects of all requests that were first sent after a moment."""

    def __init__(self, effects: Iterable[tuple[int, Effect]], length: int) -> None:
        """`effects` come with the moment at which their requests were first sent."""
        ordered = sorted(effects, key=lambda sent: sent[0])
        self._sent = [sent for sent, _ in ordered]
        self._before: list[int] = []
        lowest = length
        for _, effect in reversed(ordered):
            lowest = min(lowest, effect.first - 1)
            self._before.append(lowest)
        self._before.reverse()
        self._length = length

    def over(self, ended: int) -> int:
        """The newest position that a call which ended then can have seen."""
        index = bisect_right(self._sent, ended)
        return self._before[index] if index < len(self._before) else self._length


def candidates(attempts: Sequence[Call]) -> list[Call]:
    """The attempts that may have had the effect: those that were answered OK, and those without an answer."""
    return [call for call in attempts if isinstance(call.outcome, Unknown) or hasattr(call.outcome, "position")]
