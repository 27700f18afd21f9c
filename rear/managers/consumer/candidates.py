"""Peering Candidates: what other providers offered when they were last asked (workflow 1, steps 9 and 12).

An index in memory answers; a stream and a table keep it, for those who follow it and for the time after a restart.
Where these fail the index goes on alone: what is lost of a candidate costs a question, never a wrong answer.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

import structlog

from rear import failpoints, tracing
from rear.background import end
from rear.domain.candidate import Candidate, pool_key
from rear.domain.selection import selects
from rear.domain.selector import Selector
from rear.domain.window import DAY, MINUTE, Duration, Instant
from rear.ledger.errors import LedgerError
from rear.ledger.offers import News, OffersStanding, OffersStream
from rear.managers.consumer.known_pool import KnownPool, says_the_same
from rear.projections.candidates import CandidatesTable, Change, refill
from rear.wire.heard import Unusable
from rear.wire.offers import Withdrawn, write_candidate, write_withdrawn

log = structlog.get_logger(__name__)

MOST: Final = 20_000
"""Candidates that are kept; the ones that were heard of longest ago go. In memory each takes some four KiB."""

WRITE_AGAIN: Final = MINUTE
"""An offer that is as before is written again after this time only: meanwhile memory alone knows that it was heard."""

LAPSES_AFTER: Final = DAY
"""A candidate that was not offered for so long goes too: its provider is silent, or no neighbour any more."""

TOMBSTONE: Final = 3_600
"""Seconds that a message of something that is no more stays in the stream, for those who follow it."""

NOT_WITHIN: Final = (
    "the stream of candidates did not acknowledge in time; may this user of the NATS server publish to it?"
)

LOOKED_AT_IN_SLICE: Final = 64
"""Candidates that a search looks at in one go."""

WRITE_WITHIN: Final = 2.0
"""Seconds that a search waits for the stream at the most."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0
"""Seconds until the stream is opened again; each is twice the one before, until something could be written."""


class PeeringCandidates:
    """The candidates of one service."""

    def __init__(
        self,
        source: str,
        stream: OffersStream,
        open_table: Callable[[], CandidatesTable],
        *,
        most: int = MOST,
        write_again: Duration = WRITE_AGAIN,
        write_within: float = WRITE_WITHIN,
    ) -> None:
        """`source` is the service's identity."""
        self._source = source
        self._stream = stream
        self._open_table = open_table
        self._most = most
        self._write_again = write_again
        self._write_within = write_within
        self._pause = FIRST_PAUSE
        self._known: dict[str, KnownPool] = {}
        self._standing: OffersStanding | None = None
        self._table: CandidatesTable | None = None
        self._opening: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self.trouble: str | None = None
        """Why candidates are not kept beyond memory just now."""

    def __len__(self) -> int:
        return len(self._known)

    def start(self) -> None:
        """Begins to load what was kept, in the background."""
        self._opening = asyncio.get_running_loop().create_task(self._open(), name="candidates")

    async def stop(self) -> None:
        """Ends what is under way, and closes the table."""
        opening, self._opening = self._opening, None
        await end(opening)
        async with self._writing:
            self._close_table()
            self._standing = None

    async def opened(self) -> None:
        """Waits until what was kept is loaded."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    def of(self, providers: Collection[str]) -> Iterator[Candidate]:
        """What is known of some providers."""
        for known in [each for each in self._known.values() if each.provider_id in providers]:
            if (candidate := self._read(known)) is not None:
                yield candidate

    async def find(
        self, selector: Selector, providers: Collection[str], now: Instant, *, at_most: Duration
    ) -> list[Candidate] | None:
        """Those that answer a question and are not older than `at_most`, of some providers.

        None where it is not known of one whether it does.
        """
        found: list[Candidate] = []
        for looked, known in enumerate(list(self._known.values()), 1):
            if looked % LOOKED_AT_IN_SLICE == 0:
                await asyncio.sleep(0)
            candidate = known.candidate  # one that was not read since a restart was not heard of either
            if candidate is None or known.provider_id not in providers or candidate.age(now) > at_most:
                continue
            selected = selects(selector, candidate, now, slack=at_most)
            if selected is None:
                return None
            if selected:
                found.append(candidate)
        return found

    # -- writing -------------------------------------------------------------------------------------------

    async def take(self, heard: Sequence[Candidate], withdrawn: Sequence[Candidate], now: Instant) -> None:
        """What was heard, and what is no more: in memory at once, and in the stream when this returns.

        What the stream cannot take stays in memory, and is written when it is heard of again.
        """
        with tracing.span("keep candidates", heard=len(heard), withdrawn=len(withdrawn)):
            # Whoever searches may give up; a write that is sent is followed to its end, or the table would miss it.
            await asyncio.shield(asyncio.ensure_future(self._take(heard, withdrawn, now)))
            failpoints.reach("candidates.written")

    async def _take(self, heard: Sequence[Candidate], withdrawn: Sequence[Candidate], now: Instant) -> None:
        async with self._writing:
            to_write = self._remember(heard, now)
            gone = [*withdrawn, *self._outlived(now)]
            for candidate in gone:
                self._known.pop(candidate.pool, None)
            await self._write(to_write, gone, now)

    def _remember(self, heard: Sequence[Candidate], now: Instant) -> list[Candidate]:
        """Puts candidates into memory; returns those that the stream should get."""
        to_write = []
        for candidate in heard:
            known = self._known.pop(candidate.pool, None)  # it goes to the end: the first are the oldest
            before = None if known is None else self._read(known)
            if known is None or before is None or not self._kept(known, now) or not says_the_same(before, candidate):
                known = KnownPool(candidate.provider_id, candidate.flavour.pool_id, 0, now, now, candidate, b"")
                to_write.append(candidate)
            else:
                known.candidate, known.heard_at = candidate, now
            self._known[candidate.pool] = known
        return to_write

    def _kept(self, known: KnownPool, now: Instant) -> bool:
        return known.sequence > 0 and known.written_at <= now < known.written_at + self._write_again

    def _outlived(self, now: Instant) -> list[Candidate]:
        """Those heard of longest ago: the ones that are too many, and those that nobody has offered for too long."""
        excess = len(self._known) - self._most
        outlived: list[KnownPool] = []
        for known in self._known.values():
            if excess <= len(outlived) and now < known.heard_at + LAPSES_AFTER:
                break
            outlived.append(known)
        return [candidate for known in outlived if (candidate := self._read(known)) is not None]

    async def _write(self, heard: Sequence[Candidate], gone: Sequence[Candidate], now: Instant) -> None:
        standing = self._standing
        if standing is None or not (heard or gone):
            return
        said: list[Candidate | Withdrawn] = [
            *(Withdrawn(each.provider_id, each.flavour.pool_id) for each in gone),
            *heard,
        ]
        news = [self._news(each, now) for each in said]
        try:
            async with asyncio.timeout(self._write_within):
                sequences = await self._stream.put(news)
            following = standing.sequence + 1
            if sorted(sequences) != list(range(following, following + len(news))):
                raise LedgerError("somebody else has written the stream of candidates, or it is another than before")
        except (LedgerError, ValueError, TimeoutError) as error:
            self._reopen(str(error) or NOT_WITHIN)
            return
        self._pause = FIRST_PAUSE
        for each, sequence in zip(said, sequences, strict=True):
            if isinstance(each, Candidate) and (known := self._known.get(each.pool)) is not None:
                known.sequence = sequence
        changes = sorted(
            (Change(sequence, each, one.payload) for each, sequence, one in zip(said, sequences, news, strict=True)),
            key=lambda change: change.sequence,
        )
        self._standing = replace(standing, sequence=max(sequences))
        try:
            if self._table is not None:
                self._table.write(changes, self._standing)
        except sqlite3.Error as error:
            self._reopen(f"the table of candidates cannot be written: {error}")

    def _news(self, said: Candidate | Withdrawn, now: Instant) -> News:
        if isinstance(said, Withdrawn):
            payload = write_withdrawn(self._source, said.provider_id, said.pool_id, now)
            return News(self._stream.subject(said.provider_id, said.pool_id), payload, TOMBSTONE)
        return News(self._stream.subject(said.provider_id, said.flavour.pool_id), write_candidate(self._source, said))

    # -- opening -------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Opens stream and table, and loads what they hold; tries again for as long as that fails.

        A stream that can be opened and not written is not waited for at every search either.
        """
        while True:
            if self.trouble is not None:
                await asyncio.sleep(self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            try:
                await self._load()
                self.trouble = None
                return
            except (LedgerError, sqlite3.Error, OSError) as error:
                self._say(str(error))

    async def _load(self) -> None:
        async with self._writing:
            self._close_table()
            table = self._table = self._open_table()
            standing = await self._stream.open()
            if table.standing() != standing:
                standing = await refill(self._stream, table)
            kept = {
                pool_key(row.provider_id, row.pool_id): KnownPool(
                    row.provider_id, row.pool_id, row.sequence, Instant(0), row.heard_at, None, row.payload
                )
                for row in table.rows()
            }
            self._known = {**kept, **self._known}  # what memory has is newer
            self._standing = standing
        log.info("candidates are loaded", count=len(self._known), sequence=standing.sequence)

    def _reopen(self, why: str) -> None:
        """Nothing is written until stream and table are open again; what memory has is written as it is heard of."""
        self._say(why)
        self._standing = None
        for known in self._known.values():
            known.sequence = 0
        if self._opening is None or self._opening.done():
            self.start()

    def _say(self, why: str) -> None:
        if self.trouble is None:
            log.warning("candidates are kept in memory only", because=why)
        self.trouble = why

    def _close_table(self) -> None:
        table, self._table = self._table, None
        if table is not None:
            table.close()

    def _read(self, known: KnownPool) -> Candidate | None:
        """None where what was kept cannot be read; then it is forgotten."""
        try:
            return known.read()
        except Unusable as unusable:
            log.warning("a candidate that was kept cannot be read", pool=known.pool_id, because=str(unusable))
            self._known.pop(pool_key(known.provider_id, known.pool_id), None)
            return None
