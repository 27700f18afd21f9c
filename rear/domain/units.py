"""Discrete units (GPUs, VLANs, NICs): named devices of 1,000 millis each, never a pooled scalar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rear.domain.value import value

MILLIS_PER_UNIT: Final = 1_000
"""A whole device. Two devices with 500 millis free each do not make one with 600."""

Attributes = tuple[tuple[str, str], ...]
"""Sorted (name, value) pairs that describe a unit, such as ``(("model", "T4"),)``."""


def attributes(values: Mapping[str, str]) -> Attributes:
    """`values` in the sorted, hashable form."""
    return tuple(sorted(values.items()))


@value
class Unit:
    """One named device of a pool, unique by (unit class, name)."""

    unit_class: str
    name: str
    attributes: Attributes = ()

    def matches(self, wanted: Attributes) -> bool:
        """Whether the unit has every attribute that is asked for, with that value."""
        return all(pair in self.attributes for pair in wanted)


@value
class UnitRequest:
    """`count` different devices of a class with `millis_each` (1 to 1,000) on each of them."""

    unit_class: str
    count: int
    millis_each: int = MILLIS_PER_UNIT
    attributes: Attributes = ()


@value(order=True)
class UnitShare:
    """`millis` of one named device: what a placement assigned, or what is free on it."""

    unit_class: str
    name: str
    millis: int


@value
class OfferedUnit:
    """A device as a flavour shows it: which one, what it is, and its millis on offer."""

    unit: Unit
    millis: int
