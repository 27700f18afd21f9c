"""Holds: what blocks capacity in a pool for a window."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rear.domain.quantities import NOTHING, Quantities
from rear.domain.units import UnitShare
from rear.domain.window import Window


class HoldKind(Enum):
    """Why capacity is blocked."""

    CONTRACT = "CONTRACT"
    LOCAL = "LOCAL"
    DELEGATION = "DELEGATION"
    BUFFER = "BUFFER"
    MAINTENANCE = "MAINTENANCE"


@dataclass(frozen=True, slots=True)
class Hold:
    """Quantities and device shares that are taken out of a pool over [start, end)."""

    id: str
    kind: HoldKind
    window: Window
    quantities: Quantities = NOTHING
    units: tuple[UnitShare, ...] = ()
