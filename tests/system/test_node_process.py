"""Starting, stopping and starting again; and why a node does not start."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from pathlib import Path

import grpc
import pytest

from rear.projections.tables import Tables, discard
from rear.rpc.client import Client
from rear.rpc.refused import CallFailed, Refused
from rear.v1.audit_service_pb2 import ReadEventsRequest
from rear.v1.discovery_service_pb2 import ListFlavoursRequest
from tests.system.asking import CONFIRMED, CORE, cancel, get, purchase, reserve
from tests.system.evidence import Ledger, digests
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually, freeze


@pytest.fixture
def node(new_node: NewNode) -> NodeProcess:
    node = new_node(pool("p", cpu=10), pool("q", cpu=10), port=fixed_port())
    node.start()
    return node


def listening(node: NodeProcess) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", node.port)) == 0


def reason_of_end(node: NodeProcess) -> str:
    """The last line of a node that ended by itself, without success and without a trace of Python."""
    assert node.wait() == 1
    log = node.log.read_text()
    assert "Traceback" not in log
    assert log.count("\nrear: ") + log.startswith("rear: ") == 1
    last = log.splitlines()[-1]
    assert last.startswith("rear: ")
    return last


async def some_contracts(node: NodeProcess) -> None:
    """Contracts in several states."""
    async with Client(node.endpoint) as client:
        kept = [(await client.reserve_flavour(reserve("p-1"))).contract for _ in range(4)]
        await client.purchase_flavour(purchase(kept[0]))
        await client.cancel_contract(cancel(kept[1]))
        await client.reserve_flavour(reserve("q-1", confirm=True))


# -- stopping ----------------------------------------------------------------------------------------------


async def test_sigterm_answers_the_call_under_way_and_leaves_nothing_behind(node: NodeProcess) -> None:
    async with Client(node.endpoint) as client:
        await client.list_flavours(ListFlavoursRequest())
        await freeze(node.nats_pid)  # so that the call cannot be answered before its time
        try:
            call = asyncio.create_task(client.reserve_flavour(reserve("p-1", confirm=True)))
            await asyncio.sleep(0.3)
            assert not call.done()
            node.signal_end()
            await eventually(lambda: not listening(node))
            assert not call.done()
        finally:
            os.kill(node.nats_pid, signal.SIGCONT)
        contract = (await call).contract
    assert await asyncio.to_thread(node.wait) == 0
    assert node.processes() == []
    assert not listening(node)

    node.start()
    async with Client(node.endpoint) as client:
        found = (await client.get_contract(get(contract))).contract
        assert found.state >= CONFIRMED
        (await Ledger.read(client)).check()


async def test_sigterm_under_load_answers_every_call_with_its_outcome_or_that_it_was_not_taken(
    node: NodeProcess,
) -> None:
    requests = [reserve("p-1", cores=0.5) for _ in range(100)]
    async with Client(node.endpoint, patience=0) as client:
        await client.list_flavours(ListFlavoursRequest())
        calls = [asyncio.create_task(client.reserve_flavour(request)) for request in requests]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        node.signal_end()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert await asyncio.to_thread(node.wait) == 0
    node.start()
    async with Client(node.endpoint) as client:
        kept = (await Ledger.read(client)).contracts()
    cut_off = 0
    for request, answer in zip(requests, answers, strict=True):
        contract_id = client.contract_id(node.provider_id, request.request_id)
        if isinstance(answer, CallFailed):
            assert contract_id not in kept, answer
            assert answer.reason in {"NOT_READY", "CAPACITY_EXCEEDED"} or answer.code is grpc.StatusCode.CANCELLED
            cut_off += answer.code is grpc.StatusCode.CANCELLED
        elif isinstance(answer, BaseException):
            raise answer
        else:
            assert answer.contract.contract_id == contract_id
            assert contract_id in kept
    assert cut_off < 10, "what had reached the node is told that it stops"


async def test_sigterm_does_not_wait_for_those_who_follow_the_ledger(node: NodeProcess) -> None:
    async with Client(node.endpoint, patience=0) as client:
        seen = []

        async def follow() -> None:
            async for event in client.events(ReadEventsRequest(follow=True)):
                seen.append(event)

        following = asyncio.create_task(follow())
        await eventually(lambda: len(seen) > 0)
        began = asyncio.get_running_loop().time()
        node.signal_end()
        with pytest.raises(CallFailed) as ended:
            await following
    assert await asyncio.to_thread(node.wait) == 0
    assert asyncio.get_running_loop().time() - began < 5
    assert ended.value.code is grpc.StatusCode.UNAVAILABLE


# -- starting again ----------------------------------------------------------------------------------------


async def test_flavours_from_before_changed_terms_are_no_longer_sold_and_others_still_are(node: NodeProcess) -> None:
    async with Client(node.endpoint, patience=20) as client:
        kept = (await client.reserve_flavour(reserve("p-1"))).contract
        assert node.terminate() == 0
        node.write_inventory([pool("p", cpu=10, price="0.07 EUR"), pool("q", cpu=10)])
        await node.restart()

        with pytest.raises(Refused) as refused:
            await client.reserve_flavour(reserve("p-1"))
        assert (refused.value.code, refused.value.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "FLAVOUR_CHANGED",
        )
        current = refused.value.metadata["current_flavour_id"]
        sold = (await client.reserve_flavour(reserve(current))).contract
        assert sold.HasField("price")
        bought = (await client.purchase_flavour(purchase(kept))).contract
        assert not bought.HasField("price"), "what was reserved keeps its terms"
        await client.reserve_flavour(reserve("q-1"))


async def test_a_pool_that_left_the_inventory_is_not_sold_and_its_contracts_stay(node: NodeProcess) -> None:
    async with Client(node.endpoint, patience=20) as client:
        kept = (await client.reserve_flavour(reserve("q-1", cores=4))).contract
        assert node.terminate() == 0
        node.write_inventory([pool("p", cpu=10)])
        await node.restart()
        with pytest.raises(Refused, match="FLAVOUR_NOT_FOUND"):
            await client.reserve_flavour(reserve("q-1"))
        await client.purchase_flavour(purchase(kept))

        assert node.terminate() == 0
        node.write_inventory([pool("p", cpu=10), pool("q", cpu=12)])
        await node.restart()
        (offer,) = [
            found.flavour
            for found in (await client.list_flavours(ListFlavoursRequest())).flavours
            if found.flavour.pool_id == "q"
        ]
        assert offer.quantities.cpu_millicores == 8 * CORE
        ledger = await Ledger.read(client)
    ledger.check()


def garbage(tables: Path) -> None:
    tables.write_bytes(os.urandom(20_000))


def holes(tables: Path) -> None:
    """The head of the file is as it was, so that it opens."""
    size = tables.stat().st_size
    with tables.open("r+b") as file:
        file.seek(4_096)
        file.write(os.urandom(size - 4_096))


def cut_short(tables: Path) -> None:
    os.truncate(tables, tables.stat().st_size // 2)


@pytest.mark.parametrize("damage", [discard, garbage, holes, cut_short])
async def test_tables_that_are_lost_or_damaged_are_rebuilt_to_the_same_rows(
    node: NodeProcess, tmp_path: Path, damage: object
) -> None:
    await some_contracts(node)
    assert node.terminate() == 0
    before, rebuilt = await digests(node.state, tmp_path)
    assert before == rebuilt
    assert callable(damage)
    damage(node.directory.tables)

    await node.restart()
    async with Client(node.endpoint) as client:
        assert len((await Ledger.read(client)).contracts()) == 5
        await client.reserve_flavour(reserve("p-1"))
    assert node.terminate() == 0
    again, rebuilt = await digests(node.state, tmp_path / "again")
    assert again == rebuilt != before


# -- not starting ------------------------------------------------------------------------------------------


def test_a_node_does_not_start_on_a_port_that_is_taken(node: NodeProcess, new_node: NewNode) -> None:
    second = new_node(pool("p"), name="n2", port=node.port)
    second.spawn()
    assert f"127.0.0.1:{node.port}" in reason_of_end(second)


def test_a_node_does_not_start_where_it_cannot_write(new_node: NewNode) -> None:
    node = new_node(pool("p"))
    node.state.mkdir(mode=0o500)
    launcher: tuple[str, ...] = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may write everywhere, and there is no setpriv")
        launcher = (setpriv, "--bounding-set=-all")
    node.spawn(launcher=launcher)
    reason = reason_of_end(node)
    assert "ermission denied" in reason
    assert str(node.state) in reason


def test_nobody_else_can_read_what_a_node_writes_wherever_that_is(new_node: NewNode) -> None:
    node = new_node(pool("p"))
    node.state.mkdir(mode=0o755)
    node.start()
    node.terminate()

    written = [path for path in node.state.rglob("*") if path.is_file()]
    assert {"tables.sqlite", "fabric.key", "anchor"} <= {path.name for path in written}
    assert [path for path in written if path.stat().st_mode & 0o077] == []


def test_a_node_does_not_start_below_a_file(new_node: NewNode) -> None:
    node = new_node(pool("p"))
    node.state = node.folder / "inventory.yaml" / "state"
    node.spawn()
    assert "inventory.yaml" in reason_of_end(node)


def test_a_node_does_not_start_on_the_state_of_another(node: NodeProcess, new_node: NewNode) -> None:
    assert node.terminate() == 0
    other = new_node(pool("p"), name="n2")
    other.state = node.state
    other.spawn()
    assert "spiffe://system.test/node/n1" in reason_of_end(other)


async def test_a_node_does_not_start_without_the_anchor_of_a_ledger_that_is_not_empty(node: NodeProcess) -> None:
    await some_contracts(node)
    assert node.terminate() == 0
    node.directory.anchor.unlink()
    node.spawn()
    reason = reason_of_end(node)
    assert "anchor" in reason
    assert "rear ledger accept-loss" in reason


async def test_a_node_does_not_start_with_an_anchor_that_is_no_anchor(node: NodeProcess) -> None:
    assert node.terminate() == 0
    node.directory.anchor.write_bytes(os.urandom(8_192))
    node.spawn()
    assert str(node.directory.anchor) in reason_of_end(node)


async def test_a_node_does_not_start_on_a_ledger_that_is_older_than_its_anchor(node: NodeProcess) -> None:
    assert node.terminate() == 0
    copy = node.folder / "old"
    shutil.copytree(node.directory.nats, copy)
    await node.restart()
    await some_contracts(node)
    assert node.terminate() == 0
    shutil.rmtree(node.directory.nats)
    copy.rename(node.directory.nats)
    node.spawn()
    assert "its end is lost" in reason_of_end(node)


def test_tables_of_a_stopped_node_can_be_opened_by_hand(node: NodeProcess) -> None:
    assert node.terminate() == 0
    tables = Tables(node.directory.tables)
    assert tables.counts()["available_resources"] == 2
    tables.close()
