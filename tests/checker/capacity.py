"""Capacity arithmetic once more, plain and slow: nothing of it is shared with what it checks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rear.event.v1.pool_pb2 import Hold
from rear.v1.flavour_pb2 import Partitionability
from rear.v1.quantities_pb2 import Partition, Quantities, Unit, UnitRequest
from rear.v1.window_pb2 import Window

WHOLE_UNIT: Final = 1_000
CORE_KINDS: Final = ("cpu_millicores", "memory_bytes", "storage_bytes", "pods")


@dataclass(frozen=True, slots=True)
class Claim:
    """What one hold claims, of which things: kinds by their names, devices as `class/name`. Nanoseconds."""

    hold_id: str
    start: int
    end: int
    things: Mapping[str, int]
    made_at: int
    """The sequence of its event."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What a pool has in all, and by which rules it is divided."""

    things: Mapping[str, int]
    units: Sequence[Unit]
    bounds: Partitionability | None


@dataclass(slots=True)
class Most:
    """The most that fits of a partition: kinds, and of each unit request (class, millis of each) how many devices."""

    kinds: dict[str, int] = field(default_factory=dict)
    devices: list[tuple[str, int, int]] = field(default_factory=list)


def amounts(quantities: Quantities) -> dict[str, int]:
    """Amounts by kind, of the kinds that are set."""
    found = {kind: getattr(quantities, kind) for kind in CORE_KINDS if quantities.HasField(kind)}
    return found | dict(quantities.extended)


def claim_of(hold: Hold, sequence: int) -> Claim:
    """A hold of the ledger as a claim."""
    things = amounts(hold.quantities)
    for share in hold.units:
        things[f"{share.unit_class}/{share.name}"] = share.millis
    start, end = span(hold.window)
    return Claim(hold.hold_id, start, end, things, sequence)


def stock_of(capacity: Quantities, units: Iterable[Unit], bounds: Partitionability | None) -> Stock:
    """A pool's capacity."""
    kept = list(units)
    return Stock(
        amounts(capacity) | {f"{unit.unit_class}/{unit.name}": WHOLE_UNIT for unit in kept},
        kept,
        bounds,
    )


def span(window: Window) -> tuple[int, int]:
    """A window's two ends."""
    return window.start.ToNanoseconds(), window.end.ToNanoseconds()


def peaks(claims: Iterable[Claim], start: int, end: int) -> dict[str, int]:
    """The most that is claimed of each thing at one instant of [start, end). What ends where another begins is gone."""
    steps: dict[int, Counter[str]] = defaultdict(Counter)
    for claim in claims:
        if claim.start < end and start < claim.end:
            for thing, amount in claim.things.items():
                steps[max(claim.start, start)][thing] += amount
                steps[claim.end][thing] -= amount
    running: Counter[str] = Counter()
    most: dict[str, int] = {}
    for instant in sorted(steps):
        if instant >= end:
            break
        for thing, change in steps[instant].items():
            running[thing] += change
            most[thing] = max(most.get(thing, 0), running[thing])
    return most


def free(stock: Stock, claims: Iterable[Claim], start: int, end: int) -> dict[str, int]:
    """The least that is free of each thing throughout [start, end)."""
    claimed = peaks(claims, start, end)
    return {thing: total - claimed.get(thing, 0) for thing, total in stock.things.items()}


def fits(stock: Stock, claims: Iterable[Claim], partition: Partition, start: int, end: int) -> bool:
    """Whether the partition fits throughout [start, end), all of it at once."""
    left = free(stock, claims, start, end)
    for kind, amount in amounts(partition.quantities).items():
        if amount > 0 and left.get(kind, 0) < amount:
            return False
    return _servable(stock, left, partition.units, [request.count for request in partition.units])


def most_that_fits(stock: Stock, claims: Iterable[Claim], partition: Partition, start: int, end: int) -> Most | None:
    """The largest part of the partition that fits and is on step; None where that is nothing."""
    if stock.bounds is None:
        return None
    left = free(stock, claims, start, end)
    most = Most()
    lows, steps = amounts(stock.bounds.minimum), amounts(stock.bounds.step)
    for kind, asked in amounts(partition.quantities).items():
        if asked <= 0:
            continue
        have, low = min(asked, max(left.get(kind, 0), 0)), lows.get(kind, 0)
        while have > 0 and (have < low or (have - low) % max(steps.get(kind, 1), 1)):
            have -= 1 if have < low else (have - low) % steps[kind]
        if have <= 0 or have < low:
            return None
        most.kinds[kind] = have
    counts: list[int] = []
    for request in partition.units:
        count = request.count
        while count and not _servable(stock, left, partition.units, [*counts, count]):
            count -= 1
        counts.append(count)
    most.devices = devices(partition.units, counts)
    return most if most.kinds or most.devices else None


def devices(requests: Sequence[UnitRequest], counts: Sequence[int]) -> list[tuple[str, int, int]]:
    """The requests with so many devices each, without those that have none."""
    return [
        (request.unit_class, _millis(request), count) for request, count in zip(requests, counts, strict=True) if count
    ]


def _servable(stock: Stock, left: Mapping[str, int], requests: Sequence[UnitRequest], counts: Sequence[int]) -> bool:
    """Whether that many different devices can be given to the first requests, each request's all at once."""
    slots = [request for request, count in zip(requests, counts, strict=False) for _ in range(count)]
    taken_by: dict[str, int] = {}

    def able(request: UnitRequest) -> list[str]:
        millis = _millis(request)
        return [
            name
            for unit in stock.units
            if unit.unit_class == request.unit_class
            and all(unit.attributes.get(key) == value for key, value in request.attributes.items())
            and left[name := f"{unit.unit_class}/{unit.name}"] >= millis
        ]

    choices = [able(request) for request in slots]

    def place(slot: int, tried: set[str]) -> bool:
        for name in choices[slot]:
            if name not in tried:
                tried.add(name)
                if name not in taken_by or place(taken_by[name], tried):
                    taken_by[name] = slot
                    return True
        return False

    return all(place(slot, set()) for slot in range(len(slots)))


def _millis(request: UnitRequest) -> int:
    return request.millis_each if request.HasField("millis_each") else WHOLE_UNIT
