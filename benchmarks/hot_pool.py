"""Everybody on one pool that holds thousands already, beside the same calls spread over all pools."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, at_least, rates, ratios
from benchmarks.market import Buyer, hot_machine, machines
from benchmarks.plan import Plan
from benchmarks.session import new_node, warm_up
from rear.v1.contract_service_pb2 import ReserveFlavourResponse

IN_FLIGHT: Final = 64


async def measure(plan: Plan, directory: Path) -> list[Figure]:
    """Spread and hot in turns. Each hot round begins with the same number of holds: its own are cancelled."""
    pools, hot = machines(plan.pools), hot_machine(plan.hot_capacity)
    everywhere, here = Buyer(pools), Buyer([hot], seed=1)
    spread, focused = [], []
    async with new_node(directory / "hot", [*pools, hot]) as session:
        await session.reserve(here.reservations(plan.hot_holds), IN_FLIGHT)
        await warm_up(session, everywhere)
        for _ in range(plan.pairs):
            spread.append(await session.reserve(everywhere.reservations(plan.hot_calls), IN_FLIGHT))
            answers: list[ReserveFlavourResponse] = []
            focused.append(await session.reserve(here.reservations(plan.hot_calls), IN_FLIGHT, answers))
            await session.cancel(answers)
    return [
        Figure("holds", "holds on the pool before each round", plan.hot_holds, "holds"),
        *rates("spread", f"reserve over {plan.pools:,} pools, {IN_FLIGHT} in flight", spread),
        *rates("hot", f"reserve on the one pool, {IN_FLIGHT} in flight", focused),
        *ratios("ratio", "one pool / all pools", focused, spread, at_least(0.8)),
    ]
