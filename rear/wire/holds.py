"""Holds: what blocks capacity in a pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rear.domain.hold import Hold, HoldKind
from rear.event.v1 import pool_pb2
from rear.wire.values import (
    read_held,
    read_shares,
    read_window,
    write_quantities,
    write_shares,
    write_window,
)

HOLD_KIND_NUMBERS: Final[Mapping[HoldKind, pool_pb2.HoldKind.ValueType]] = {
    HoldKind.CONTRACT: pool_pb2.HOLD_KIND_CONTRACT,
    HoldKind.LOCAL: pool_pb2.HOLD_KIND_LOCAL,
    HoldKind.DELEGATION: pool_pb2.HOLD_KIND_DELEGATION,
    HoldKind.BUFFER: pool_pb2.HOLD_KIND_BUFFER,
    HoldKind.MAINTENANCE: pool_pb2.HOLD_KIND_MAINTENANCE,
}

HOLD_KINDS: Final[Mapping[int, HoldKind]] = {number: kind for kind, number in HOLD_KIND_NUMBERS.items()}
"""Without UNSPECIFIED."""


def write_hold(message: pool_pb2.Hold, hold: Hold) -> None:
    """A hold as a whole."""
    message.hold_id = hold.id
    message.kind = HOLD_KIND_NUMBERS[hold.kind]
    write_window(message.window, hold.window)
    write_quantities(message.quantities, hold.quantities)
    if hold.units:
        write_shares(message.units, hold.units)


def read_hold(message: pool_pb2.Hold) -> Hold:
    """What `write_hold` wrote. Raises KeyError for a kind that this version does not know."""
    return Hold(
        message.hold_id,
        HOLD_KINDS[message.kind],
        read_window(message.window),
        read_held(message.quantities),
        read_shares(message.units),
    )
