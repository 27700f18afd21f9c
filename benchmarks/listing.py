"""ListFlavours with a selector, over all pools with some load."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, rates
from benchmarks.load import DEADLINE, drive
from benchmarks.market import Buyer, machines
from benchmarks.plan import Plan
from benchmarks.session import WrongAnswer, new_node
from rear.v1.discovery_service_pb2 import ListFlavoursResponse

IN_FLIGHT: Final = (1, 16)


async def measure(plan: Plan, directory: Path) -> list[Figure]:
    """The ten best flavours for a partition with a GPU in a window to come."""
    pools = machines(plan.pools)
    buyer = Buyer(pools)
    answers: list[ListFlavoursResponse] = []
    figures: list[Figure] = []
    async with new_node(directory / "list", pools) as session:
        await session.reserve(buyer.reservations(plan.list_load), 64)
        call = partial(session.discovery.ListFlavours, timeout=DEADLINE)
        await drive(call, buyer.questions(20), 4)
        for in_flight in IN_FLIGHT:
            rounds = [await drive(call, buyer.questions(plan.lists), in_flight, answers) for _ in range(plan.pairs)]
            figures += rates(f"list_{in_flight}_in_flight", f"list, {in_flight} in flight", rounds)
    found = sum(len(answer.flavours) for answer in answers) / len(answers)
    if found < 1:
        raise WrongAnswer("lists find nothing, so their figures mean nothing")
    return [
        Figure("pools", "pools", len(pools), "pools"),
        Figure("holds", "holds on them", plan.list_load, "holds"),
        Figure("flavours", "flavours in an answer, mean", found, "flavours"),
        *figures,
    ]
