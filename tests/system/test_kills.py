"""SIGKILL at any moment: what was answered stays, what was repeated happened once, nothing is oversold."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from rear.rpc.client import Client
from rear.rpc.refused import Refused
from tests.system.asking import (
    COMPLETED,
    EXPIRED,
    RESERVED,
    get,
    has_state,
    in_seconds,
    now,
    purchase,
    reserve,
)
from tests.system.evidence import Ledger, agreeing, digests
from tests.system.fixtures import NewNode
from tests.system.load import History, buyers
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually

POOLS: Final = (pool("a", cpu=20), pool("b", cpu=20), pool("gpu", cpu=40, gpus=4))
FLAVOURS: Final = {"a-1": False, "b-1": False, "gpu-1": True}


@pytest.fixture
def node(new_node: NewNode) -> NodeProcess:
    """A node that serves, and comes back to its port."""
    node = new_node(*POOLS, port=fixed_port())
    node.start()
    return node


async def restart_node(node: NodeProcess) -> None:
    node.kill()
    await node.restart()


async def answers_more(history: History, count: int = 100) -> None:
    goal = len(history.granted) + count
    await eventually(lambda: len(history.granted) >= goal, 40)


async def test_tables_that_a_kill_left_behind_catch_up_to_the_same_rows(
    node: NodeProcess, seed: str, tmp_path: Path
) -> None:
    async with buyers(8, seed, node.endpoint, FLAVOURS) as history:
        await answers_more(history)
        node.kill()
        await node.restart()
    assert node.terminate() == 0
    kept, rebuilt = await digests(node.state, tmp_path)
    assert kept == rebuilt


async def test_a_reservation_that_a_kill_interrupts_still_expires_once(node: NodeProcess) -> None:
    async with Client(node.endpoint, patience=20) as client:
        reserved = (await client.reserve_flavour(reserve("a-1", cores=20, ttp=4))).contract
        await restart_node(node)

        assert (await client.get_contract(get(reserved))).contract.state == RESERVED
        with pytest.raises(Refused, match="CAPACITY_EXCEEDED"):
            await client.reserve_flavour(reserve("a-1"))
        await has_state(client, reserved, EXPIRED)
        with pytest.raises(Refused, match="TTP_PASSED"):
            await client.purchase_flavour(purchase(reserved))
        await client.reserve_flavour(reserve("a-1", cores=20))
        ledger = await Ledger.read(client)
    ledger.check()
    (expired,) = ledger.of("contract_expired")
    assert expired.time.ToNanoseconds() == reserved.purchase_before.ToNanoseconds()


async def test_a_time_to_purchase_that_passes_while_the_node_is_down_expires_the_reservation_once(
    node: NodeProcess, tmp_path: Path
) -> None:
    async with Client(node.endpoint, patience=20) as client:
        reserved = (await client.reserve_flavour(reserve("a-1", cores=20, ttp=0.5))).contract
        node.kill()
        await eventually(lambda: now() > reserved.purchase_before.ToNanoseconds())
        await node.restart()

        assert (await client.get_contract(get(reserved))).contract.state == EXPIRED, "before it serves"
        await client.reserve_flavour(reserve("a-1", cores=20))
        await restart_node(node)
        ledger, _ = await agreeing(client)
    ledger.check()
    assert len(ledger.of("contract_expired")) == 1
    assert node.terminate() == 0
    kept, rebuilt = await digests(node.state, tmp_path)
    assert kept == rebuilt


async def test_a_window_that_ends_while_the_node_is_down_is_completed_once_and_its_capacity_is_back(
    node: NodeProcess,
) -> None:
    async with Client(node.endpoint, patience=20) as client:
        end = in_seconds(1)
        agreed = (await client.reserve_flavour(reserve("a-1", cores=20, end=end, confirm=True))).contract
        node.kill()
        await eventually(lambda: now() > end)
        await node.restart()

        found = (await client.get_contract(get(agreed))).contract
        assert found.state == COMPLETED
        assert found.updated_at.ToNanoseconds() == end, "it ended when its window did, not when the node came back"
        await client.reserve_flavour(reserve("a-1", cores=20))
        await restart_node(node)
        ledger, _ = await agreeing(client)
    ledger.check()
    assert len(ledger.of("contract_completed")) == len(ledger.of("hold_released")) == 1
    assert len(ledger.of("allocation_released")) == 1


async def test_a_window_that_starts_while_the_node_is_down_is_active_once_it_serves(node: NodeProcess) -> None:
    async with Client(node.endpoint, patience=20) as client:
        start = in_seconds(0.5)
        agreed = (await client.reserve_flavour(reserve("a-1", start=start, confirm=True))).contract
        node.kill()
        await eventually(lambda: now() > start)
        await node.restart()
        activated = (await Ledger.read(client)).of("contract_activated")
        assert [event.time.ToNanoseconds() for event in activated] == [start]
        assert activated[0].subject.endswith(agreed.contract_id)
