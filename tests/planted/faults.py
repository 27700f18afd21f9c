"""Faults from outside, planted in a node that a test starts: a slow disk, a clock that is set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rear.domain.window import SECOND, Instant
from rear.ledger import sources
from rear.ledger.landing import Landing
from rear.ledger.stream import Outgoing


def slow(seconds: str) -> None:
    """Each batch takes that much longer to land."""
    land = Landing.land

    async def slowly(self: Landing, messages: Sequence[Outgoing]) -> None:
        await asyncio.sleep(float(seconds))
        await land(self, messages)

    Landing.land = slowly  # type: ignore[method-assign]


def clock(path: str) -> None:
    """The node's clock is off by as many seconds as the file says at each look; by none where there is none."""
    file, true = Path(path), sources.SystemClock.now

    def now(self: sources.SystemClock) -> Instant:
        try:
            offset = float(file.read_text() or 0)
        except FileNotFoundError:
            offset = 0.0
        return Instant(true(self) + round(offset * SECOND))

    sources.SystemClock.now = now  # type: ignore[method-assign]


FAULTS: Final[dict[str, Callable[[str], None]]] = {"slow": slow, "clock": clock}
