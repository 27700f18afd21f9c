"""The way to the ledger's server, or to a client, goes silent or is cut while buyers are at work."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from rear.rpc.client import Client
from rear.rpc.refused import Unreachable
from tests.checker import Call, RecordingClient, check
from tests.system.asking import reserve
from tests.system.evidence import Ledger
from tests.system.fixtures import NewNode
from tests.system.load import buyers
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.system.outages import LASTING, answers_in_time, answers_more, logged, until_serving, whole_again
from tests.system.relay import Relay, Way

POOLS: Final = (pool("a", cpu=20), pool("b", cpu=20), pool("spare", cpu=100))
FLAVOURS: Final = {"a-1": False, "b-1": False}
NOTICED_WITHIN: Final = 6.0
"""Seconds until a service knows that its connection to the ledger's server is dead, though nobody said so."""
BACK_WITHIN: Final = 10.0
"""Seconds until it serves again, once the way is open."""


@pytest.fixture
async def relayed(new_node: NewNode, tmp_path: Path) -> AsyncIterator[tuple[NodeProcess, Relay]]:
    """A node that reaches its nats-server through a relay."""
    target = tmp_path / "nats-port"
    async with Relay(lambda: int(target.read_text())) as relay:
        node = new_node(*POOLS, port=fixed_port())
        node.launcher = (sys.executable, "-m", "tests.planted", f"through={relay.port}:{target}")
        await node.restart()
        yield node, relay


@pytest.mark.parametrize("way", [Way.BOTH, Way.TO_SERVER, Way.TO_CLIENT], ids=["both", "to-server", "acks-lost"])
async def test_a_silent_connection_to_nats_is_noticed_and_nothing_wrong_is_answered(
    relayed: tuple[NodeProcess, Relay], tmp_path: Path, way: Way
) -> None:
    node, relay = relayed
    async with buyers(8, "silent", node.endpoint, FLAVOURS) as history:
        await answers_more(history)
        async with relay.holding(way):
            began = time.monotonic()
            told = await answers_in_time(node.endpoint, history)
            noticed = await until_serving(node, False, NOTICED_WITHIN)
            granted = len(history.granted)
            await asyncio.sleep(max(0.0, LASTING - (time.monotonic() - began)))
            assert len(history.granted) == granted, "something was answered OK that cannot have been acknowledged"
        back = await until_serving(node, True, BACK_WITHIN)
        await answers_more(history)
    print(f"{way}: told {told}; not ready within {noticed + 1:.1f} s; ready {back:.1f} s after; {history.cut} cut")
    assert logged(node, "lost the connection to the ledger's server")
    await whole_again(node, history, tmp_path)


async def test_a_nats_server_that_is_gone_for_long_is_waited_for(
    relayed: tuple[NodeProcess, Relay], tmp_path: Path
) -> None:
    node, relay = relayed
    async with buyers(8, "gone", node.endpoint, FLAVOURS) as history:
        await answers_more(history)
        async with relay.gone():
            noticed = await until_serving(node, False, 2.0)
            assert await answers_in_time(node.endpoint, history) in {"OUTCOME_PENDING", "LEDGER_UNAVAILABLE"}
            granted = len(history.granted)
            await asyncio.sleep(LASTING)
            assert len(history.granted) == granted
        back = await until_serving(node, True, BACK_WITHIN)
        await answers_more(history)
    print(f"gone for {LASTING} s: not ready within {noticed:.1f} s; ready {back:.1f} s after; {history.cut} cut")
    await whole_again(node, history, tmp_path)


async def test_a_silent_connection_to_a_client_ends_its_calls_at_their_deadline(new_node: NewNode) -> None:
    node = new_node(*POOLS, port=fixed_port())
    await node.restart()
    calls: list[Call] = []
    async with Relay(lambda: node.port) as relay:
        endpoint = f"127.0.0.1:{relay.port}"
        async with RecordingClient(endpoint, calls, name="far", timeout=1, patience=0) as client:
            await client.reserve_flavour(reserve("a-1", request_id="before"))
            for way in (Way.TO_CLIENT, Way.TO_SERVER, Way.BOTH):
                request = reserve("a-1", request_id=f"during-{way.value}")
                async with relay.holding(way):
                    began = time.monotonic()
                    with pytest.raises(Unreachable):
                        await client.reserve_flavour(request)
                    assert time.monotonic() - began < 2
                client.patience = BACK_WITHIN
                await client.reserve_flavour(request)
                client.patience = 0
    async with Client(node.endpoint) as near:
        print(check(calls, (ledger := await Ledger.read(near)).recorded))
    assert len(ledger.of("contract_reserved")) == 4
