"""Puts one batch at a time into the ledger, and knows for certain whether it is there.

An acknowledgement can be lost, a connection cut, a disk full in the middle of a batch. Then the *same* guarded messages
are sent again, and where the guard says that something is there, it is compared with them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from rear import failpoints
from rear.ledger.errors import LedgerDamaged, LedgerError, LedgerUnavailable, OutcomeUnknown, TipConflict
from rear.ledger.reader import find_writer
from rear.ledger.stream import EventStream, Outgoing

log = structlog.get_logger(__name__)

FIRST_WAIT: Final = 1.5
"""Seconds to wait for the acknowledgement of a batch before it is sent again: twice as long each time.

One that comes too early costs a batch that the guard refuses. One that comes late is time in which a cluster whose
leader has died has another one already, and nobody asks it.
"""

APPEND_TIMEOUT: Final = 5.0
"""Seconds of the longest such wait, and of the only one where a commit is not repeated as it is."""

STALE_AFTER: Final = 0.5
"""Seconds after which a writer looks at the tip before it answers anything that it does not write."""

RETRY_PAUSE: Final = 0.1
"""Seconds between attempts at a batch whose outcome is unknown."""


def _elapsed() -> float:
    """Seconds, counted on while the machine is suspended: what was seen before that is old, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteppedDown(LedgerError):
    """Another process has become the ledger's writer, at `endpoint`."""

    def __init__(self, epoch: int, endpoint: str) -> None:
        super().__init__(f"another process at {endpoint} writes this ledger since epoch {epoch}")
        self.epoch = epoch
        self.endpoint = endpoint


class Landing:
    """The end of one ledger, as its writer appends to it. `epoch` tells the writer's own."""

    def __init__(self, stream: EventStream, tip: int, epoch: Callable[[], int]) -> None:
        self.tip = tip
        """The sequence of the last event that is durable."""
        self.trouble: str | None = None
        """What is wrong just now."""
        self.open_ended = False
        """Whether something was sent of which it is not known whether it landed."""
        self.unknown_outcomes = 0
        """Counts how often it was not known whether what was sent had landed."""
        self._stream = stream
        self._epoch = epoch
        self._torn_since = 0
        self._confirmed_at = self._landed_at = _elapsed()

    @property
    def stale(self) -> bool:
        """Whether it is long ago that the tip was seen where it should be.

        Counted from when the server was asked: what it said then may have lain here unread since, in a process that
        was stopped.
        """
        return _elapsed() - self._confirmed_at > STALE_AFTER

    async def land(self, messages: Sequence[Outgoing]) -> None:
        """Sends until it is known that all messages landed, or that none did (LedgerUnavailable).

        Raises SteppedDown where another process writes the ledger, and LedgerDamaged where something stands in it that
        must not be.
        """
        self.open_ended = True
        unknown, wait = False, FIRST_WAIT
        began = first = _elapsed()
        while True:
            try:
                began = _elapsed()
                failpoints.reach("writer.before_publish")
                sent = failpoints.reaching("writer.after_publish")
                await self._stream.append(messages, self.tip, timeout=wait, sent=sent)
            except OutcomeUnknown as error:
                unknown, wait = True, min(2 * wait, APPEND_TIMEOUT)
                self.unknown_outcomes += 1
                self.note(f"the outcome of a commit is not known yet: {error}")
                await asyncio.sleep(RETRY_PAUSE)
            except LedgerUnavailable as error:
                self.note(str(error))
                if not unknown:
                    self.open_ended = False
                    raise
                await asyncio.sleep(RETRY_PAUSE)
            except TipConflict:
                if await self._landed(messages):
                    began = first  # others may stand behind it by now
                    break
            else:
                break
        self._landed_at = began
        failpoints.reach("writer.after_ack")
        self.tip += len(messages)

    def confirm(self) -> None:
        """All that was sent is durable here too: nothing is open, and nothing is wrong."""
        self.open_ended = False
        self._torn_since = 0
        self._confirmed_at = self._landed_at
        self.trouble = None

    def doubt(self) -> None:
        """Takes nothing for granted that was seen before: the next answer waits for a look."""
        self._confirmed_at = float("-inf")

    async def look(self) -> None:
        """Sees that the ledger ends where it should, and can be written. Raises as `land` does."""
        self._stream.admit()
        asked_at = _elapsed()
        if await self._stream.tip() != self.tip:
            raise await self._conflict()
        self._confirmed_at = asked_at
        self.trouble = None

    def note(self, trouble: str) -> None:
        """Says what is wrong, once."""
        if self.trouble != trouble:
            log.warning("ledger trouble", trouble=trouble)
        self.trouble = trouble

    async def _landed(self, messages: Sequence[Outgoing]) -> bool:
        """Whether our own messages stand where the guard said that something is; raises where others do."""
        try:
            last = await self._stream.get(self.tip + len(messages))
            if last is not None and last.hash == messages[-1].hash:
                return True
            first = await self._stream.get(self.tip + 1)
            if first is None:  # not there, or not there yet: the guard decides anew
                await asyncio.sleep(RETRY_PAUSE)
                return False
            if first.hash == messages[0].hash:
                await self._wait_for_the_rest()
                return False
            conflict = await self._conflict()
        except (LedgerUnavailable, OutcomeUnknown) as error:
            self.note(str(error))
            await asyncio.sleep(RETRY_PAUSE)
            return False
        raise conflict

    async def _wait_for_the_rest(self) -> None:
        """Only a part of our batch is visible: its disk was full. The server completes it when it is restarted."""
        self.note("the server's disk was full in the middle of a commit; waiting for its restart")
        generation = self._torn_since = self._torn_since or self._stream.generation
        if self._stream.generation > generation + 1:
            raise LedgerDamaged(
                f"the ledger ends inside of a commit, after {self.tip}, also after its server was restarted; "
                "restore the store from a copy"
            )
        await asyncio.sleep(RETRY_PAUSE)

    async def _conflict(self) -> LedgerError:
        """Why the ledger has something at our place: a new writer, or something that must not be."""
        tip = await self._stream.tip()
        if tip < self.tip:
            return LedgerDamaged(
                f"the ledger ends at {tip}, but {self.tip} was acknowledged: its end is lost; restore the store, "
                "or accept the loss with `rear ledger accept-loss`"
            )
        found = await find_writer(self._stream, self.tip + 1)
        if found is not None and found[0] > self._epoch():
            return SteppedDown(*found)
        return LedgerDamaged(
            f"something that is not ours stands in the ledger at {self.tip + 1}; nothing more is written; "
            "find out who else writes to the stream"
        )
