"""A ledger of some size: memory, start-up with and without tables, and the rate of a rebuild."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from benchmarks.market import Buyer, machines
from benchmarks.plan import Plan
from benchmarks.processes import running_node
from benchmarks.session import new_node
from rear.ledger.store import StateDirectory, open_store
from rear.process import tune
from rear.projections.rebuild import rebuild
from rear.projections.tables import Tables, discard

MIB = 1024**2


async def measure(plan: Plan, directory: Path) -> list[Figure]:
    """Fills a ledger with reservations, then starts on it again and again."""
    pools = machines(plan.pools)
    buyer = Buyer(pools)
    async with new_node(directory / "ledger", pools) as session:
        empty, empty_nats = session.node.resident, session.node.nats_resident
        await session.reserve(buyer.reservations(plan.ledger), 256)
        full, full_nats = session.node.resident, session.node.nats_resident
    state = StateDirectory(directory / "ledger" / "state")
    with_tables, restarted = [], 0
    for _ in range(plan.repeats):
        async with running_node(state.path) as node:
            with_tables.append(node.started_in)
            restarted, restarted_nats = node.resident, node.nats_resident
    without = []
    for _ in range(plan.repeats):
        discard(state.tables)
        async with running_node(state.path) as node:
            without.append(node.started_in)
    events, rate = await _rebuild(state, directory / "rebuilt.sqlite", plan.repeats)
    return [
        Figure("live_contracts", "live contracts", plan.ledger, "contracts"),
        Figure("events", "events in the ledger", events, "events"),
        Figure("node_empty_mib", "node, resident, without contracts", empty / MIB, "MiB"),
        Figure("node_mib", "node, resident, with them", full / MIB, "MiB"),
        Figure("node_restarted_mib", "node, resident, after a restart", restarted / MIB, "MiB"),
        Figure("nats_empty_mib", "nats-server, resident, without contracts", empty_nats / MIB, "MiB"),
        Figure("nats_mib", "nats-server, resident, with them", full_nats / MIB, "MiB"),
        Figure("nats_restarted_mib", "nats-server, resident, after a restart", restarted_nats / MIB, "MiB"),
        Figure("start_with_tables_s", "start-up, tables present", median(with_tables), "s"),
        Figure("start_without_tables_s", "start-up, tables deleted", median(without), "s"),
        Figure("rebuild_per_second", "rebuild of the tables", rate, "events/s"),
    ]


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
