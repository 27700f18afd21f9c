"""How much a run of the benchmarks does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    """Counts for one run. A round is one side of a pair.

    `calls` is how many calls a round makes, by how many are in flight.
    """

    pools: int = 1_523
    pairs: int = 5
    calls: tuple[tuple[int, int], ...] = ((1, 500), (64, 3_000), (256, 3_000))
    hot_holds: int = 5_000
    hot_calls: int = 2_000
    lists: int = 300
    list_load: int = 3_000
    ended: int = 250_000
    live: int = 100_000
    big_calls: int = 500
    rebuilds: int = 1
    repeats: int = 3
    intents: int = 200

    @property
    def hot_capacity(self) -> int:
        """The most holds that the hot pool ever has at once."""
        return self.hot_holds + self.hot_calls + 200


FULL: Final = Plan()

QUICK: Final = replace(
    FULL,
    pools=200,
    pairs=1,
    calls=((1, 50), (64, 300), (256, 300)),
    hot_holds=300,
    hot_calls=300,
    lists=30,
    list_load=300,
    ended=600,
    live=300,
    big_calls=30,
    repeats=1,
    intents=8,
)
"""Every line of the report, from numbers too small to mean anything."""
