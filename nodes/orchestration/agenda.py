"""When something is to be looked at again: one heap, which follows from state and is filled anew at every start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from rear.background import end
from rear.domain.window import SECOND, Instant

LONGEST_SLEEP: Final = 1.0
"""Seconds between looks at the clock, which may be set, and which goes on while a machine is suspended."""


class Agenda:
    """Calls `wake(key)` when the key's time has come. Each key has one time at most."""

    def __init__(self, now: Callable[[], Instant], wake: Callable[[str], None]) -> None:
        self._now = now
        self._wake = wake
        self._due: dict[str, Instant] = {}
        self._heap: list[tuple[Instant, str]] = []
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._due)

    def put(self, key: str, at: Instant | None) -> None:
        """The key's time is `at`, whatever it was before; None: it has none."""
        if at is None:
            self._due.pop(key, None)
        elif self._due.get(key) != at:
            self._due[key] = at
            heappush(self._heap, (at, key))
            self._moved.set()

    @property
    def trouble(self) -> str | None:
        """Why nobody is woken any more; None while all is well."""
        return "the agenda has stopped" if self._task is not None and self._task.done() else None

    def start(self) -> None:
        """Wakes from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="agenda")

    async def stop(self) -> None:
        """Wakes nobody any more."""
        await end(self._task)

    async def _run(self) -> None:
        while True:
            self._moved.clear()
            now = self._now()
            while self._heap and (self._heap[0][0] <= now or self._due.get(self._heap[0][1]) != self._heap[0][0]):
                at, key = heappop(self._heap)
                if self._due.get(key) == at:
                    del self._due[key]
                    self._wake(key)
            wait = min(LONGEST_SLEEP, (self._heap[0][0] - now) / SECOND) if self._heap else None
            try:
                async with asyncio.timeout(wait):
                    await self._moved.wait()
            except TimeoutError:
                pass
