"""The writer's heartbeat: a few times a second it says that it writes, on a core NATS subject beside the ledger.

It only tells a standby when to try. Who writes is settled in the ledger alone, so a beat that is lost, late or untrue
costs at most a take-over that was not needed, or a later one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import nats.errors
import structlog
from nats.aio.msg import Msg

from rear.background import end
from rear.ledger.client import LedgerClient, NotConnected
from rear.ledger.connection import Connection
from rear.ledger.errors import LedgerError, LedgerUnavailable

log = structlog.get_logger(__name__)

BEAT_EVERY: Final = 0.25
"""Seconds between beats."""

SILENCE: Final = 1.0
"""Seconds without a beat after which a writer counts as gone."""

TICK: Final = 0.05
"""Seconds between looks at how long it has been silent."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a writer says: whose ledger, since which epoch, where it answers, and up to where it has written."""

    log_id: str
    epoch: int
    endpoint: str
    sequence: int

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()


def beat_from(data: bytes) -> Beat | None:
    """The beat that the bytes are; None where they are none."""
    try:
        found = json.loads(data)
        return Beat(str(found["log_id"]), int(found["epoch"]), str(found["endpoint"]), int(found["sequence"]))
    except (ValueError, TypeError, KeyError):
        return None


def subject_of_beats(service: str) -> str:
    """Where a service's writer says so."""
    return f"rear.writer.{service}"


class Heart:
    """Beats for a writer: `beat` gives the next one, or None while it could not write."""

    def __init__(self, connection: Connection, service: str, beat: Callable[[], Beat | None]) -> None:
        self._connection = connection
        self._subject = subject_of_beats(service)
        self._beat = beat
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to beat."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="heartbeat")

    async def stop(self) -> None:
        """Beats no more."""
        await end(self._task)

    async def _run(self) -> None:
        while True:
            beat = self._beat()
            if beat is not None and self._connection.connected:
                with contextlib.suppress(LedgerError, NotConnected, OSError, nats.errors.Error):
                    client = await self._connection.client(BEAT_EVERY)
                    await client.tell(self._subject, beat.to_bytes())
            await asyncio.sleep(BEAT_EVERY)


class Ears:
    """Listens for beats, over every connection that there is. `hear` is told of each."""

    def __init__(self, connection: Connection, service: str, hear: Callable[[Beat], None]) -> None:
        self._connection = connection
        self._subject = subject_of_beats(service)
        self._hear = hear
        self._listening: LedgerClient | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether a beat would be heard just now."""
        return self._listening is not None and not self._listening.lost.is_set()

    def start(self) -> None:
        """Begins to listen."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="heartbeats")

    async def stop(self) -> None:
        """Listens no more."""
        await end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                client = await self._connection.client(SILENCE)
                await self._listen(client)
            except (LedgerUnavailable, OSError, TimeoutError, nats.errors.Error) as error:
                log.debug("no heartbeat can be heard", because=str(error))
                await asyncio.sleep(TICK)

    async def _listen(self, client: LedgerClient) -> None:
        subscription = await client.subscribe(self._subject, cb=self._heard)
        try:
            await client.flush(2)  # from here on the server has it
            self._listening = client
            await client.lost.wait()
        finally:
            self._listening = None
            with contextlib.suppress(OSError, nats.errors.Error):
                await subscription.unsubscribe()

    async def _heard(self, message: Msg) -> None:
        beat = beat_from(message.data)
        if beat is None:
            log.warning("something that is no heartbeat came on the subject of heartbeats", subject=message.subject)
        else:
            self._hear(beat)


class Silence:
    """For how long nothing was heard, by a process that was awake and could hear.

    A process that was stopped finds its clock far ahead, and what was said meanwhile still unread: time counts in small
    steps only.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._at: float | None = None

    def broken(self) -> None:
        """Something was heard."""
        self.seconds = 0.0

    def pass_time(self, now: float, *, deaf: bool) -> None:
        """Takes notice of the time, every few moments; while nothing can be heard nothing counts."""
        if self._at is not None:
            self.seconds = 0.0 if deaf else self.seconds + min(now - self._at, 2 * TICK)
        self._at = now
