"""The node and its nats-server fail while many buyers ask, at points and moments that a seed chooses."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import psutil

from rear.rpc.client import Client
from tests.system.evidence import Rebuilt, agreeing, digests
from tests.system.failing import AT_START, AT_WORK, SEED, SHARD, Failpoints, shared
from tests.system.fixtures import NewNode
from tests.system.load import History, buyers
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually

NODE_KILLS: Final = shared(int(os.environ.get("REAR_ROUNDS", "6")))
NATS_KILLS: Final = shared(int(os.environ.get("REAR_NATS_ROUNDS", "3")))
KILLS_OF_A_NODE: Final = 10
"""Kills before a new node with a new ledger takes over: what is proved of a ledger grows with it."""
KILLS_OF_A_SERVER: Final = 4
"""The same for its nats-server, whose supervisor waits twice as long each time."""
BUYERS: Final = 24
POOLS: Final = (pool("a", cpu=20), pool("b", cpu=20), pool("gpu", cpu=40, gpus=4))
FLAVOURS: Final = {"a-1": False, "b-1": False, "gpu-1": True}

LATEST_VISIT: Final = {
    "tables.before_commit": 4,
    "tables.after_commit": 4,
    "timers.in_the_middle": 6,
    "rpc.before_reply": 150,
}
MOST_VISITS: Final = 40
"""Visits before a failpoint strikes, where LATEST_VISIT says nothing else: half a second's worth."""


class Ward:
    """One node under load, and what it must agree with."""

    def __init__(self, node: NodeProcess, chance: random.Random, history: History) -> None:
        self.node = node
        self.failpoints = Failpoints(node)
        self.done: Counter[str] = Counter()
        self._chance = chance
        self._history = history

    async def answers_more(self, count: int) -> None:
        goal = len(self._history.granted) + count
        await eventually(lambda: len(self._history.granted) >= goal, 40)

    async def kill_node(self) -> int:
        """Kills it one way or another, and brings it back; returns how often it died."""
        way = self._chance.choices(
            (
                *(self._at_work, self._from_outside, self._with_nats, self._at_start),
                *(self._reconnecting, self._without_nats, self._draining),
            ),
            (56, 10, 6, 10, 6, 6, 6),
        )[0]
        died = await way()
        self.failpoints.disarm()
        await self.node.restart()
        self.done["node"] += died
        return died

    async def kill_nats(self) -> None:
        """Kills the node's nats-server, at any moment or while the writer stands at a point. The node outlives it."""
        pid, node = self.node.nats_pid, self.node.pid
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.uniform(0, 0.2))
            os.kill(pid, signal.SIGKILL)
        else:
            point = self._chance.choice([point for point in AT_WORK if point.startswith("writer.")])
            self.failpoints.arm(f"{point}=stop@{self._visit(point)}")
            await self.failpoints.struck(point, "stop")
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
            self.failpoints.disarm()
            self.failpoints.go_on()
        self.done["nats"] += 1
        await eventually(lambda: self.node.nats_pid not in (0, pid))
        await self.answers_more(10)
        assert self.node.running
        assert self.node.pid == node

    def _visit(self, point: str) -> int:
        return self._chance.randint(1, LATEST_VISIT.get(point, MOST_VISITS))

    async def _at_work(self) -> int:
        point = self._chance.choice(AT_WORK)
        return await self._strike(point, f"{point}=kill@{self._visit(point)}")

    async def _strike(self, point: str, *entries: str) -> int:
        self.failpoints.arm(*entries)
        await self._killed_at(point)
        return 1

    async def _killed_at(self, point: str) -> None:
        await self.failpoints.struck(point, "kill")
        self.done[point] += 1

    async def _from_outside(self) -> int:
        await asyncio.sleep(self._chance.uniform(0, 0.4))
        self.node.kill()
        return 1

    async def _with_nats(self) -> int:
        await asyncio.sleep(self._chance.uniform(0, 0.4))
        os.kill(self.node.nats_pid, signal.SIGKILL)
        self.node.kill()
        self.done["nats"] += 1
        return 1

    async def _at_start(self) -> int:
        died = await self._from_outside()
        point = self._chance.choice([point for point in AT_START if point != "opening.begun"])
        self.failpoints.arm(f"{point}=kill")
        self.node.spawn()
        await self._killed_at(point)
        return died + 1

    async def _reconnecting(self) -> int:
        cut = f"writer.after_publish=cut@{self._visit('writer.after_publish')}"
        return await self._strike("connection.checked", cut, "connection.checked=kill")

    async def _without_nats(self) -> int:
        self.failpoints.arm("server.fallen=kill")
        await asyncio.sleep(self._chance.uniform(0, 0.2))
        os.kill(self.node.nats_pid, signal.SIGKILL)
        self.done["nats"] += 1
        await self._killed_at("server.fallen")
        return 1

    async def _draining(self) -> int:
        self.failpoints.arm("node.draining=kill")
        await asyncio.sleep(self._chance.uniform(0, 0.2))
        self.node.signal_end()
        await self._killed_at("node.draining")
        return 1


Prove = Callable[[], Awaitable[None]]
Work = Callable[[Ward, Prove], Awaitable[None]]


def node_kills(most: int) -> Work:
    async def work(ward: Ward, prove: Prove) -> None:
        while ward.done["node"] < most:
            await ward.kill_node()
            await prove()

    return work


def nats_kills(most: int) -> Work:
    async def work(ward: Ward, prove: Prove) -> None:
        for _ in range(most):
            await ward.kill_nats()
            await prove()

    return work


async def run(new_node: NewNode, name: str, work: Work) -> Counter[str]:
    """Has one node worked on under load, and proves in the end that its ledger and its tables are whole."""
    node = new_node(*POOLS, name=name, port=fixed_port())
    history = History()
    ward = Ward(node, random.Random(f"{SEED}/{name}"), history)
    rebuilt = Rebuilt(node.folder / "rebuilt.sqlite")

    async def prove() -> None:
        async with Client(node.endpoint, patience=20) as client:
            await rebuilt.check(client, node.directory.tables)

    await node.restart()
    async with buyers(BUYERS, f"{SEED}/{name}", node.endpoint, FLAVOURS, history):
        await work(ward, prove)
        await ward.answers_more(10)
    async with Client(node.endpoint, patience=20) as client:
        ledger, listed = await agreeing(client)
        history.check(ledger, listed)
        ledger.check()
        ledger.check_request_ids()
        await prove()
    rebuilt.close()
    assert node.terminate() == 0
    kept, fresh = await digests(node.state, node.folder)
    assert kept == fresh
    print(
        f"{name}: killed {ward.done['node']} times, its nats-server {ward.done['nats']} times; {len(history.granted)} "
        f"granted, {sum(history.refused.values())} refused, {history.repeated} repeated, {history.cut} of them cut; "
        f"{len(ledger.envelopes)} events",
        flush=True,
    )
    return ward.done


async def test_a_node_that_fails_again_and_again_under_load_loses_nothing(new_node: NewNode) -> None:
    print(f"REAR_SEED={SEED}", flush=True)
    killed: Counter[str] = Counter()
    while killed["node"] < NODE_KILLS:
        most = min(KILLS_OF_A_NODE, NODE_KILLS - killed["node"])
        killed += await run(new_node, f"k{SHARD}-{killed['node']}", node_kills(most))
    print(f"nothing lost in {dict(sorted(killed.items()))}", flush=True)


async def test_a_nats_server_that_is_killed_again_and_again_under_load_loses_nothing(new_node: NewNode) -> None:
    print(f"REAR_SEED={SEED}", flush=True)
    killed: Counter[str] = Counter()
    while killed["nats"] < NATS_KILLS:
        most = min(KILLS_OF_A_SERVER, NATS_KILLS - killed["nats"])
        killed += await run(new_node, f"s{SHARD}-{killed['nats']}", nats_kills(most))
    print(f"nothing lost in {dict(sorted(killed.items()))}", flush=True)
