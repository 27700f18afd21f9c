"""How long calls may take: one timer for all of them.

`asyncio.timeout` makes a timer for each call, which is nearly always taken down again: 3 % of the processor time of a
reservation. Here a call costs an entry in a set.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from types import TracebackType
from typing import Final

TICK: Final = 0.01
"""Seconds: calls whose time is up within the same tick are cut off together, rather too early than too late."""


class Deadline:
    """Like `asyncio.timeout`, as a plain context manager: what is not done in time is cancelled, and TimeoutError."""

    __slots__ = ("_cancelling", "_due", "_others", "_task")

    def __init__(self, others: set[Deadline], task: asyncio.Task[object]) -> None:
        """One of those that are due at the same tick."""
        self._others = others
        self._task = task
        self._cancelling = task.cancelling()
        self._due = False

    def __enter__(self) -> None:
        self._others.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._others.discard(self)
        if self._due and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """The time is up."""
        self._due = True
        self._task.cancel()


class Deadlines:
    """The deadlines of all calls on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: Final = loop
        self._by_tick: dict[int, set[Deadline]] = {}
        self._ticks: list[int] = []  # a heap
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> Deadline:
        """A deadline for the running task."""
        task = asyncio.current_task(self.loop)
        assert task is not None
        tick = int((self.loop.time() + seconds) / TICK)
        due = self._by_tick.get(tick)
        if due is None:
            due = self._by_tick[tick] = set()
            heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._wait()
        return Deadline(due, task)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._ticks[0] * TICK, self._look) if self._ticks else None

    def _look(self) -> None:
        now = self.loop.time() / TICK + 0.5  # timers are rounded
        while self._ticks and self._ticks[0] <= now:
            for deadline in self._by_tick.pop(heappop(self._ticks)):
                deadline.expire()
        self._wait()


_newest: Deadlines | None = None


def within(seconds: float) -> Deadline:
    """A deadline for the running task: `with within(2.0): ...` raises TimeoutError after that many seconds."""
    global _newest
    loop = asyncio.get_running_loop()
    if _newest is None or _newest.loop is not loop:
        _newest = Deadlines(loop)
    return _newest.within(seconds)
