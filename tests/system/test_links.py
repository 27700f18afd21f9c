"""Both copies of a contract come to the same state: a buyer's Contract Manager, and a seller that is a real node."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from rear.domain.lifecycle import ContractState
from rear.domain.link import ContractCopy, Order
from rear.domain.selector import FlavourOrder, Selector
from rear.domain.window import HOUR, SECOND, AskedWindow, Duration, Instant
from rear.ledger.connection import Connection
from rear.ledger.embedded import EmbeddedServer
from rear.managers.consumer.peers import Question, Unanswered
from rear.rpc.client import Client, anonymous_caller
from rear.rpc.peers import RpcPeers
from rear.rpc.sellers import RpcSellers
from rear.v1 import contract_service_pb2 as pb
from tests.buyer import Buyer
from tests.faulty_stream import FaultyStream
from tests.seller import cpus
from tests.system.asking import in_seconds
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually, freeze

ENDED: Final = (ContractState.CANCELLED, ContractState.REVOKED, ContractState.COMPLETED, ContractState.EXPIRED)


@pytest.fixture
def node(new_node: NewNode) -> NodeProcess:
    """A seller that serves, and comes back to its port."""
    node = new_node(pool("a", cpu=40), port=fixed_port())
    node.start()
    return node


@pytest.fixture
async def peers() -> AsyncIterator[RpcPeers]:
    peers = RpcPeers(None, "system.test")
    yield peers
    await peers.close()


@pytest.fixture
async def buyer(tmp_path: Path, peers: RpcPeers) -> AsyncIterator[Buyer]:
    async with EmbeddedServer(tmp_path / "buyer-nats", patience=2.0) as server:
        connection = Connection(lambda: server.endpoint, name="buyer")
        await connection.open(10)
        ledger = FaultyStream(connection, "n2")
        await ledger.ensure()
        buyer = await Buyer(ledger, tmp_path / "buyer", RpcSellers(peers, deadline=2.0)).open()
        yield buyer
        await buyer.close()
        await connection.close()


def wanted(node: NodeProcess, window: AskedWindow | None = None, *, confirm: bool = False) -> Order:
    asked = window or AskedWindow(None, None, HOUR)
    return Order(node.provider_id, node.endpoint, "a-1", cpus(1_000), asked, confirm=confirm)


async def order(buyer: Buyer, node: NodeProcess, window: AskedWindow | None = None, *, confirm: bool = False) -> str:
    caller = anonymous_caller(node.provider_id)
    return await buyer.order(str(uuid4()), wanted(node, window, confirm=confirm), caller)


async def reaches(buyer: Buyer, key: str, *states: ContractState) -> None:
    await eventually(lambda: buyer.bought(key).pending is None and buyer.bought(key).state in states)


async def held(buyer: Buyer, node: NodeProcess) -> str:
    key = await order(buyer, node)
    await reaches(buyer, key, ContractState.RESERVED)
    return key


async def sold(buyer: Buyer, node: NodeProcess, key: str) -> ContractCopy:
    return await buyer.sellers.get_contract(wanted(node), key)


async def revoke(client: Client, key: str) -> None:
    await client.revoke_contract(
        pb.RevokeContractRequest(contract_id=key, reason="the machine burns", request_id=str(uuid4()))
    )


async def agree(buyer: Buyer, node: NodeProcess, *keys: str) -> None:
    """Both sides say the same, and the virtual node stands where it is to."""
    for key in keys:
        purchase, there = buyer.bought(key), await sold(buyer, node, key)
        assert purchase.copy == there
        assert (buyer.virtual_node(key) is not None) is there.live


async def test_cancels_and_revocations_that_cross_leave_both_sides_in_the_same_state(
    buyer: Buyer, node: NodeProcess
) -> None:
    """Before the window, at its start, in it, at its end and after it; at once, and each side before the other."""
    start, length = in_seconds(2.5), 1.0  # time enough to reserve all of them before
    window = AskedWindow(start, None, Duration(int(length * SECOND)))
    moments = (-0.5, -0.02, 0.0, 0.02, 0.5, length - 0.02, length, length + 0.02, length + 0.5)
    cases = [(moment, lead) for moment in moments for lead in (-0.01, 0.0, 0.01)]
    keys = await asyncio.gather(*(order(buyer, node, window, confirm=True) for _ in cases))
    await eventually(lambda: all(buyer.bought(key).copy is not None for key in keys))

    async with Client(node.endpoint) as admin:

        async def cross(key: str, moment: float, lead: float) -> None:
            async def cancelled() -> None:
                await asyncio.sleep((start - in_seconds(-moment)) / SECOND)
                await buyer.cancel_purchase(key)

            async def revoked() -> None:
                await asyncio.sleep((start - in_seconds(-moment - lead)) / SECOND)
                await revoke(admin, key)

            await asyncio.gather(cancelled(), revoked())

        await asyncio.gather(*(cross(key, *case) for key, case in zip(keys, cases, strict=True)))

    for key in keys:
        await reaches(buyer, key, *ENDED)
    await agree(buyer, node, *keys)
    seen = {buyer.bought(key).state for key in keys}
    assert {ContractState.COMPLETED} < seen  # some were too late, and some were not


async def test_a_purchase_goes_on_where_the_seller_is_killed_and_comes_back(buyer: Buyer, node: NodeProcess) -> None:
    bought, cancelled, revoked = [await held(buyer, node) for _ in range(3)]
    node.kill()
    await buyer.buy(bought)
    await buyer.cancel_purchase(cancelled)
    unknown = await order(buyer, node)
    await asyncio.sleep(0.2)
    assert buyer.bought(bought).pending is not None

    await node.restart()
    async with Client(node.endpoint) as admin:
        await revoke(admin, revoked)

    await reaches(buyer, bought, ContractState.CONFIRMED, ContractState.ACTIVE)
    await reaches(buyer, cancelled, ContractState.CANCELLED)
    await reaches(buyer, revoked, ContractState.REVOKED)
    await reaches(buyer, unknown, ContractState.RESERVED)
    await eventually(lambda: buyer.bought(bought).state is ContractState.ACTIVE)
    await agree(buyer, node, bought, cancelled, revoked, unknown)


async def test_a_buyer_that_is_killed_goes_on_and_hears_what_it_missed(buyer: Buyer, node: NodeProcess) -> None:
    bought, cancelled, revoked, ended = [await held(buyer, node) for _ in range(4)]
    await freeze(node.pid)
    await buyer.buy(bought)
    await buyer.cancel_purchase(cancelled)
    unknown = await order(buyer, node)
    await asyncio.sleep(0.1)  # all three are on their way, or were sent

    await buyer.drop()
    os.kill(node.pid, signal.SIGCONT)
    async with Client(node.endpoint) as client:
        await revoke(client, revoked)
        await client.cancel_contract(pb.CancelContractRequest(contract_id=ended, request_id=str(uuid4())))
    await buyer.open()

    await reaches(buyer, bought, ContractState.ACTIVE)
    await reaches(buyer, cancelled, ContractState.CANCELLED)
    await reaches(buyer, revoked, ContractState.REVOKED)
    await reaches(buyer, ended, ContractState.CANCELLED)
    await reaches(buyer, unknown, ContractState.RESERVED)
    await agree(buyer, node, bought, cancelled, revoked, ended, unknown)
    kept, rebuilt = await buyer.digests()
    assert kept == rebuilt


async def test_a_seller_that_comes_back_at_another_port_is_asked_where_it_was_heard(
    peers: RpcPeers, node: NodeProcess
) -> None:
    sellers, order, question = (
        RpcSellers(peers, deadline=2.0),
        wanted(node),
        Question(Selector(), FlavourOrder.PRICE, 1),
    )
    copy = await sellers.reserve(order, "r1")
    node.kill()
    node.port = fixed_port()
    node.start()
    with pytest.raises(Unanswered):
        await sellers.get_contract(order, copy.id)

    await peers.list_flavours(node.endpoint, "", question, Instant(time.time_ns()), deadline=5.0)

    await eventually_cancelled(sellers, order, copy.id)


async def eventually_cancelled(sellers: RpcSellers, order: Order, contract_id: str) -> None:
    """A call that finds nobody at the old place goes on at the new one, or the next call does."""
    for _ in range(5):
        try:
            ended = await sellers.cancel(order, contract_id, "c1", "moved")
        except Unanswered:
            continue
        assert ended.state is ContractState.CANCELLED
        return
    raise AssertionError("nobody was asked at the new port")
