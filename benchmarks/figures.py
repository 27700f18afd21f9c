"""What the benchmarks found, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from benchmarks.load import Round

LABEL: Final = 46
VALUE: Final = 12


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: at least or at most `bound`."""

    sign: Literal["≥", "≤"]
    bound: float

    def verdict(self, value: float) -> str:
        """Whether a figure meets it, and where it does not, by how much."""
        met = value >= self.bound if self.sign == "≥" else value <= self.bound
        missed = f"missed by {abs(value - self.bound) / self.bound:.0%}"
        return f"target: {self.sign} {shown(self.bound)}, {'met' if met else missed}"


def at_least(bound: float) -> Target:
    """The more the better, from `bound` on."""
    return Target("≥", bound)


def at_most(bound: float) -> Target:
    """The less the better, up to `bound`."""
    return Target("≤", bound)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report. `key` names it in JSON, and `target` is what it should be."""

    key: str
    label: str
    value: float
    unit: str
    target: Target | None = None

    @property
    def line(self) -> str:
        """The figure in words, with what has become of its target."""
        text = f"  {self.label:<{LABEL}} {shown(self.value):>{VALUE}} {self.unit}"
        return f"{text}   ({self.target.verdict(self.value)})" if self.target else text


def shown(value: float) -> str:
    """A number with three or four digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def rates(key: str, label: str, rounds: Sequence[Round]) -> list[Figure]:
    """The median rate of the rounds, and the medians of their latencies."""
    return [
        Figure(f"{key}_per_second", label, median(each.per_second for each in rounds), "/s"),
        *[
            Figure(
                f"{key}_p{percent}_ms",
                f"{label}, p{percent}",
                1_000 * median(each.percentile(percent) for each in rounds),
                "ms",
            )
            for percent in (50, 99)
        ],
    ]


def ratios(
    key: str, label: str, rounds: Sequence[Round], beside: Sequence[Round], target: Target | None = None
) -> list[Figure]:
    """The median of the pairs' ratios, and their range."""
    each = sorted(one.per_second / other.per_second for one, other in zip(rounds, beside, strict=True))
    return [
        Figure(key, label, median(each), "×", target),
        Figure(f"{key}_lowest", f"{label}, lowest pair", each[0], "×"),
        Figure(f"{key}_highest", f"{label}, highest pair", each[-1], "×"),
    ]


def report(section: str, figures: Iterable[Figure]) -> str:
    """A section as text."""
    return "\n".join([section, *[figure.line for figure in figures], ""])


def as_json(sections: Mapping[str, Sequence[Figure]]) -> str:
    """All sections as JSON: an object of objects of numbers."""
    whole = {name: {each.key: each.value for each in figures} for name, figures in sections.items()}
    return json.dumps(whole, indent=2) + "\n"
