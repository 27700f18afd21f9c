"""Contracts watched and revoked at real nodes: restarts, drains, and ends that cross."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from rear.command.failures import INTERRUPTED
from rear.rpc.client import Client
from rear.rpc.refused import Refused, Unreachable
from rear.v1 import watch_pb2
from rear.v1.contract_pb2 import Contract
from rear.v1.contract_service_pb2 import WatchContractsRequest
from tests.checker import Call, RecordingClient, check
from tests.checker.lives import LIVE
from tests.system.asking import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    REVOKED,
    cancel,
    get,
    has_state,
    in_seconds,
    reserve,
    revoke,
)
from tests.system.evidence import Ledger, agreeing
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.system.watcher import watching


@pytest.fixture
def node(new_node: NewNode) -> NodeProcess:
    """A node that serves, and comes back to its port."""
    node = new_node(pool("a", cpu=400), port=fixed_port())
    node.start()
    return node


async def test_a_watcher_outlives_kills_and_misses_nothing(node: NodeProcess) -> None:
    async with watching(node.endpoint) as watcher, Client(node.endpoint, patience=20) as client:
        for turn in range(2):
            expires = (await client.reserve_flavour(reserve("a-1", ttp=0.5))).contract
            lives = (await client.reserve_flavour(reserve("a-1", confirm=True))).contract
            if turn:
                await client.revoke_contract(revoke(lives))
            node.kill()
            await asyncio.sleep(0.5)  # it falls due while nobody is there
            await node.restart()
            await has_state(client, expires, EXPIRED)
        await watcher.agrees(client)
        assert watcher.heard[watch_pb2.WATCH_KIND_RESUMED] >= 1
        assert watcher.heard[watch_pb2.WATCH_KIND_BEGUN] == 1
        assert watcher.heard[watch_pb2.WATCH_KIND_RESET] == 0


async def test_a_node_that_stops_tells_its_watchers_so_and_does_not_wait_for_them(node: NodeProcess) -> None:
    async with Client(node.endpoint, patience=0) as client:
        messages = client.watch_contracts(WatchContractsRequest())
        while (await anext(messages)).kind != watch_pb2.WATCH_KIND_SYNCED:
            pass
        ended = asyncio.ensure_future(anext(messages))
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(node.terminate))
        with pytest.raises(Unreachable) as told:
            await ended
        assert await stopping == 0
        assert time.monotonic() - began < 5
    assert (told.value.code, told.value.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_READY")


async def test_a_revocation_gives_the_capacity_back_and_says_why(node: NodeProcess) -> None:
    async with Client(node.endpoint) as client:
        contract = (await client.reserve_flavour(reserve("a-1", cores=400, confirm=True))).contract
        request = revoke(contract, reason="the machine is broken")
        question = revoke(contract)
        question.validate_only = True
        assert (await client.revoke_contract(question)).contract.state == REVOKED
        assert (await client.get_contract(get(contract))).contract.state in LIVE

        first = await client.revoke_contract(request)
        again = await client.revoke_contract(request)

        assert (first.contract.state, first.contract.ending.reason) == (REVOKED, "the machine is broken")
        assert again.contract == first.contract
        assert (await client.revoke_contract(revoke(contract))).contract == first.contract
        assert (await client.cancel_contract(cancel(contract))).contract == first.contract
        await client.reserve_flavour(reserve("a-1", cores=400))
        for wrong in (
            revoke(contract, reason=""),
            revoke(contract, reason="x" * 257),
            revoke(contract, request_id="/"),
        ):
            with pytest.raises(Refused, match="INVALID_FIELD"):
                await client.revoke_contract(wrong)
        other = revoke(contract, request_id=request.request_id, reason="another")
        with pytest.raises(Refused, match="REQUEST_ID_REUSED"):
            await client.revoke_contract(other)
        ledger = await Ledger.read(client)
    ledger.check()
    assert len(ledger.of("contract_revoked")) == 1


async def test_the_command_follows_contracts_line_by_line(node: NodeProcess) -> None:
    rear = str(Path(sys.executable).parent / "rear")
    watching = await asyncio.create_subprocess_exec(
        *(rear, "--endpoint", node.endpoint, "--json", "contracts", "watch"), stdout=subprocess.PIPE
    )
    plain = await asyncio.create_subprocess_exec(
        *(rear, "--endpoint", node.endpoint, "contracts", "watch"), stdout=subprocess.PIPE
    )
    assert watching.stdout is not None
    assert plain.stdout is not None

    async def told() -> dict[str, Any]:
        assert watching.stdout is not None
        line: dict[str, Any] = json.loads(await watching.stdout.readline())
        return line

    async with asyncio.timeout(30), Client(node.endpoint) as client:
        assert [(await told())["kind"] for _ in range(2)] == ["WATCH_KIND_BEGUN", "WATCH_KIND_SYNCED"]
        contract = (await client.reserve_flavour(reserve("a-1"))).contract
        assert (await told())["contracts"][0]["state"] == "CONTRACT_STATE_RESERVED"
        revoking = await asyncio.create_subprocess_exec(
            *(rear, "--endpoint", node.endpoint, "contracts", "revoke", contract.contract_id, "--reason", "broken"),
            stdout=subprocess.PIPE,
        )
        said, _ = await revoking.communicate()
        assert (revoking.returncode, b"REVOKED" in said) == (0, True)
        ended = (await told())["contracts"][0]
        assert (ended["state"], ended["ending"]["reason"]) == ("CONTRACT_STATE_REVOKED", "broken")
        while contract.contract_id not in (line := (await plain.stdout.readline()).decode()) or "revoked" not in line:
            assert line
        assert "broken" in line
        for one in (watching, plain):
            one.send_signal(signal.SIGINT)
            assert await one.wait() == INTERRUPTED


async def test_a_cancel_and_a_revocation_that_cross_come_to_one_end(node: NodeProcess, seed: str) -> None:
    """Before and after the window's start and end, and where the time to purchase runs out."""
    chance, calls = random.Random(seed), list[Call]()
    moment, step = in_seconds(1.5), 0.35

    async with (
        watching(node.endpoint) as watcher,
        RecordingClient(node.endpoint, calls, name="buyer") as buyer,
        RecordingClient(node.endpoint, calls, name="seller") as seller,
    ):

        async def cross(contract: Contract, edge: int) -> tuple[Contract, Contract]:
            """Both at once, or nearly so, somewhere near an edge."""
            at = (edge - time.time_ns()) / 1e9 + chance.uniform(-step, step)
            apart = chance.choice((0.0, 0.0, 0.002, -0.002, 0.02, -0.02))
            await asyncio.sleep(max(0.0, at))
            cancelling, revoking = cancel(contract), revoke(contract)

            async def cancels() -> Contract:
                await asyncio.sleep(max(0.0, apart))
                return (await buyer.cancel_contract(cancelling)).contract

            async def revokes() -> Contract:
                await asyncio.sleep(max(0.0, -apart))
                return (await seller.revoke_contract(revoking)).contract

            ended = await asyncio.gather(cancels(), revokes())
            again = await asyncio.gather(seller.revoke_contract(revoking), buyer.cancel_contract(cancelling))
            assert [one.contract for one in again] == [ended[0], ended[0]]
            return ended[0], ended[1]

        async def crossing(number: int) -> tuple[Contract, Contract]:
            edge, other = moment, in_seconds(3_600)
            match number % 3:
                case 0:  # the window starts
                    request = reserve("a-1", start=moment, end=other, confirm=True)
                case 1:  # the window ends
                    request = reserve("a-1", end=moment, confirm=True)
                case _:  # the time to purchase runs out
                    request = reserve("a-1", start=other, end=in_seconds(7_200), ttp=(moment - time.time_ns()) / 1e9)
            contract = (await buyer.reserve_flavour(request)).contract
            return await cross(contract, edge)

        ended = await asyncio.gather(*(crossing(number) for number in range(60)))
        ledger, listed = await agreeing(buyer)
        await watcher.agrees(buyer)
    final = {contract.contract_id: contract for contract in listed}
    assert all(told == (final[told[0].contract_id],) * 2 for told in ended)
    states = {contract.state for contract in final.values()}
    print(sorted(contract.state for contract in final.values()))
    assert states >= {CANCELLED, REVOKED}
    assert states <= {CANCELLED, REVOKED, COMPLETED, EXPIRED}
    print(check(calls, ledger.recorded))
    ledger.check()
    ledger.check_request_ids()
    assert len(ledger.of("allocation_released")) == len(ended)
