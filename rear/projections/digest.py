"""What a digest over rows has in common, whichever tables they are of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Hash(Protocol):
    """A hash that takes bytes."""

    def update(self, data: bytes, /) -> None:
        """Takes more bytes."""
        ...


@contextmanager
def at_one_moment(connection: sqlite3.Connection) -> Iterator[int]:
    """Everything that is read inside is of one moment; gives the sequence that the tables stand at then, or 0."""
    connection.execute("BEGIN")
    try:
        standing = connection.execute("SELECT sequence FROM standing").fetchone()
        yield standing[0] if standing else 0
    finally:
        connection.execute("ROLLBACK")


def add_rows(whole: Hash, rows: Iterable[tuple[object, ...]]) -> None:
    """Adds every value of the rows, each after its length."""
    for row in rows:
        for value in row:
            data = value if isinstance(value, bytes) else repr(value).encode()
            whole.update(len(data).to_bytes(4, "big"))
            whole.update(data)
