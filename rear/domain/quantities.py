"""Amounts of divisible resources by kind, in whole units named by the kind."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Final

CPU_MILLICORES: Final = "cpu_millicores"
MEMORY_BYTES: Final = "memory_bytes"
STORAGE_BYTES: Final = "storage_bytes"
PODS: Final = "pods"
CORE_KINDS: Final = (CPU_MILLICORES, MEMORY_BYTES, STORAGE_BYTES, PODS)
"""The kinds with a field of their own in the API; every other kind is an *extended* one."""


class Quantities(Mapping[str, int]):
    """An immutable, hashable map from kind to amount; a kind that is not named is absent, not zero.

    Kinds iterate in sorted order, so two equal values always serialise alike.
    """

    __slots__ = ("_amounts",)

    def __init__(self, amounts: Mapping[str, int] | None = None) -> None:
        self._amounts: dict[str, int] = dict(sorted(amounts.items())) if amounts else {}

    @classmethod
    def of_sorted(cls, amounts: dict[str, int]) -> Quantities:
        """Takes a dict over whose kinds are sorted already, and which nobody changes from now on."""
        made = cls.__new__(cls)
        made._amounts = amounts
        return made

    def __getitem__(self, kind: str) -> int:
        return self._amounts[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self._amounts

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def __hash__(self) -> int:
        return hash(tuple(self._amounts.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantities) and self._amounts == other._amounts

    def __repr__(self) -> str:
        return f"Quantities({self._amounts!r})"

    def items(self) -> ItemsView[str, int]:
        """Kinds with their amounts."""
        return self._amounts.items()

    def values(self) -> ValuesView[int]:
        """The amounts."""
        return self._amounts.values()

    def of(self, kind: str) -> int:
        """The amount of `kind`; zero where it is not named."""
        return self._amounts.get(kind, 0)

    @property
    def positive(self) -> bool:
        """Whether at least one kind has more than nothing."""
        for amount in self._amounts.values():  # noqa: SIM110 - twice as quick as `any`
            if amount > 0:
                return True
        return False


NOTHING: Final = Quantities()
