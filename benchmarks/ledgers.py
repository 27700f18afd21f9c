"""A big ledger: what a reservation costs on it, memory, start-up with and without tables, the rate of a rebuild."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.load import DEADLINE, Round, drive
from benchmarks.market import Buyer, Machine, machines
from benchmarks.plan import Plan
from benchmarks.processes import running_node
from benchmarks.session import WARM_UP, Session, connected, new_node
from rear.ledger.store import StateDirectory, open_store
from rear.process import tune
from rear.projections.rebuild import rebuild
from rear.projections.tables import Tables, discard

MB: Final = 1_000_000
SEEDS: Final = (17, 18)
"""Of the buyers on the empty and on the big ledger: other request ids than those that the ledger was filled with."""

TIMES_AS_LONG: Final = at_most(1.3)
EVENTS_PER_SECOND: Final = at_least(20_000)
START: Final = at_most(3.0)
RESIDENT: Final = at_most(400)


class NotFilled(Exception):
    """The ledger could not be filled; the message says why."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A ledger that was filled in bulk."""

    state: StateDirectory
    resident: int
    """Bytes of memory that the filling node took at its end, with every live contract made by itself."""


@dataclass(slots=True)
class Memory:
    """Bytes that a node and its nats-server take."""

    node: int = 0
    nats: int = 0

    def take(self, session: Session) -> None:
        """Reads them now."""
        self.node, self.nats = session.node.resident, session.node.nats_resident


async def measure(plan: Plan, directory: Path) -> list[Figure]:
    """Fills a ledger; starts on it; reserves on it and on an empty one in turns; rebuilds its tables."""
    pools = machines(plan.pools)
    filled = await _fill(plan, directory / "filled")
    started, after_start = [], Memory()
    for _ in range(plan.repeats):
        async with running_node(filled.state.path) as node, connected(node) as session:
            started.append(node.started_in)
            after_start.take(session)
    at_work, empty = Memory(), Memory()
    async with (
        new_node(directory / "empty", pools) as beside,
        running_node(filled.state.path) as node,
        connected(node) as session,
    ):
        empty.take(beside)
        on_empty, on_big = await _in_turns(plan, pools, beside, session)
        at_work.take(session)
    discard(filled.state.tables)
    async with running_node(filled.state.path) as node, connected(node) as session:
        started_anew, after_rebuild = node.started_in, Memory()
        after_rebuild.take(session)
    events, rate = await _rebuild(filled.state, directory / "rebuilt.sqlite", plan.rebuilds)
    ratios = [big.percentile(50) / small.percentile(50) for small, big in zip(on_empty, on_big, strict=True)]
    return [
        Figure("live_contracts", "live contracts", plan.live, "contracts"),
        Figure("ended_contracts", "ended contracts", plan.ended, "contracts"),
        Figure("events", "events in the ledger", events, "events"),
        Figure("empty_p50_ms", "reserve on an empty ledger, p50", _p50_ms(on_empty), "ms"),
        Figure("big_p50_ms", "reserve on the big ledger, p50", _p50_ms(on_big), "ms"),
        Figure("big_to_empty", "reserve, p50, big / empty", median(ratios), "×", TIMES_AS_LONG),
        Figure("big_to_empty_highest", "reserve, p50, big / empty, highest pair", max(ratios), "×"),
        Figure("rebuild_per_second", "rebuild of the tables", rate, "events/s", EVENTS_PER_SECOND),
        Figure("start_with_tables_s", "start-up, tables present", median(started), "s", START),
        Figure("start_without_tables_s", "start-up, tables deleted", started_anew, "s"),
        Figure("node_empty_mb", "node, resident, without contracts", empty.node / MB, "MB"),
        Figure("node_started_mb", "node, resident, just started", after_start.node / MB, "MB"),
        Figure("node_mb", "node, resident, with all of it read", at_work.node / MB, "MB", RESIDENT),
        Figure("node_filled_mb", "node, resident, that made them all", filled.resident / MB, "MB", RESIDENT),
        Figure("node_rebuilt_mb", "node, resident, after a rebuild", after_rebuild.node / MB, "MB", RESIDENT),
        Figure("nats_empty_mb", "nats-server, resident, without contracts", empty.nats / MB, "MB"),
        Figure("nats_mb", "nats-server, resident, with them", at_work.nats / MB, "MB"),
        Figure("nats_rebuilt_mb", "nats-server, resident, after a rebuild", after_rebuild.nats / MB, "MB"),
    ]


async def _fill(plan: Plan, directory: Path) -> Filled:
    """In a process of its own, which leaves its memory behind."""
    counts = ("--pools", str(plan.pools), "--ended", str(plan.ended), "--live", str(plan.live))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.filled", str(directory), *counts),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, trouble = await process.communicate()
    if process.returncode:
        raise NotFilled(trouble.decode(errors="replace")[-2_000:])
    resident = json.loads(output.splitlines()[-1])["resident"]
    return Filled(StateDirectory(directory / "state"), resident)


async def _in_turns(
    plan: Plan, pools: list[Machine], beside: Session, session: Session
) -> tuple[list[Round], list[Round]]:
    """Reservations one at a time, on the empty ledger and on the big one, once all of the big one was looked at."""
    small, big = (Buyer(pools, seed) for seed in SEEDS)
    for each, buyer in ((beside, small), (session, big)):
        await drive(partial(each.discovery.ListFlavours, timeout=DEADLINE), buyer.questions(3), 1)
        await each.reserve(buyer.reservations(WARM_UP), 4)
    on_empty, on_big = [], []
    for _ in range(plan.pairs):
        on_empty.append(await beside.reserve(small.reservations(plan.big_calls), 1))
        on_big.append(await session.reserve(big.reservations(plan.big_calls), 1))
    return on_empty, on_big


def _p50_ms(rounds: list[Round]) -> float:
    return 1_000 * median(each.percentile(50) for each in rounds)


async def _rebuild(state: StateDirectory, tables_path: Path, repeats: int) -> tuple[int, float]:
    """How many events there are, and how many a second a rebuild puts into fresh tables."""
    tune()  # as the command that rebuilds tables does
    rates, events = [], 0
    async with AsyncExitStack() as stack:
        store = await open_store(stack, state)
        for _ in range(repeats):
            tables = Tables(tables_path)
            begun = time.perf_counter()
            tip = await rebuild(store.stream, tables)
            rates.append(tip.sequence / (time.perf_counter() - begun))
            events = tip.sequence
            tables.close()
            discard(tables_path)
    return events, median(rates)
