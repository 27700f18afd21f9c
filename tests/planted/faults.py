"""Faults from outside, planted in a node that a test starts: a slow disk, a clock that is set, a long way to NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rear.domain.window import SECOND, Instant
from rear.ledger import sources
from rear.ledger.connection import Endpoint
from rear.ledger.landing import Landing
from rear.ledger.nats_process import NatsProcess
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


def through(where: str) -> None:
    """The node reaches its nats-server by a relay: `PORT:FILE`, its port and the file that tells it the server's.

    The supervisor still looks at the server directly.
    """
    port, _, file = where.partition(":")
    direct = NatsProcess.__dict__["endpoint"]

    def endpoint(self: NatsProcess) -> Endpoint:
        own: Endpoint = direct.fget(self)
        Path(file).write_text(own.url.rpartition(":")[2])
        return replace(own, url=f"nats://127.0.0.1:{port}")

    NatsProcess.endpoint = property(endpoint)  # type: ignore[assignment,method-assign]


FAULTS: Final[dict[str, Callable[[str], None]]] = {"slow": slow, "clock": clock, "through": through}
