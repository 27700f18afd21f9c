"""Many buyers at once for little: as many OKs as there is room for, and a counter-offer for everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, TypeVar

import grpc
import pytest

from rear.rpc.client import Client
from rear.rpc.refused import Refused
from rear.v1.contract_service_pb2 import ReserveFlavourRequest, ReserveFlavourResponse
from rear.v1.discovery_service_pb2 import ListFlavoursRequest
from tests.system.asking import CONFIRMED, CORE, RESERVED, cancel, in_seconds, purchase, reserve
from tests.system.evidence import Ledger, agreeing
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool

BUYERS: Final = 64

Answer = TypeVar("Answer")


@pytest.fixture
def node(new_node: NewNode) -> NodeProcess:
    node = new_node(pool("ten", cpu=10), pool("gpus", cpu=100, gpus=5))
    node.start()
    return node


async def at_once(
    endpoint: str, calls: Sequence[Callable[[Client], Awaitable[Answer]]]
) -> list[Answer | BaseException]:
    """All calls together, each with a client of its own that has had an answer before the first is sent."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(endpoint, timeout=30)) for _ in calls]
        await asyncio.gather(*(client.list_flavours(ListFlavoursRequest()) for client in clients))
        return await asyncio.gather(
            *(call(client) for call, client in zip(calls, clients, strict=True)), return_exceptions=True
        )


def reserving(request: ReserveFlavourRequest) -> Callable[[Client], Awaitable[ReserveFlavourResponse]]:
    return lambda client: client.reserve_flavour(request)


def sort_out(
    answers: Sequence[ReserveFlavourResponse | BaseException],
) -> tuple[list[ReserveFlavourResponse], list[Refused]]:
    """The OKs and the refusals; anything else is raised."""
    granted, refused = [], []
    for answer in answers:
        if isinstance(answer, Refused):
            refused.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            granted.append(answer)
    return granted, refused


@pytest.mark.parametrize("confirm", [False, True], ids=["reserved", "agreed at once"])
async def test_ten_of_64_buyers_get_the_ten_cores_and_54_hear_what_would_fit(
    node: NodeProcess, *, confirm: bool
) -> None:
    end = in_seconds(3_600)
    granted, refused = sort_out(
        await at_once(node.endpoint, [reserving(reserve("ten-1", end=end, confirm=confirm)) for _ in range(BUYERS)])
    )

    assert (len(granted), len(refused)) == (10, 54)
    assert {answer.contract.state for answer in granted} <= ({CONFIRMED} if confirm else {RESERVED})
    for refusal in refused:
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CAPACITY_EXCEEDED")
        offer = refusal.counter_offer
        assert offer is not None
        assert not offer.HasField("most_in_window"), "nothing is left in the window"
        assert offer.earliest_window.start.ToNanoseconds() == end, "the first hold to end is all of them"
        assert offer.flavour_id.startswith("ten-")

    async with Client(node.endpoint) as client:
        ledger, listed = await agreeing(client)
    ledger.check()
    assert {found.contract_id for found in listed} == {answer.contract.contract_id for answer in granted}
    assert len(ledger.of("contract_reserved")) == len(ledger.of("allocation_created")) == 10
    assert len(ledger.of("pool_reserved", aggregate_id="ten")) == 10


async def test_fractions_of_devices_are_never_added_up_to_a_device_that_is_not_there(node: NodeProcess) -> None:
    def share() -> ReserveFlavourRequest:
        request = reserve("gpus-1", cores=0.5)
        request.partition.units.add(unit_class="gpu", count=1, millis_each=400)
        return request

    granted, refused = sort_out(await at_once(node.endpoint, [reserving(share()) for _ in range(BUYERS)]))

    assert (len(granted), len(refused)) == (10, 54), "two of 400 on each of five; 200 stay free on each"
    assert all(refusal.counter_offer is not None for refusal in refused)
    async with Client(node.endpoint) as client:
        (await Ledger.read(client)).check()


async def test_one_request_sent_64_times_at_once_has_the_effect_of_one(node: NodeProcess) -> None:
    request = reserve("ten-1", cores=10)
    granted, refused = sort_out(await at_once(node.endpoint, [reserving(request)] * BUYERS))

    assert refused == []
    assert len({answer.contract.contract_id for answer in granted}) == 1

    contract = granted[0].contract
    bought = purchase(contract)
    answers = await at_once(node.endpoint, [lambda client: client.purchase_flavour(bought)] * BUYERS)
    assert {type(answer).__name__ for answer in answers} == {"PurchaseFlavourResponse"}
    async with Client(node.endpoint) as client:
        ledger = await Ledger.read(client)
    ledger.check()
    ledger.check_request_ids()
    assert len(ledger.of("contract_reserved")) == len(ledger.of("contract_purchased")) == 1


async def test_the_last_core_goes_to_one_of_64_and_comes_back_when_it_is_cancelled(node: NodeProcess) -> None:
    async with Client(node.endpoint) as client:
        await client.reserve_flavour(reserve("ten-1", cores=9))
        granted, refused = sort_out(await at_once(node.endpoint, [reserving(reserve("ten-1")) for _ in range(BUYERS)]))
        assert (len(granted), len(refused)) == (1, 63)
        winner = granted[0].contract

        await client.cancel_contract(cancel(winner))
        again = await client.reserve_flavour(reserve(winner.flavour_id))
        assert again.contract.partition.quantities.cpu_millicores == CORE
        (await Ledger.read(client)).check()
