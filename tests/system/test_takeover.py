"""A writer that is killed, or stands still, is followed by its standby: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from rear.command.failures import REPLACED
from rear.rpc.client import Client
from rear.rpc.refused import Unreachable
from rear.v1.discovery_service_pb2 import ListFlavoursRequest
from tests.checker.agreement import disagreements
from tests.checker.buying import Buying
from tests.checker.replay import Replay
from tests.nats_servers import NatsCluster
from tests.system.asking import CANCELLED, cancel, get, reserve
from tests.system.evidence import Ledger, agreeing, digests
from tests.system.fixtures import NewNode
from tests.system.intents import READY, Owner, component, intent
from tests.system.load import History, buyers
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.system.watcher import watching
from tests.waiting import eventually, freeze

BUYERS: Final = 32
ROUNDS: Final = int(os.environ.get("REAR_ROUNDS", "2"))
"""Take-overs in each test of them under load; `make soak` asks for more."""
ATTEMPT: Final = 1.5
"""Seconds after which a buyer asks another: one that stands still says nothing."""
INTENTS: Final = 30
"""Under way while their writer is struck."""
POOLS: Final = (pool("a", cpu=20), pool("b", cpu=20), pool("gpu", cpu=40, gpus=4))
FLAVOURS: Final = {"a-1": False, "b-1": False, "gpu-1": True}


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path / "servers") as servers:
        yield servers


@pytest.fixture
def team(nats: NatsCluster, new_node: NewNode) -> Callable[[int], list[NodeProcess]]:
    """Makes a writer and standbys that have caught up, that many in all."""

    def made(count: int) -> list[NodeProcess]:
        nodes = [new_node(*POOLS, port=fixed_port()) for _ in range(count)]
        for node in nodes:
            node.options = (*nats.options, "--standby", *(("--take-over",) if node is nodes[0] else ()))
            node.start()
        nodes[0].options = (*nats.options, "--standby")
        return nodes

    return made


@pytest.fixture
def pair(team: Callable[[int], list[NodeProcess]]) -> tuple[NodeProcess, NodeProcess]:
    writer, standby = team(2)
    return writer, standby


async def killed(writer: NodeProcess) -> None:
    writer.kill()


async def frozen(writer: NodeProcess) -> None:
    await freeze(writer.pid)


async def restarted(node: NodeProcess) -> None:
    await node.restart()


async def thawed(node: NodeProcess) -> None:
    os.kill(node.pid, signal.SIGCONT)


async def serves(*nodes: NodeProcess, within: float = 30.0) -> NodeProcess:
    """Which of them answers, once one does."""
    async with asyncio.timeout(within):
        while True:
            for node in nodes:
                async with Client(node.endpoint, patience=0, timeout=1) as client:
                    with contextlib.suppress(Unreachable):
                        await client.list_flavours(ListFlavoursRequest())
                        if client.endpoint == node.endpoint:
                            return node
            await asyncio.sleep(0.05)


async def answers_more(history: History, count: int = 60) -> None:
    goal = len(history.granted) + count
    await eventually(lambda: len(history.granted) >= goal, 60)


@pytest.mark.parametrize(("strike", "back"), [(killed, restarted), (frozen, thawed)])
async def test_take_overs_under_load_lose_nothing_and_double_nothing(
    pair: tuple[NodeProcess, NodeProcess],
    seed: str,
    tmp_path: Path,
    strike: Callable[[NodeProcess], Awaitable[None]],
    back: Callable[[NodeProcess], Awaitable[None]],
) -> None:
    chance = random.Random(seed)
    writer, standby = pair
    either = f"{writer.endpoint},{standby.endpoint}"
    async with watching(either) as watcher:
        async with buyers(BUYERS, seed, either, FLAVOURS, timeout=ATTEMPT) as history:
            for _ in range(ROUNDS):
                await answers_more(history)
                await asyncio.sleep(chance.uniform(0, 0.2))
                await strike(writer)
                await serves(standby)
                await answers_more(history)
                await back(writer)
                writer, standby = standby, writer
            await answers_more(history)
        async with Client(writer.endpoint, patience=20) as client:
            await watcher.agrees(client, 40)
            ledger, listed = await agreeing(client)
    print(f"{len(history.granted)} granted, {history.refused}, {history.repeated} repeated, {history.cut} cut")
    history.check(ledger, listed)
    ledger.check()
    ledger.check_request_ids()
    assert len(ledger.of("writer_changed")) == ROUNDS + 1, "each fence is a take-over"
    for node, other in ((standby, writer), (writer, standby)):
        if not node.running:
            await node.restart()
        if other.running:
            assert other.terminate() == 0
        await serves(node)
        assert node.terminate() == 0
        scratch = node.folder / "fresh"
        scratch.mkdir()
        kept, rebuilt = await digests(node.state, scratch)
        assert kept == rebuilt


async def test_of_two_standbys_one_takes_over_and_the_other_follows_it_and_takes_over_in_its_turn(
    team: Callable[[int], list[NodeProcess]], seed: str
) -> None:
    nodes = team(3)
    async with buyers(BUYERS, seed, ",".join(node.endpoint for node in nodes), FLAVOURS, timeout=ATTEMPT) as history:
        writer = nodes[0]
        while len(nodes) > 1:
            await answers_more(history)
            writer.kill()
            nodes.remove(writer)
            writer = await serves(*nodes)
        await answers_more(history)
    async with Client(writer.endpoint, patience=20) as client:
        ledger, listed = await agreeing(client)
    history.check(ledger, listed)
    ledger.check()
    ledger.check_request_ids()
    assert len(ledger.of("writer_changed")) == 3, "each time exactly one has won"


async def test_a_writer_that_stood_still_answers_no_read_that_is_older_than_what_its_successor_answered(
    pair: tuple[NodeProcess, NodeProcess],
) -> None:
    writer, standby = pair
    async with Client(writer.endpoint, patience=0, timeout=30) as old, Client(standby.endpoint, patience=20) as new:
        contract = (await old.reserve_flavour(reserve("a-1"))).contract
        await freeze(writer.pid)
        reads = [asyncio.create_task(old.get_contract(get(contract))) for _ in range(20)]
        await serves(standby)
        await new.cancel_contract(cancel(contract))
        await thawed(writer)
        answers = await asyncio.gather(*reads, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            assert isinstance(answer, Unreachable), answer
        else:
            assert answer.contract.state == CANCELLED, "it is older than what was answered before"


async def test_a_loss_is_not_accepted_beside_a_writer_that_lives(
    pair: tuple[NodeProcess, NodeProcess],
) -> None:
    writer, standby = pair
    assert standby.terminate() == 0
    standby.directory.anchor.unlink()
    rear = str(Path(sys.executable).with_name("rear"))
    command = [rear, "ledger", "accept-loss", "--state", str(standby.state), "--reason", "a test", "--yes"]
    async with Client(writer.endpoint) as client:
        await client.reserve_flavour(reserve("a-1"))
        before = await Ledger.read(client)
        refused = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1
        assert f"the process at {writer.endpoint} writes this ledger, in epoch 1: stop it" in refused.stderr
        await client.reserve_flavour(reserve("a-1"))
        after = await Ledger.read(client)
    assert not after.of("loss_accepted")
    assert after.recorded[: len(before.recorded)] == before.recorded
    assert writer.terminate() == 0
    accepted = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert accepted.returncode == 0, accepted.stderr


async def test_a_standby_names_the_writer_and_a_client_follows(pair: tuple[NodeProcess, NodeProcess]) -> None:
    writer, standby = pair
    async with Client(standby.endpoint) as client:
        reserved = (await client.reserve_flavour(reserve("a-1"))).contract
        assert client.endpoint == writer.endpoint
        assert reserved.provider_id == writer.provider_id


async def test_a_writer_lives_so_another_does_not_start_unless_it_is_told_to(
    nats: NatsCluster, new_node: NewNode
) -> None:
    first = new_node(*POOLS)
    first.options = tuple(nats.options)
    first.start()
    second = new_node(*POOLS)
    second.options = (*nats.options, "--standby")
    second.start()
    assert second.terminate() == 0
    second.options = tuple(nats.options)
    second.spawn()
    assert second.wait() == 1
    assert f"the process at {first.endpoint} writes this ledger" in second.log_tail()
    second.options = (*nats.options, "--take-over")
    second.start()
    assert first.wait() == REPLACED, "it is idle, and notices"
    assert f"another process at {second.endpoint} writes this ledger" in first.log_tail()


async def test_a_standby_goes_on_with_all_service_requests_and_the_former_writer_does_nothing_more_for_them(
    nats: NatsCluster, new_node: NewNode, seed: str
) -> None:
    far = new_node(pool("far", cpu=2 * INTENTS), name="far")
    far.start()
    writer, standby = (new_node(pool("own", cpu=1), port=fixed_port()) for _ in range(2))
    for node in (writer, standby):
        node.options = (*nats.options, "--standby", "--neighbour", far.endpoint)
        node.start()
    async with Owner(writer.endpoint) as owner:
        keys = await asyncio.gather(*(owner.submit(intent(component(cores=2))) for _ in range(INTENTS)))
        await asyncio.sleep(random.Random(seed).uniform(0, 0.3))
        await frozen(writer)
    await serves(standby)
    async with Owner(standby.endpoint) as owner:
        await thawed(writer)
        for key in keys:
            await owner.has_state(key, READY)
        async with Client(standby.endpoint, patience=20) as client:
            consumer = Buying((await Ledger.read(client)).recorded)
        async with Client(far.endpoint) as client:
            sold = await Ledger.read(client)
    assert not [*disagreements(consumer, {far.provider_id: Replay(sold.recorded)})]
    assert not consumer.findings
    assert len(sold.of("contract_reserved")) == INTENTS, "nothing was reserved twice"
    assert not sold.of("contract_cancelled")
