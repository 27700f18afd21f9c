"""What the scrub has done and found, kept in a small file beside the ledger; anybody may read it at any time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from rear.ledger.chain import GENESIS


class Flaw(StrEnum):
    """What is wrong with an event."""

    LOST = "lost"
    DOES_NOT_HASH = "does not hash"


@dataclass(frozen=True, slots=True)
class Damage:
    """Events from `first` to `last` that have the same flaw."""

    first: int
    last: int
    flaw: Flaw

    def touches(self, first: int, last: int) -> bool:
        """Whether any of them stands from `first` to `last`."""
        return self.first <= last and self.last >= first

    def without(self, first: int, last: int) -> Iterator[Damage]:
        """What of it stands elsewhere."""
        if self.first < first:
            yield Damage(self.first, min(self.last, first - 1), self.flaw)
        if self.last > last:
            yield Damage(max(self.first, last + 1), self.last, self.flaw)

    def __str__(self) -> str:
        where = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        return f"{where} ({self.flaw.value})"


@dataclass(frozen=True, slots=True)
class ScrubRecord:
    """How far the reading is that is under way (0: none is), when the last whole one ended and how far it went.

    `hash` is that of the event at `sequence`; empty where that one is lost.
    """

    log_id: str
    sequence: int = 0
    hash: str = GENESIS
    finished: datetime | None = None
    proved: int = 0
    damage: tuple[Damage, ...] = ()


def write_scrub(path: Path, record: ScrubRecord) -> None:
    """Replaces the file as a whole. It is not synced: what a power cut takes is read again."""
    said = {
        "log_id": record.log_id,
        "sequence": record.sequence,
        "hash": record.hash,
        "finished": record.finished.isoformat() if record.finished else None,
        "proved": record.proved,
        "damage": [[one.first, one.last, one.flaw.value] for one in record.damage],
    }
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(said))
    draft.rename(path)


def read_scrub(path: Path) -> ScrubRecord | None:
    """What the file says; None where there is none, or none that can be read."""
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        return ScrubRecord(
            said["log_id"],
            int(said["sequence"]),
            said["hash"],
            datetime.fromisoformat(said["finished"]) if said["finished"] else None,
            int(said["proved"]),
            tuple(Damage(int(first), int(last), Flaw(flaw)) for first, last, flaw in said["damage"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
