"""Does what time does to contracts: once, when it is due, also what fell due while nobody looked."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from rear import failpoints
from rear.background import end
from rear.domain.refusals import TryAgain
from rear.domain.window import SECOND, Duration, Instant, after
from rear.ledger.commit import Decide, Decision, Outcome
from rear.managers.provider import endings
from rear.managers.provider.provider import Provider

log = structlog.get_logger(__name__)

AT_ONCE: Final = 300
"""Due contracts that are worked off side by side."""

RETRY_PAUSE: Final = 0.2
"""Seconds after which what is due is tried again when the ledger could not be written."""

MUCH_LATER: Final = Duration(10 * SECOND)
"""When a contract is tried again whose time could not be passed for a fault of ours."""

LONGEST_SLEEP: Final = 1.0
"""Seconds between looks at the clock, which may be set."""


class Timekeeper:
    """Follows the timers of one provider."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._faulty: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str | None:
        """Why time does not pass for all contracts as it should; None while it does."""
        if self._task is not None and self._task.done():
            return "the timers have stopped"
        if self._faulty:
            return f"time cannot be passed for {len(self._faulty)} contracts; the log says why"
        return None

    async def work_off(self) -> int:
        """Does what is due now; returns how many contracts moved on. At a start this comes before serving.

        Raises TryAgain where the ledger cannot be written; what is due stays due.
        """
        done = 0
        timers, writer = self._provider.timers, self._provider.writer
        while keys := list(dict.fromkeys(timers.pop_due(writer.now(), AT_ONCE))):
            # Decided before anything else runs: in between, nobody would find what is due, nor its room.
            waiting = [(key, self._enqueue(key)) for key in keys]
            outcomes = await asyncio.gather(*(asyncio.shield(one) for _, one in waiting), return_exceptions=True)
            unavailable: TryAgain | None = None
            for key, outcome in zip(keys, outcomes, strict=True):
                if isinstance(outcome, Outcome):
                    self._faulty.discard(key)
                    done += outcome.answer
                elif isinstance(outcome, TryAgain):
                    unavailable = outcome
                    # Whatever memory says of it by now: that may be taken back too.
                    timers.again(writer.now(), key)
                else:
                    log.error("time cannot be passed for a contract", contract=key, exc_info=outcome)
                    self._faulty.add(key)
                    timers.again(after(writer.now(), MUCH_LATER), key)
            if unavailable is not None:
                raise unavailable
        return done

    def start(self) -> None:
        """Follows the timers from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="timers")

    async def stop(self) -> None:
        """Stops to follow them; what is due stays due."""
        await end(self._task)

    def _enqueue(self, key: str) -> asyncio.Future[Outcome[int]]:
        decided = self._provider.writer.enqueue(self._decision(key))
        failpoints.reach("timers.in_the_middle")
        return decided

    def _decision(self, key: str) -> Decide[int]:
        def decide(now: Instant) -> Decision[int]:
            found = self._provider.state.contracts.get(key)
            events = endings.by_time(self._provider, found, now) if found is not None else ()
            return Decision(events, 1 if events else 0)

        return decide

    async def _run(self) -> None:
        moved = self._provider.timers_moved
        while True:
            moved.clear()
            due = self._provider.timers.next_due()
            wait = None if due is None else max(0.0, (due - self._provider.writer.now()) / SECOND)
            try:
                async with asyncio.timeout(wait if wait is None else min(wait, LONGEST_SLEEP)):
                    await moved.wait()
            except TimeoutError:
                pass
            try:
                await self.work_off()
            except TryAgain as refusal:
                log.warning("timers wait for the ledger", because=str(refusal))
                await asyncio.sleep(RETRY_PAUSE)
