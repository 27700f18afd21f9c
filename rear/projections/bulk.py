"""Fills empty tables from a ledger's first event on, several times as fast as the tables of a service are kept up.

Nobody reads them meanwhile, and until they are whole they count as condemned. So there is one transaction without a
journal, rows are found again by their sequence, and the indexes come last.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from rear import failpoints
from rear.domain.state import Service
from rear.ledger.commit import Committed
from rear.projections import rows, schema
from rear.projections.batch import Changes, Statement, changes_of, rare_statements, standing_row
from rear.projections.rows import Row

CACHE_KIB: Final = 32 * 1024
"""What SQLite keeps of the file in memory."""


class Filling:
    """Takes a ledger's events, all of them and in order."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._contracts: dict[str, int] = {}
        self._allocations: dict[str, int] = {}
        self._holds: dict[tuple[str, str], int] = {}
        self._last: Committed | None = None

    def take(self, batch: Sequence[Committed]) -> None:
        """Writes the rows of a batch."""
        for statement, values in self._statements(changes_of(batch)):
            if values:
                self._connection.executemany(statement, values)
        self._last = batch[-1]

    def stand(self, service: Service) -> None:
        """Writes the position after the last batch."""
        if self._last is not None:
            self._connection.execute(schema.PUT_STANDING, standing_row(self._last, service))

    def _statements(self, changes: Changes) -> Iterator[Statement]:
        """Rows that begin come first, so that those that change are there, and have their places."""
        contracts, allocations, holds = self._contracts, self._allocations, self._holds
        pools = changes.pools.values()
        yield schema.NEW_OFFER, [rows.new_offer_row(each.pool, each.offer or b"") for each in pools if each.new]
        yield schema.PUT_OFFER, [rows.offer_row(each.pool, each.offer) for each in pools if not each.new]
        yield schema.NEW_POOL, [(each.pool.id, each.terms, each.capacity) for each in pools if each.new]
        yield schema.PUT_POOL, [(each.terms, each.capacity, each.pool.id) for each in pools if each.rare]

        gone: list[Row] = [(holds.pop(key),) for key, row in changes.holds.items() if row is None and key in holds]
        yield schema.DROP_HOLD_AT, gone
        come = [(key, row) for key, row in changes.holds.items() if row is not None]
        holds.update((key, rows.place_of(row)) for key, row in come)
        yield schema.NEW_HOLD, [row for _, row in come]

        began = changes.began
        contracts.update({key: place for key, (place, _) in began.items()})
        yield (
            schema.NEW_CONTRACT,
            [rows.new_contract_row(place, changes.contracts[key], event) for key, (place, event) in began.items()],
        )
        yield (
            schema.PUT_CONTRACT_AT,
            [
                (*rows.contract_row(each)[:-1], contracts[key])
                for key, each in changes.contracts.items()
                if key not in began
            ],
        )
        for key, contract in changes.contracts.items():
            if not contract.live:
                del contracts[key]

        created = changes.created
        allocations.update({key: place for key, (place, _) in created.items()})
        yield (
            schema.NEW_ALLOCATION,
            [
                rows.new_allocation_row(place, changes.allocations[key], event)
                for key, (place, event) in created.items()
            ],
        )
        yield (
            schema.PUT_ALLOCATION_AT,
            [
                (*rows.allocation_row(each)[:-1], allocations[key])
                for key, each in changes.allocations.items()
                if key not in created
            ],
        )
        for key, allocation in changes.allocations.items():
            if not allocation.stands:
                del allocations[key]
        yield from rare_statements(changes)


@contextmanager
def filling(path: Path) -> Iterator[Filling]:
    """Tables in a new file at `path`, to be filled. They are whole when this is left without an error."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.CONDEMNED}")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.executescript(schema.TABLES_DDL)
        connection.execute("BEGIN")
        yield Filling(connection)
        connection.execute("COMMIT")
        connection.executescript(schema.INDEXES_DDL)
        _sync(path)
        failpoints.reach("tables.before_commit")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
        failpoints.reach("tables.after_commit")


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
