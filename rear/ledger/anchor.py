"""The anchor: the last position known to be in the ledger, kept outside of the ledger's own store.

One file of two slots, written in turns, each with a checksum over itself. A write never touches the slot that
holds the newest valid point, so a kill or a power cut in the middle leaves the point before it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rear import failpoints
from rear.ledger.errors import LedgerDamaged

if TYPE_CHECKING:
    from pathlib import Path

SLOT: Final = 4096
"""Bytes in a slot: no device tears a write beyond the block that it hits, and no two slots share one."""
_MAGIC: Final = b"rear-anchor-1"


@dataclass(frozen=True, slots=True)
class AnchorPoint:
    """A position in a ledger and the chained hash of the message that stands there (hex)."""

    log_id: str
    sequence: int
    hash: str
    segment: int = 1


def _pack(turn: int, point: AnchorPoint) -> bytes:
    body = json.dumps(
        {
            "turn": turn,
            "log_id": point.log_id,
            "segment": point.segment,
            "sequence": point.sequence,
            "hash": point.hash,
        }
    ).encode()
    slot = b" ".join((_MAGIC, hashlib.sha256(body).hexdigest().encode(), body))
    if len(slot) >= SLOT:
        raise ValueError(f"an anchor point of {len(slot)} bytes does not fit into a slot of {SLOT}")
    return slot.ljust(SLOT, b"\n")


def _unpack(slot: bytes) -> tuple[int, AnchorPoint] | None:
    magic, _, rest = slot.partition(b" ")
    digest, _, body = rest.rstrip(b"\n").partition(b" ")
    if magic != _MAGIC or hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    fields = json.loads(body)
    return fields["turn"], AnchorPoint(
        log_id=fields["log_id"],
        segment=fields["segment"],
        sequence=fields["sequence"],
        hash=fields["hash"],
    )


class Anchor:
    """The anchor file at `path`. Calls block for as long as the disk takes; one process writes at a time.

    A write that raises `OSError` may or may not have taken effect, and leaves the point before it intact.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet: the file appears with the first `write`."""
        self._path = path
        self._file: int | None = None
        self._turn = 0
        self._newest = 0  # the slot that holds the newest valid point

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def read(self) -> AnchorPoint | None:
        """The newest valid point, or None where there is no file.

        Raises `LedgerDamaged` where there is a file without any valid point. It may be called while another
        thread writes, and then gives the point before or the new one.
        """
        newest = self._newest_slot()
        return None if newest is None else newest[2]

    def _newest_slot(self) -> tuple[int, int, AnchorPoint] | None:
        """The turn, the slot and the point of the newest valid slot."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        slots = [_unpack(content[at : at + SLOT]) for at in (0, SLOT)]
        found = [(entry[0], index, entry[1]) for index, entry in enumerate(slots) if entry is not None]
        if not found or len(content) < 2 * SLOT:
            raise LedgerDamaged(
                f"the anchor file {self._path} holds no valid point: it cannot be told whether the ledger is "
                "complete. Restore the file, or examine the ledger and accept it by `rear ledger accept-loss`"
            )
        return max(found, key=lambda entry: entry[0])

    def write(self, point: AnchorPoint) -> None:
        """Record `point`; it is on the disk when this returns. Raises `LedgerDamaged` like `read`."""
        if self._file is None:
            newest = self._newest_slot()
            if newest is None:
                self.replace(point)
                return
            self._turn, self._newest = newest[:2]
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        turn, slot = self._turn + 1, 1 - self._newest
        _write_all(self._file, _pack(turn, point), slot * SLOT)
        failpoints.reach("anchor.before_sync")
        os.fdatasync(self._file)
        self._turn, self._newest = turn, slot

    def replace(self, point: AnchorPoint) -> None:
        """Begin a new file that holds `point`, whatever the old one holds: at first, or to accept a loss."""
        self.close()
        draft = self._path.with_name(self._path.name + ".new")
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, _pack(1, point) + _pack(0, point), 0)
            os.fsync(file)
            # Only a whole file gets the name, so the name never stands for a file without a point.
            os.rename(draft, self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except BaseException:
            os.close(file)
            raise
        self._file, self._turn, self._newest = file, 1, 0

    def close(self) -> None:
        """Close the file. A later `write` opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _write_all(file: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
