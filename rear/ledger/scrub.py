"""The background scrub: reads the whole ledger again and again, slowly, and proves each event's hash.

A start proves the anchor and the tail. What stands further back is not needed to sell, so damage there can stay unseen
until an auditor asks; the scrub finds it first. It proves hashes over raw bytes, decodes nothing, and goes on after
what it finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from rear.background import end
from rear.ledger.chain import GENESIS, link
from rear.ledger.errors import EventLost, LedgerError
from rear.ledger.message import Stored
from rear.ledger.scrub_record import Damage, Flaw, ScrubRecord, read_scrub, write_scrub
from rear.ledger.stream import EventStream

log = structlog.get_logger(__name__)

PART: Final = 50
"""Events that are read and hashed at once: a millisecond of the loop."""

MOST: Final = 1_000
"""Findings that are kept."""

NOTE_EVERY: Final = 5_000
"""Events after which progress is written down."""

RETRY_PAUSE: Final = 1.0
"""Seconds to wait where the ledger's server does not answer."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the scrub goes, in events a second (0: not at all), and how long it rests after the end, in seconds."""

    rate: int = 500
    rest: float = 86_400.0


class Scrub:
    """The scrub of one ledger. `tip` tells the sequence of the last durable event."""

    def __init__(self, stream: EventStream, path: Path, log_id: str, tip: Callable[[], int], pace: Pace) -> None:
        """`path` is where progress and findings are kept; a record of another ledger there is not used."""
        self._stream = stream
        self._path = path
        self._tip = tip
        self._pace = pace
        known = read_scrub(path)
        self.record = known if known is not None and known.log_id == log_id else ScrubRecord(log_id)
        """How far it is, and what it found."""
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str | None:
        """What is damaged, or why it no longer looks, for an operator; None where nothing was found."""
        damage = self.record.damage
        if not damage and self._task is not None and self._task.done() and not self._task.cancelled():
            return f"the scrub has ended by a fault of its own ({self._task.exception()}); a restart begins it again"
        if not damage:
            return None
        more = f" and in {len(damage) - 1} more places" if len(damage) > 1 else ""
        return (
            f"the ledger is damaged at {damage[0]}{more}: what is sold now is safe, but the proof of what was sold "
            "then is broken; restore the store from a copy that `rear ledger verify` accepts"
        )

    def start(self) -> None:
        """Begins in the background, unless the pace is 0."""
        if self._pace.rate > 0:
            self._task = asyncio.create_task(self._run(), name="scrub")

    async def stop(self) -> None:
        """Ends it; what it has done is kept."""
        task, self._task = self._task, None
        if task is not None:
            await end(task)  # what it ended by was told as trouble
            self._note(self.record)

    async def _run(self) -> None:
        while True:
            try:
                await self._rest()
                await self._resume()
                await self.once()
            except LedgerError as error:
                log.info("the scrub waits for the ledger", because=str(error))
                await asyncio.sleep(RETRY_PAUSE)

    async def _rest(self) -> None:
        """Waits until it is time again, where the last reading came to its end."""
        record = self.record
        if record.finished is not None and record.sequence == 0:
            since = (datetime.now(UTC) - record.finished).total_seconds()
            await asyncio.sleep(max(0.0, self._pace.rest - max(since, 0.0)))

    async def _resume(self) -> None:
        """Goes on where an earlier run was, if the ledger still has there what it had."""
        if self.record.sequence > 0:
            stored = await self._stream.get(self.record.sequence)
            if stored is None or stored.hash != self.record.hash:
                self._note(replace(self.record, sequence=0, hash=GENESIS))

    async def once(self) -> None:
        """Reads on to the end as it is now. Raises LedgerUnavailable where the ledger cannot be read."""
        end, noted = self._tip(), self.record.sequence
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self.record.sequence < end:
            before = self.record.sequence
            await self._step(end)
            if self.record.sequence - noted >= NOTE_EVERY:
                noted = self.record.sequence
                self._note(self.record)
            due = max(due, loop.time()) + (self.record.sequence - before) / self._pace.rate
            await asyncio.sleep(due - loop.time())
        finished = datetime.now(UTC)
        self._note(replace(self.record, sequence=0, hash=GENESIS, finished=finished, proved=end))
        log.info("the scrub has read the ledger", events=end, damaged=len(self.record.damage))

    async def _step(self, end: int) -> None:
        start = self.record.sequence + 1
        try:
            part = await self._stream.part(start, min(end, start + PART - 1))
        except EventLost:
            following = await self._stream.next_of(">", start + 1)
            last = end if following is None or following.sequence > end else following.sequence - 1
            self._advance(last, "", [Damage(start, last, Flaw.LOST)])
            return
        found, previous = prove_part(part, self.record.hash)
        self._advance(part[-1].sequence, previous, found)

    def _advance(self, last: int, hash: str, found: Sequence[Damage]) -> None:
        """Stands after `last` now; what was known of the part is replaced by what was found in it."""
        before, first = self.record.damage, self.record.sequence + 1
        kept = [piece for one in before for piece in one.without(first, last)]
        damage = tuple(_joined([*kept, *found]))
        self.record = replace(self.record, sequence=last, hash=hash, damage=damage)
        for one in found:
            if not any(known.touches(one.first, one.last) for known in before):
                log.error("the ledger is damaged", position=one.first, last=one.last, flaw=one.flaw.value)
        if damage != before:
            self._note(self.record)

    def _note(self, record: ScrubRecord) -> None:
        self.record = record
        try:
            write_scrub(self._path, record)
        except OSError as error:
            log.warning("the scrub cannot write down how far it is", path=str(self._path), because=str(error))


def prove_part(part: Sequence[Stored], previous: str) -> tuple[list[Damage], str]:
    """What of a part does not hash, and its last hash. `previous` is empty where the event before is lost."""
    found = []
    for stored in part:
        if not stored.hash or (previous and link(previous, stored.subject, stored.payload) != stored.hash):
            found.append(Damage(stored.sequence, stored.sequence, Flaw.DOES_NOT_HASH))
        previous = stored.hash
    return found, previous


def _joined(damage: Sequence[Damage]) -> list[Damage]:
    """In order, with neighbours of the same kind made one; of very many the first."""
    joined: list[Damage] = []
    for one in sorted(damage, key=lambda each: each.first):
        if joined and joined[-1].flaw is one.flaw and joined[-1].last + 1 >= one.first:
            joined[-1] = Damage(joined[-1].first, max(joined[-1].last, one.last), one.flaw)
        else:
            joined.append(one)
    return joined[:MOST]
