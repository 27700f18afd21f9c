"""One store has one server, whoever else tries; and nothing outlives the node that started it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from rear.ledger.errors import StoreLocked
from rear.ledger.store import open_store
from rear.rpc.client import Client
from rear.rpc.refused import Refused
from tests.system.asking import reserve
from tests.system.evidence import Ledger
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]

GONE_SOON = 3.0
"""Seconds for a nats-server to be gone after its node was killed, on a machine that is busy; the kernel needs none."""


def locked(directory: Path) -> bool:
    lock = directory / "lock"
    if not lock.exists():
        return False
    with lock.open("rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def told_of(directory: Path) -> list[psutil.Process]:
    """Every living process that was told of a directory."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(str(directory) in argument for argument in process.info["cmdline"] or ())
    ]


class Sales:
    """What was sold, by contract id, while one thing or another went on."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self.sold: list[str] = []

    async def sell(self, count: int) -> None:
        async with Client(self._node.endpoint, patience=30) as client:
            for _ in range(count):
                answer = await client.reserve_flavour(reserve("a-1", cores=0.5, confirm=True))
                self.sold.append(answer.contract.contract_id)

    async def all_are_there_once(self) -> None:
        async with Client(self._node.endpoint, patience=30) as client:
            ledger = await Ledger.read(client)
        ledger.check()
        assert sorted(ledger.contracts()) == sorted(self.sold)


def beside(node: NodeProcess, new_node: NewNode) -> NodeProcess:
    """Another node that is told to use the same state."""
    second = new_node(pool("a", cpu=1_000))
    second.state = node.state
    return second


async def test_another_that_opens_the_store_waits_then_gives_up_and_nothing_is_lost(new_node: NewNode) -> None:
    node = new_node(pool("a", cpu=1_000))
    await node.restart()
    sales = Sales(node)

    async def opened() -> None:
        async with AsyncExitStack() as stack:
            await open_store(stack, node.directory, lock_timeout=1.0)

    began = time.monotonic()
    other = asyncio.create_task(opened())
    while not other.done():
        await sales.sell(3)

    with pytest.raises(StoreLocked, match="another process holds"):
        await other
    assert time.monotonic() - began >= 1
    assert node.running
    assert sum(one.name() == "nats-server" for one in node.processes()) == 1
    node.kill()
    await node.restart()
    await sales.all_are_there_once()


async def test_a_node_that_waits_goes_on_from_all_that_a_killed_one_answered(new_node: NewNode) -> None:
    node = new_node(pool("a", cpu=1_000))
    await node.restart()
    sales = Sales(node)
    await sales.sell(5)
    second = beside(node, new_node)
    second.spawn()
    await eventually(lambda: "another process holds the store; waiting" in second.log_tail())
    selling = asyncio.create_task(sales.sell(1_000))
    await eventually(lambda: len(sales.sold) > 15)
    assert node._process is not None
    node._process.kill()
    selling.cancel()
    await asyncio.gather(selling, return_exceptions=True)
    await asyncio.to_thread(node._process.wait)
    await eventually(lambda: (second.folder / "ready").exists(), within=40)

    async with Client(second.endpoint) as client:
        ledger = await Ledger.read(client)
    ledger.check()
    assert set(sales.sold) <= set(ledger.contracts())
    # One more may have landed that nobody could be told of any more.
    assert len(ledger.contracts()) <= len(sales.sold) + 1
    assert await asyncio.to_thread(second.terminate) == 0


async def test_with_the_node_its_server_is_gone_and_the_store_is_free(new_node: NewNode) -> None:
    node = new_node(pool("a", cpu=1_000))
    await node.restart()
    sales = Sales(node)
    selling = asyncio.create_task(sales.sell(1_000))
    await eventually(lambda: len(sales.sold) > 5)
    assert locked(node.directory.nats)
    os.kill(node.pid, signal.SIGKILL)
    await eventually(lambda: not node.processes() and not locked(node.directory.nats), GONE_SOON)
    selling.cancel()
    with pytest.raises((asyncio.CancelledError, Refused)):
        await selling


STARTS = """
import asyncio, sys, pathlib
from rear.ledger.embedded import EmbeddedServer
async def main():
    sys.stdin.readline()
    async with EmbeddedServer(pathlib.Path(sys.argv[1])):
        await asyncio.Event().wait()
print("loaded", flush=True)
asyncio.run(main())
"""


async def test_a_node_killed_while_it_starts_its_server_leaves_none(tmp_path: Path) -> None:
    """At moments from before the child is there until after it has become nats-server."""
    seen = set()
    for after in (0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3):
        directory = tmp_path / str(after)
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", STARTS, str(directory)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert (await asyncio.wait_for(parent.stdout.readline(), 30)).startswith(b"loaded")
        parent.stdin.write(b"go\n")
        await asyncio.sleep(after)
        seen |= {process.name() for process in psutil.Process(parent.pid).children()}
        parent.kill()
        await parent.wait()
        try:
            await eventually(lambda: not told_of(directory) and not locked(directory), GONE_SOON)  # noqa: B023
        finally:
            for left in told_of(directory):
                left.kill()
    assert "nats-server" in seen
    assert any("python" in name for name in seen), "no moment was early enough"
