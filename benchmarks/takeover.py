"""How long a service is away when its writer is killed: up to the first OK of its standby, to a client that follows.

On one external nats-server that syncs always, beside both processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.figures import Figure, at_most
from benchmarks.market import Buyer, machines, write_inventory
from benchmarks.plan import Plan
from benchmarks.processes import Running, running_node
from rear.ledger import guardian
from rear.ledger.connection import Endpoint, dial
from rear.ledger.errors import LedgerUnavailable
from rear.ledger.nats_process import find_binary
from rear.rpc.client import Client

CONTRACTS: Final = 1_000
"""Reservations before each take-over, or as many as there are calls in a round of the plan."""

PATIENCE: Final = 60.0
PORT: Final = 24_310


@asynccontextmanager
async def _nats(directory: Path) -> AsyncIterator[str]:
    config = directory / "nats.conf"
    store = f'jetstream {{ store_dir: "{directory}/store", sync_interval: always }}'
    config.write_text(f'listen: "127.0.0.1:{PORT}"\n{store}\n')
    guarded = (sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()))
    with (directory / "nats.log").open("wb") as log:
        process = subprocess.Popen((*guarded, str(find_binary()), "-c", str(config)), stdout=log, stderr=log)  # noqa: ASYNC220
    try:
        url = f"nats://127.0.0.1:{PORT}"
        while True:
            try:
                await (await dial(Endpoint(url), "bench")).close()
                break
            except LedgerUnavailable:
                if process.poll() is not None:
                    raise
        yield url
    finally:
        process.kill()
        process.wait()


async def measure(plan: Plan, directory: Path) -> list[Figure]:
    """Kills the writer again and again, each time followed by the other process."""
    market = machines(plan.pools)
    inventory = write_inventory(directory / "market", market)
    buyer = Buyer(market)
    away = []
    async with AsyncExitStack() as stack:
        options = ("--nats", await stack.enter_async_context(_nats(directory)), "--standby")
        folders = [directory / "one", directory / "two"]
        for folder in folders:
            folder.mkdir()

        async def start(number: int, *more: str) -> Running:
            node = running_node(folders[number] / "state", inventory, (*options, *more))
            return await stack.enter_async_context(node)

        nodes = [await start(0, "--take-over"), await start(1)]
        for round_ in range(max(plan.pairs, 1)):
            writer = round_ % 2
            async with Client(nodes[writer].endpoint, timeout=1, patience=PATIENCE) as client:
                for request in buyer.reservations(min(CONTRACTS, plan.big_calls)):
                    await client.reserve_flavour(request)
            both = f"{nodes[writer].endpoint},{nodes[1 - writer].endpoint}"
            async with Client(both, timeout=1, patience=PATIENCE) as client:
                (first, second) = buyer.reservations(2)
                await client.reserve_flavour(first)
                begun = time.perf_counter()
                nodes[writer].process.kill()
                await client.reserve_flavour(second)
                away.append(time.perf_counter() - begun)
            nodes[writer] = await start(writer)
    return [
        Figure("takeover_s", "take-over, from SIGKILL to the first OK", median(away), "s", at_most(3)),
        Figure("takeover_longest_s", "take-over, the longest", max(away), "s"),
    ]
