"""Holds: what blocks capacity in a pool for a window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Protocol

from rear.domain.quantities import NOTHING, Quantities
from rear.domain.units import UnitShare
from rear.domain.value import value
from rear.domain.window import Window


class HoldKind(Enum):
    """Why capacity is blocked."""

    CONTRACT = "CONTRACT"
    LOCAL = "LOCAL"
    DELEGATION = "DELEGATION"
    BUFFER = "BUFFER"
    MAINTENANCE = "MAINTENANCE"


@value
class Hold:
    """Quantities and device shares that are taken out of a pool over [start, end)."""

    id: str
    kind: HoldKind
    window: Window
    quantities: Quantities = NOTHING
    units: tuple[UnitShare, ...] = ()


class Holds(Protocol):
    """A pool's holds by id, immutable: to change them is to make others."""

    def set(self, key: str, hold: Hold, /) -> Holds:
        """The holds with one more."""
        ...

    def delete(self, key: str, /) -> Holds:
        """The holds without one; KeyError where it is not there."""
        ...

    def get(self, key: str, /) -> Hold | None:
        """A hold, None where it is not there."""
        ...

    def values(self) -> Iterable[Hold]:
        """The holds, in no order."""
        ...

    def __getitem__(self, key: str, /) -> Hold: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
