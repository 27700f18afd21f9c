"""Capacity by brute force: slow, and easy to believe."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from rear.domain.contract import Contract
from rear.domain.demand import Demand
from rear.domain.units import MILLIS_PER_UNIT
from rear.domain.window import Window
from tests.seller import Stock


def free_everywhere(stock: Stock, holds: Sequence[Contract], window: Window) -> tuple[dict[str, int], dict[str, int]]:
    """The least that is free of each kind and on each device at any instant of the window: by looking at each."""
    instants = {window.start} | {
        edge for held in holds for edge in (held.window.start, held.window.end) if window.contains(edge)
    }
    kinds, devices = dict(stock.capacity), {unit.name: MILLIS_PER_UNIT for unit in stock.units}
    for instant in instants:
        now = [held for held in holds if held.window.contains(instant)]
        for kind, total in stock.capacity.items():
            used = sum(held.partition.quantities.of(kind) for held in now)
            kinds[kind] = min(kinds[kind], total - used)
        for unit in stock.units:
            shares = (share.millis for held in now for share in held.assigned_units if share.name == unit.name)
            devices[unit.name] = min(devices[unit.name], MILLIS_PER_UNIT - sum(shares))
    return kinds, devices


def fits(stock: Stock, holds: Sequence[Contract], partition: Demand, window: Window) -> bool:
    """Whether the partition fits beside the holds for the whole window: by trying each choice of devices."""
    kinds, devices = free_everywhere(stock, holds, window)
    if any(amount > kinds.get(kind, 0) for kind, amount in partition.quantities.items()):
        return False
    wanted = [request for request in partition.units for _ in range(request.count)]
    return any(
        all(
            devices[unit.name] >= request.millis_each and unit.matches(request.attributes)
            for unit, request in zip(chosen, wanted, strict=True)
        )
        for chosen in permutations(stock.units, len(wanted))
    )
