"""Positions in a ledger: opaque to clients, exact for us."""

from __future__ import annotations

from rear.domain.value import value


@value
class Position:
    """Where a reader stands: after `sequence` of one segment of one ledger."""

    log_id: str
    segment: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.log_id}.{self.segment}.{self.sequence}"


def parse_position(text: str) -> Position | None:
    """The position that `text` writes down; None where it is none."""
    log_id, _, rest = text.partition(".")
    segment, dot, sequence = rest.partition(".")
    if not log_id or not dot or not (segment.isascii() and segment.isdecimal()):
        return None
    if not (sequence.isascii() and sequence.isdecimal()) or len(sequence) > 18 or len(segment) > 9:
        return None
    return Position(log_id, int(segment), int(sequence))
