"""Makes what would else be made when it is first asked for, while nobody waits for it."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from rear.background import end
from rear.managers.provider.provider import Provider
from rear.projections.tables import TablesError

log = structlog.get_logger(__name__)

BREATH: Final = 0.002
"""Seconds between pools, of which each takes about one millisecond: whoever calls meanwhile comes first."""


class Warming:
    """Reads the holds of every pool and makes its calendar, once, after a start."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, beside what else runs."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name="warming")

    async def stop(self) -> None:
        """Ends, done or not."""
        await end(self._task)

    async def run(self) -> None:
        """Goes through all pools that there are now."""
        state = self._provider.state
        for pool_id in list(state.pools):
            try:
                if pool_id in state.pools:
                    state.calendar(pool_id)
            except TablesError:
                return  # which the tables themselves make known
            await asyncio.sleep(BREATH)
        log.debug("every pool's calendar is there", pools=len(state.pools))
