"""The table `peering_candidates`, in a SQLite file of its own.

It follows the stream of offers, which has a position of its own: so it has one too. The file may be deleted at any
time: it is filled again from the stream.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from rear.domain.candidate import Candidate
from rear.domain.value import value
from rear.domain.window import Instant
from rear.ledger.offers import OffersStanding, OffersStream
from rear.projections.digest import add_rows, at_one_moment
from rear.projections.tables import discard
from rear.wire.heard import Unusable
from rear.wire.offers import Withdrawn, read_news

log = structlog.get_logger(__name__)

TABLE: Final = "peering_candidates"

CANDIDATES_VERSION: Final = 1
"""Another number, and the table is filled again from the stream."""

MESSAGES_IN_SLICE: Final = 32
"""Messages that are decoded in one go: about two milliseconds."""

_DDL: Final = """
CREATE TABLE standing (one INTEGER PRIMARY KEY CHECK (one = 1), stream TEXT NOT NULL, sequence INTEGER NOT NULL);
CREATE TABLE peering_candidates (
    sequence INTEGER PRIMARY KEY,
    provider_id TEXT NOT NULL,
    pool_id TEXT NOT NULL,
    flavour_id TEXT NOT NULL,
    type TEXT NOT NULL,
    seller_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    hops INTEGER NOT NULL,
    routes INTEGER NOT NULL,
    age INTEGER NOT NULL,
    heard_at INTEGER NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    event BLOB NOT NULL
);
CREATE UNIQUE INDEX pools ON peering_candidates (provider_id, pool_id);
"""
"""`age` is in nanoseconds, from the origin, when it was heard; `event` holds the very bytes of the message."""

_DROP: Final = "DELETE FROM peering_candidates WHERE provider_id = ? AND pool_id = ?"
_NEW: Final = "INSERT INTO peering_candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_STAND: Final = "INSERT OR REPLACE INTO standing VALUES (1, ?, ?)"

Row = tuple[str | int | bytes, ...]


@value
class Change:
    """A message of the stream: what it says, where it stands, and its bytes."""

    sequence: int
    said: Candidate | Withdrawn
    payload: bytes


@value
class Kept:
    """A row: whose pool it is, when it was heard of, and the message that it follows from."""

    sequence: int
    provider_id: str
    pool_id: str
    heard_at: Instant
    payload: bytes


class CandidatesTable:
    """Reads and writes the table, on one thread. Methods raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. One of another version, or no database at all, is begun anew."""
        self.path = path
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            log.warning("the table of candidates is no table; it is filled again", path=str(path), error=str(error))
            discard(path)
            self._connection = self._open()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def standing(self) -> OffersStanding:
        """Which stream the rows follow from, and up to where."""
        row = self._connection.execute("SELECT stream, sequence FROM standing").fetchone()
        return OffersStanding(*row) if row else OffersStanding("", 0)

    def rows(self) -> Iterator[Kept]:
        """All rows, oldest first."""
        for row in self._connection.execute(
            "SELECT sequence, provider_id, pool_id, heard_at, event FROM peering_candidates ORDER BY sequence"
        ):
            yield Kept(*row)

    def write(self, changes: Iterable[Change], standing: OffersStanding) -> None:
        """Writes what messages say, with the position after them, in one transaction."""
        with self._connection:
            for change in changes:
                self._take(change)
            self._connection.execute(_STAND, (standing.created, standing.sequence))

    def fill_anew(self, changes: Iterable[Change], standing: OffersStanding) -> None:
        """Empties the table, and takes messages, oldest first, in one transaction."""
        with self._connection:
            self._connection.execute("DELETE FROM peering_candidates")
            for change in changes:
                self._take(change)
            self._connection.execute(_STAND, (standing.created, standing.sequence))

    def _take(self, change: Change) -> None:
        said = change.said
        pool_id = said.pool_id if isinstance(said, Withdrawn) else said.flavour.pool_id
        self._connection.execute(_DROP, (said.provider_id, pool_id))
        if isinstance(said, Candidate):
            self._connection.execute(_NEW, _row(change.sequence, said, change.payload))

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, CANDIDATES_VERSION):
            connection.close()
            discard(self.path)
            return self._open()
        if version == 0:
            connection.executescript(_DDL)
            connection.execute(f"PRAGMA user_version = {CANDIDATES_VERSION}")
        return connection


async def refill(stream: OffersStream, table: CandidatesTable) -> OffersStanding:
    """Empties the table and fills it from the stream; returns the stream's end.

    A message that cannot be read is passed over, and said: there is nothing in it that cannot be asked for again.
    """
    standing = await stream.open()
    changes: list[Change] = []
    async for page in stream.all():
        for message in page:
            if len(changes) % MESSAGES_IN_SLICE == 0:
                await asyncio.sleep(0)
            try:
                changes.append(Change(message.sequence, read_news(message.payload), message.payload))
            except Unusable as unusable:
                log.warning("a message about a candidate cannot be read", sequence=message.sequence, why=str(unusable))
    table.fill_anew(changes, standing)
    return standing


def candidates_digest(connection: sqlite3.Connection) -> tuple[int, str]:
    """The sequence that the table stands at, and SHA-256 over its rows. Equal streams give equal digests."""
    whole = sha256()
    with at_one_moment(connection) as sequence:
        add_rows(whole, connection.execute(f"SELECT * FROM {TABLE} ORDER BY sequence"))
    return sequence, whole.hexdigest()


def _row(sequence: int, candidate: Candidate, payload: bytes) -> Row:
    flavour, route = candidate.flavour, candidate.route
    return (
        sequence,
        candidate.provider_id,
        flavour.pool_id,
        flavour.id,
        flavour.terms.type.value,
        route.seller_id,
        route.endpoint,
        route.hops,
        len(candidate.routes),
        route.age,
        candidate.heard_at,
        candidate.window.start,
        candidate.window.end,
        payload,
    )
