"""Work beside the answering of calls: how a task is ended, and how things are brought to where they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from rear.domain.refusals import TryAgain
from rear.domain.window import SECOND

log = structlog.get_logger(__name__)

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0
"""Seconds before a key is tried again after a fault of ours; each pause is twice the one before."""


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancels a task, and waits until it has ended, in whatever way; None where there is none."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def all_of(things: Iterable[Awaitable[object]]) -> None:
    """Waits for all of them, side by side, and then raises the first of what they raised: none goes on beyond that."""
    for outcome in await asyncio.gather(*things, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


class Pauses:
    """How long each key waits before the next attempt: twice as long each time, until something comes of it."""

    def __init__(self, first: float = 0.05, longest: float = 2.0) -> None:
        """In seconds."""
        self._first = first
        self._longest = longest
        self._next: dict[str, float] = {}

    def longer(self, key: str) -> float:
        """Seconds to wait now."""
        pause = self._next.get(key, self._first)
        self._next[key] = min(2 * pause, self._longest)
        return pause

    def waiting(self, key: str) -> bool:
        """Whether an attempt came to nothing, and none has come to something since."""
        return key in self._next

    def over(self, key: str) -> None:
        """Something came of it: the next pause is a short one."""
        self._next.pop(key, None)


class Reconciler:
    """Brings things to where they should be, each by itself and never twice at once.

    `step(key)` looks at how the thing stands now, does the next thing that is to be done, and returns: the seconds
    after which it is to be called again (0: at once), or None where nothing is to be done until somebody calls `wake`.
    A wake while it runs has it called again. Since it looks before it acts, waking too often does no harm, and after a
    restart it is enough to wake every key.
    """

    def __init__(self, name: str, step: Callable[[str], Awaitable[float | None]]) -> None:
        self._name = name
        self._step = step
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._woken: dict[str, asyncio.Event] = {}
        self._failing: set[str] = set()
        self._stopped = False

    @property
    def busy(self) -> int:
        """Keys that are worked on, or that will be called again."""
        return len(self._tasks)

    @property
    def trouble(self) -> str | None:
        """Why some keys do not come on; None while none is in trouble of our making."""
        if not self._failing:
            return None
        return f"{len(self._failing)} of the {self._name} cannot be brought on; the log says why"

    def wake(self, key: str) -> None:
        """The thing may have moved: it is looked at soon."""
        if self._stopped:
            return
        woken = self._woken.get(key)
        if woken is not None:
            woken.set()
            return
        self._woken[key] = asyncio.Event()
        self._tasks[key] = asyncio.get_running_loop().create_task(self._bring_on(key), name=f"{self._name} {key}")

    async def stop(self) -> None:
        """Ends what is under way, wherever it stands."""
        self._stopped = True
        await asyncio.gather(*map(end, list(self._tasks.values())))

    async def _bring_on(self, key: str) -> None:
        woken, pause = self._woken[key], FIRST_PAUSE
        try:
            while True:
                woken.clear()
                try:
                    wait = await self._step(key)
                    self._failing.discard(key)
                    pause = FIRST_PAUSE
                except TryAgain as refusal:
                    log.info("waits for the ledger", of=self._name, key=key, because=str(refusal))
                    wait = refusal.retry_after / SECOND
                except Exception:
                    log.exception("cannot be brought on", of=self._name, key=key)
                    self._failing.add(key)
                    wait, pause = pause, min(2 * pause, LONGEST_PAUSE)
                if wait is None and not woken.is_set():
                    return
                if wait:
                    await _at_most(wait, woken)
        finally:
            self._failing.discard(key)
            del self._woken[key], self._tasks[key]


async def _at_most(seconds: float, woken: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        pass
