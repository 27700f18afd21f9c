"""What a run of a trace came to: outcomes, the most that was in use at once, and latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import ceil
from typing import Any, Final

from rear.command.amounts import show_quantity
from rear.command.times import show_roughly
from rear.domain.flavour import GPU
from rear.domain.quantities import CORE_KINDS, CPU_MILLICORES, Quantities
from rear.domain.units import MILLIS_PER_UNIT, UnitShare
from rear.domain.window import SECOND, Window

PERCENTILES: Final = (50, 90, 99, 100)


class Outcome(Enum):
    """How a request of a trace ended."""

    ACCEPTED = "accepted"
    COUNTER_OFFER = "refused with counter-offer"
    REFUSED = "refused without"
    INVALID = "invalid"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a contract of the run holds."""

    contract_id: str
    pool_id: str
    window: Window
    quantities: Quantities
    units: tuple[UnitShare, ...]


@dataclass(frozen=True, slots=True)
class Played:
    """One request after it was played. Times are in seconds; `reason` says why it was not accepted."""

    name: str
    outcome: Outcome
    reason: str = ""
    message: str = ""
    accepted: Accepted | None = None
    earlier: bool = False
    """Whether an earlier run with the same id had it accepted."""
    took: float = 0.0
    lists: tuple[float, ...] = ()
    reserves: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The outcome for programs."""
        document: dict[str, Any] = {"request": self.name, "outcome": self.outcome.name}
        if self.reason:
            document |= {"reason": self.reason, "message": self.message}
        if self.accepted is not None:
            window = self.accepted.window
            document |= {
                "contractId": self.accepted.contract_id,
                "poolId": self.accepted.pool_id,
                "startNanos": str(window.start),
                "endNanos": str(window.end),
                "earlier": self.earlier,
            }
        return document


@dataclass(slots=True)
class Report:
    """The sum of a run. It grows with every request."""

    requests: int
    played: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[tuple[Outcome, str]] = field(default_factory=Counter)
    examples: dict[tuple[Outcome, str], Played] = field(default_factory=dict)
    accepted: list[Accepted] = field(default_factory=list)
    earlier: int = 0
    took: list[float] = field(default_factory=list)
    lists: list[float] = field(default_factory=list)
    reserves: list[float] = field(default_factory=list)
    wall: float = 0.0

    def add(self, one: Played) -> None:
        """Count one request."""
        self.played[one.outcome] += 1
        if one.reason:
            self.reasons[one.outcome, one.reason] += 1
            self.examples.setdefault((one.outcome, one.reason), one)
        if one.accepted is not None:
            self.accepted.append(one.accepted)
            self.earlier += one.earlier
        self.took.append(one.took)
        self.lists.extend(one.lists)
        self.reserves.extend(one.reserves)

    @property
    def done(self) -> int:
        """How many requests have been played."""
        return self.played.total()

    def as_json(self) -> dict[str, Any]:
        """The report for programs; latencies in milliseconds."""
        return {
            "requests": self.requests,
            "outcomes": {outcome.name: self.played[outcome] for outcome in Outcome},
            "notPlayed": self.requests - self.done,
            "acceptedInEarlierRun": self.earlier,
            "reasons": [
                {
                    "outcome": outcome.name,
                    "reason": reason,
                    "count": count,
                    "example": self.examples[outcome, reason].as_json(),
                }
                for (outcome, reason), count in self.reasons.most_common()
            ],
            "peakUse": peak_use(self.accepted),
            "latencyMilliseconds": {
                name: {_percentile_name(percent): value for percent, value in percentiles(times).items()}
                for name, times in self._latencies()
            },
            "wallSeconds": round(self.wall, 3),
        }

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield f"{self.done:,} of {self.requests:,} requests played in {show_roughly(int(self.wall * SECOND))}"
        for outcome in Outcome:
            count = self.played[outcome]
            earlier = (
                f", {self.earlier:,} of them in an earlier run" if outcome is Outcome.ACCEPTED and self.earlier else ""
            )
            share = 100 * count / max(self.done, 1)
            yield f"  {outcome.value:<27}{count:>8,}  {share:5.1f} %{earlier}"
        for (outcome, reason), count in self.reasons.most_common():
            if outcome in (Outcome.COUNTER_OFFER, Outcome.ACCEPTED):
                continue
            example = self.examples[outcome, reason]
            yield f"  {outcome.value}, {reason}: {count:,}, such as {example.name}: {example.message}"
        yield "Most in use at once"
        for kind, peak in peak_use(self.accepted).items():
            yield f"  {_show_peak(kind, peak)}"
        if not self.accepted:
            yield "  nothing"
        yield f"{'Latency, ms':<16}" + "".join(f"{_percentile_name(percent):>10}" for percent in PERCENTILES)
        for name, times in self._latencies():
            values = "".join(f"{value:>10.1f}" for value in percentiles(times).values())
            yield f"  {name:<14}{values}  ({len(times):,} calls)" if name != "request" else f"  {name:<14}{values}"

    def _latencies(self) -> Sequence[tuple[str, list[float]]]:
        return (("list", self.lists), ("reserve", self.reserves), ("request", self.took))


def _percentile_name(percent: int) -> str:
    return "max" if percent == 100 else f"p{percent}"


def percentiles(seconds: Sequence[float]) -> dict[int, float]:
    """The nearest-rank percentiles in milliseconds; zeros where nothing was measured."""
    ordered = sorted(seconds)
    return {
        percent: round(ordered[max(ceil(len(ordered) * percent / 100) - 1, 0)] * 1_000, 3) if ordered else 0.0
        for percent in PERCENTILES
    }


def peak_use(accepted: Iterable[Accepted]) -> dict[str, int]:
    """The most of each kind that is held at one instant.

    For each class of unit `<class>_millis`, and `<class>_devices`: the most devices with some of them held.
    Windows are half-open: what ends at an instant is given back before what begins there.
    """
    # Releases sort before claims at one instant.
    steps = sorted(
        (instant, sign, index, one)
        for index, one in enumerate(accepted)
        for instant, sign in ((one.window.start, 1), (one.window.end, -1))
    )
    usage: Counter[str] = Counter()
    shares: Counter[tuple[str, str, str]] = Counter()
    peaks: dict[str, int] = {}
    for _, sign, _, one in steps:
        changed = set()
        for kind, amount in one.quantities.items():
            usage[kind] += sign * amount
            changed.add(kind)
        for share in one.units:
            millis, devices = f"{share.unit_class}_millis", f"{share.unit_class}_devices"
            device = (one.pool_id, share.unit_class, share.name)
            before = shares[device]
            shares[device] += sign * share.millis
            usage[millis] += sign * share.millis
            usage[devices] += (shares[device] > 0) - (before > 0)
            changed |= {millis, devices}
        if sign > 0:
            for kind in changed:
                peaks[kind] = max(peaks.get(kind, 0), usage[kind])
    return dict(sorted(peaks.items(), key=lambda peak: _rank(peak[0])))


def _rank(kind: str) -> tuple[int, str]:
    return (CORE_KINDS.index(kind), "") if kind in CORE_KINDS else (len(CORE_KINDS), kind)


def _show_peak(kind: str, peak: int) -> str:
    if kind == CPU_MILLICORES:
        return f"{peak / 1_000:,.2f} CPU"
    if kind == f"{GPU}_millis":
        return f"{peak / MILLIS_PER_UNIT:,.2f} GPUs"
    if kind == f"{GPU}_devices":
        return f"{peak:,} GPUs with at least a share in use"
    return show_quantity(kind, peak)


def outcomes_in_short(played: Mapping[Outcome, int]) -> str:
    """The outcomes that there were so far, on one line."""
    return ", ".join(f"{played[outcome]:,} {outcome.value}" for outcome in Outcome if played.get(outcome))
