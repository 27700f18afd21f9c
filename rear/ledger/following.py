"""A standby at the end of a ledger that another process writes: it reads along, and notices when that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog

from rear.domain.events import LedgerOpened
from rear.domain.state import State
from rear.ledger.anchor import Anchor, AnchorPoint
from rear.ledger.chain import GENESIS
from rear.ledger.codec import decode
from rear.ledger.commit import Committed
from rear.ledger.connection import Connection
from rear.ledger.errors import LedgerDamaged, LedgerError, LedgerUnavailable
from rear.ledger.heartbeat import SILENCE, TICK, Beat, Ears, Silence
from rear.ledger.opening import Tip, replay
from rear.ledger.sources import Ids
from rear.ledger.stream import EventStream

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 5.0
"""Seconds after which the ledger is looked at though no heartbeat tells of news."""


async def adopt(stream: EventStream, anchor: Anchor, ids: Ids) -> None:
    """Takes a ledger that others began, or may begin, as it is: an anchor at its beginning, from where all of it will
    be proved.

    For a state directory that never held anything of it. Raises LedgerDamaged where it does not begin as a ledger does.
    """
    first = await stream.get(1)
    if first is None:  # whoever begins it may be faster than we, and then it is his
        anchor.write(AnchorPoint(ids.new(), 0, GENESIS))
        return
    event = decode(first.payload).event
    if not isinstance(event, LedgerOpened):
        raise LedgerDamaged(f"stream {stream.name} does not begin with LedgerOpened: it is no ledger")
    anchor.write(AnchorPoint(event.log_id, 0, GENESIS))


class Follower:
    """Keeps a state at the end of the ledger. `tip` is where it stands, `heard` the writer's newest heartbeat."""

    def __init__(
        self,
        stream: EventStream,
        anchor: Anchor,
        connection: Connection,
        service: str,
        state: State,
        tip: Tip,
        replayed: Callable[[Sequence[Committed]], None],
    ) -> None:
        self.state = state
        self.tip = tip
        self.heard: Beat | None = None
        self.trouble: str | None = None
        """Why the ledger cannot be followed just now."""
        self._stream = stream
        self._anchor = anchor
        self._hand_on = replayed
        self._ears = Ears(connection, service, self._hear)
        self._silence = Silence()

    @property
    def writer(self) -> str:
        """The endpoint of the ledger's writer; empty where there was none yet."""
        if self.heard is not None and self.heard.epoch >= self.state.service.epoch:
            return self.heard.endpoint
        return self.state.service.endpoint

    async def until_silent(self, at_the_end: Callable[[], None] = lambda: None) -> None:
        """Follows the ledger, and returns when its writer has been silent for a second: at the end, as far as known.

        `at_the_end` is called when it has caught up for the first time. Raises LedgerDamaged.
        """
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            self._ears.start()
            stack.push_async_callback(self._ears.stop)
            self._silence = Silence()
            look_at, caught_up = loop.time(), False
            while self._silence.seconds < SILENCE or not caught_up:
                heard_more = self.heard is not None and self.heard.sequence > self.tip.sequence
                if heard_more or loop.time() >= look_at:
                    look_at = loop.time() + (LOOK_EVERY if await self._read_on() else SILENCE)
                    if not caught_up and self.trouble is None:
                        caught_up = True
                        at_the_end()
                await asyncio.sleep(TICK)
                self._silence.pass_time(loop.time(), deaf=not self._ears.open)

    async def _read_on(self) -> bool:
        """Reads to the end; False where that cannot be done just now."""
        try:
            await replay(self._stream, self.state, self.tip, self._replayed)
        except LedgerUnavailable as error:
            if self.trouble is None:
                log.warning("the ledger cannot be followed", because=str(error))
            self.trouble = str(error)
            return False
        self.trouble = None
        point = self._anchor.read()
        begun = point is not None and point.sequence > 0
        if begun and point is not None and point.log_id != self.state.service.log_id:
            raise LedgerDamaged(
                f"the anchor {self._anchor.path} belongs to ledger {point.log_id}, but this is "
                f"{self.state.service.log_id}; name the state directory that belongs to it"
            )
        if self.tip.sequence > (0 if point is None else point.sequence):
            moved = AnchorPoint(self.state.service.log_id, self.tip.sequence, self.tip.hash)
            await asyncio.get_running_loop().run_in_executor(None, self._anchor.write, moved)
        return True

    def _replayed(self, batch: Sequence[Committed]) -> None:
        self._hand_on(batch)
        self.tip = Tip(batch[-1].sequence, batch[-1].hash)

    def _hear(self, beat: Beat) -> None:
        if beat.epoch < self.state.service.epoch or beat.log_id != (self.state.service.log_id or beat.log_id):
            return  # one that has been deposed and does not know it yet
        self.heard = beat
        self._silence.broken()


async def see_that_nobody_writes(connection: Connection, service: str) -> None:
    """Raises LedgerError where a ledger has a writer that lives."""
    beat = await listen_for_writer(connection, service)
    if beat is not None:
        raise LedgerError(
            f"the process at {beat.endpoint} writes this ledger, in epoch {beat.epoch}: stop it, and its standbys, "
            "first; nothing was changed"
        )


async def listen_for_writer(connection: Connection, service: str) -> Beat | None:
    """The heartbeat of a ledger's writer; None where there is none within a second."""
    heard: asyncio.Future[Beat] = asyncio.get_running_loop().create_future()
    ears = Ears(connection, service, lambda beat: None if heard.done() else heard.set_result(beat))
    ears.start()
    try:
        async with asyncio.timeout(SILENCE):
            return await heard
    except TimeoutError:
        return None
    finally:
        await ears.stop()
