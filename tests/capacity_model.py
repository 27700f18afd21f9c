"""A small stock, what may be asked of it, and whether it fits by brute force: slow, and easy to believe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Final

from hypothesis import strategies as st

from rear.domain.contract import Contract
from rear.domain.demand import Demand
from rear.domain.quantities import Quantities
from rear.domain.units import MILLIS_PER_UNIT, UnitRequest, attributes
from rear.domain.window import Window
from tests.seller import Stock, divisible, gpus

STOCK: Final = (
    Stock("a", divisible(), Quantities({"cpu_millicores": 4_000, "memory_bytes": 8}), gpus("T4", "A100", "T4")),
    Stock("b", divisible(), Quantities({"cpu_millicores": 2_000, "memory_bytes": 4}), gpus("T4")),
)
BY_ID: Final[Mapping[str, Stock]] = {stock.pool_id: stock for stock in STOCK}

unit_requests = st.builds(
    UnitRequest,
    st.just("gpu"),
    st.integers(1, 2),
    st.sampled_from([400, 500, 600, 1_000]),
    st.sampled_from([(), attributes({"model": "T4"})]),
)
demands = st.one_of(
    st.builds(
        lambda cpus, memory, requests: Demand(
            Quantities({"cpu_millicores": cpus, "memory_bytes": memory}), tuple(requests)
        ),
        st.sampled_from([1_000, 1_500, 2_000, 4_000]),
        st.integers(0, 4),
        st.lists(unit_requests, max_size=2),
    ),
    st.builds(lambda request: Demand(units=(request,)), unit_requests),
)


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
