"""The way to the ledger's server, or to a client, goes silent or is cut while buyers are at work."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from rear.rpc.client import Client
from rear.rpc.refused import Unreachable
from rear.v1.audit_service_pb2 import ReadEventsRequest
from tests.checker import Call, RecordingClient, check
from tests.nats_servers import PlainServer
from tests.system.asking import reserve
from tests.system.evidence import Ledger
from tests.system.fixtures import NewNode
from tests.system.load import buyers
from tests.system.node_process import fixed_port
from tests.system.outages import (
    FLAVOURS,
    LASTING,
    LONG,
    POOLS,
    answers_in_time,
    answers_more,
    check_stands_still,
    logged,
    operations,
    readyz,
    until_serving,
    whole_again,
)
from tests.system.relay import Relay, Way
from tests.waiting import eventually

NOTICED_WITHIN: Final = 6.0
"""Seconds until a service knows that its connection to the ledger's server is dead, though nobody said so."""
GONE_WITHIN: Final = 60.0
"""Seconds until a node lets a client go that went silent."""
BACK_WITHIN: Final = 10.0
"""Seconds until it serves again, once the way is open."""


WAYS: Final = [Way.TO_CLIENT, Way.TO_SERVER, Way.BOTH] if LONG else [Way.TO_CLIENT]
"""What is lost on the way to NATS and back. The acknowledgements alone, while the writes land, are the worst."""


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[PlainServer]:
    """A NATS server that others run."""
    server = PlainServer(tmp_path / "nats").start()
    yield server
    server.stop()


async def until_named(ops: str, cause: str, within: float) -> None:
    """Waits until the node, not ready, names a cause: a commit without an answer is often noticed before."""
    began = time.monotonic()
    while True:
        status, whys = await readyz(ops)
        assert status == 503
        if any(cause in why for why in whys):
            return
        assert time.monotonic() - began < within, whys
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name.lower())
async def test_a_silent_connection_to_nats_is_noticed_and_nothing_wrong_is_answered(
    nats: PlainServer, new_node: NewNode, tmp_path: Path, way: Way
) -> None:
    async with Relay(lambda: nats.port) as relay:
        node = new_node(*POOLS, port=fixed_port())
        node.options = ["--nats", f"nats://127.0.0.1:{relay.port}"]
        ops = operations(node)
        await node.restart()
        async with buyers(8, "silent", node.endpoint, FLAVOURS) as history:
            await answers_more(history)
            async with relay.holding(way):
                began = time.monotonic()
                told = await answers_in_time(node.endpoint, history)
                await until_serving(node, False, NOTICED_WITHIN)
                noticed = time.monotonic() - began
                await until_named(ops, "connection to the ledger's server", NOTICED_WITHIN - noticed)
                still = time.monotonic_ns()
                await asyncio.sleep(max(0.0, LASTING - (time.monotonic() - began)))
                check_stands_still(history, still)
            back = await until_serving(node, True, BACK_WITHIN)
            await answers_more(history)
        print(f"{way.name}: told {told}; not ready within {noticed:.1f} s; ready {back:.1f} s after")
        assert logged(node, "lost the connection to the ledger's server")
        await whole_again(node, history, tmp_path)


@pytest.mark.parametrize("end", ["killed", "frozen"] if LONG else ["killed"])
async def test_a_nats_server_that_is_gone_for_long_is_waited_for(
    nats: PlainServer, new_node: NewNode, tmp_path: Path, end: str
) -> None:
    node = new_node(*POOLS, port=fixed_port())
    node.options = ["--nats", nats.url]
    ops = operations(node)
    await node.restart()
    async with buyers(8, "gone", node.endpoint, FLAVOURS) as history:
        await answers_more(history)
        began = time.monotonic()
        if end == "killed":
            nats.stop()
        else:
            nats.signal(signal.SIGSTOP)
        await until_serving(node, False, NOTICED_WITHIN)
        noticed = time.monotonic() - began
        told = await answers_in_time(node.endpoint, history)
        assert (await readyz(ops))[0] == 503
        still = time.monotonic_ns()
        await asyncio.sleep(LASTING)
        check_stands_still(history, still)
        if end == "killed":
            await asyncio.to_thread(nats.start)
        else:
            nats.signal(signal.SIGCONT)
        back = await until_serving(node, True, BACK_WITHIN)
        await answers_more(history)
    print(f"{end} for {LASTING} s: told {told}; not ready within {noticed:.1f} s; ready {back:.1f} s after")
    await whole_again(node, history, tmp_path)


async def test_a_silent_connection_to_a_client_ends_its_calls_at_their_deadline(new_node: NewNode) -> None:
    node = new_node(*POOLS, port=fixed_port())
    await node.restart()
    calls: list[Call] = []
    async with Relay(lambda: node.port) as relay:
        endpoint = f"127.0.0.1:{relay.port}"
        async with RecordingClient(endpoint, calls, name="far", timeout=0.5, patience=0) as client:
            await client.reserve_flavour(reserve("a-1", request_id="before"))
            for way in (Way.TO_CLIENT, Way.TO_SERVER, Way.BOTH):
                request = reserve("a-1", request_id=f"during-{way.value}")
                async with relay.holding(way):
                    began = time.monotonic()
                    with pytest.raises(Unreachable):
                        await client.reserve_flavour(request)
                    assert time.monotonic() - began < 1.5
                client.patience = BACK_WITHIN
                await client.reserve_flavour(request)
                client.patience = 0
    async with Client(node.endpoint) as near:
        print(check(calls, (ledger := await Ledger.read(near)).recorded))
    assert len(ledger.of("contract_reserved")) == 4


@pytest.mark.skipif(not LONG, reason="takes a minute: set REAR_OUTAGE=60")
async def test_who_follows_the_ledger_on_a_silent_connection_is_let_go_and_comes_back(new_node: NewNode) -> None:
    node = new_node(*POOLS, port=fixed_port())
    await node.restart()
    followed: list[int] = []

    def connections() -> set[int]:
        """By the ports of those who opened them."""
        return {
            found.raddr.port
            for found in psutil.Process(node.pid).net_connections("tcp")
            if found.laddr.port == node.port and found.status == psutil.CONN_ESTABLISHED
        }

    async def follow(endpoint: str) -> None:
        async with Client(endpoint, patience=60) as far:
            async for event in far.events(ReadEventsRequest(follow=True)):
                followed.append(event.sequence)

    async with Relay(lambda: node.port) as relay, Client(node.endpoint) as near:
        following = asyncio.create_task(follow(f"127.0.0.1:{relay.port}"))
        await near.reserve_flavour(reserve("a-1"))
        await eventually(lambda: len(followed) >= 8)
        before = connections()
        async with relay.holding(Way.BOTH):
            began = time.monotonic()
            await eventually(lambda: bool(before - connections()), GONE_WITHIN)
            print(f"a silent client is let go after {time.monotonic() - began:.0f} s")
            await near.reserve_flavour(reserve("a-1"))
        end = len((await Ledger.read(near)).recorded)
        await eventually(lambda: followed[-1] == end, GONE_WITHIN)
        assert followed == list(range(1, end + 1)), "each event once"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
