"""Intents between nodes of one domain, from handing in to resources that are active on both sides."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Final

import grpc
import pytest
from google.longrunning import operations_pb2 as operations_pb
from google.rpc import code_pb2

from rear.rpc.client import Client
from rear.v1.contract_pb2 import ContractState
from rear.v1.discovery_service_pb2 import ListFlavoursRequest
from rear.v1.intent_pb2 import Component
from rear.v1.service_request_pb2 import ComponentState, ServiceRequest
from tests.checker.lives import ACTIVE
from tests.system.asking import CORE, reserve
from tests.system.fixtures import NewNode
from tests.system.intents import CANCELLED, READY, Owner, component, intent
from tests.system.neighbourhood import Neighbourhood
from tests.system.node_process import NodeProcess, pool
from tests.system.relay import Relay, Way
from tests.waiting import freeze

EVERYTHING: Final = 20
"""Cores of a provider."""


def response_of(operation: operations_pb.Operation) -> ServiceRequest:
    found = ServiceRequest()
    assert operation.response.Unpack(found), f"it has no response: {operation.error}"
    return found


@pytest.fixture(scope="module")
def market(new_shared_node: NewNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbourhood]:
    """A consumer of four cores, a cheap provider and a dear one of twenty each."""
    made = Neighbourhood.of(
        new_shared_node,
        [pool("own", cpu=4)],
        [pool("cheap", cpu=EVERYTHING, price="0.05 EUR")],
        [pool("dear", cpu=EVERYTHING, price="0.50 EUR")],
    )
    asyncio.run(made.start())
    yield made
    asyncio.run(made.nothing_left(tmp_path_factory.mktemp("rebuilt")))


@pytest.fixture
async def neighbours(market: Neighbourhood) -> AsyncIterator[Neighbourhood]:
    """They have everything again when a test is over."""
    yield market
    async with Owner(market.endpoint) as owner:
        for operation in await owner.operations():
            await owner.cancel(operation.name.removeprefix("operations/"))
    await market.buy_nothing()
    await market.agreed()


async def test_what_fits_here_is_held_here_and_what_does_not_is_bought(neighbours: Neighbourhood) -> None:
    async with Owner(neighbours.endpoint) as owner:
        key = await owner.submit(intent(component("db", cores=2), component("web", cores=8)))
        found = response_of(await owner.wait(key))
        assert found.state == READY
        db, web = found.components
        assert (db.WhichOneof("placement"), web.WhichOneof("placement")) == ("local", "remote")
        assert db.local.pool_id == "own"
        assert {db.state, web.state} == {ComponentState.COMPONENT_STATE_READY}
        assert web.remote.contract_state == ContractState.CONTRACT_STATE_ACTIVE
        assert web.remote.provider_id == neighbours.provider.provider_id, "the cheap one is chosen"

        proof = await neighbours.agreed()
        assert proof.buyer.local == {db.local.hold_id: "own"}
        (bought,) = proof.buyer.of(key)
        assert (bought.contract_id, bought.copy and bought.copy.state) == (web.remote.contract_id, ACTIVE)
        assert [node.state for node in proof.buyer.nodes.values()] == ["ACTIVE"]

        assert (await owner.cancel(key)).state == CANCELLED
        proof = await neighbours.agreed()
        assert not proof.buyer.local
        assert not [one for one in proof.buyer.of(key) if one.live]


async def test_intents_at_once_get_a_contract_and_a_peering_each_with_the_same_provider(
    neighbours: Neighbourhood,
) -> None:
    async with Owner(neighbours.endpoint) as owner:
        keys = await asyncio.gather(*(owner.submit(intent(component(cores=5))) for _ in range(3)))
        found = [response_of(one) for one in await asyncio.gather(*(owner.wait(key) for key in keys))]
        assert {one.state for one in found} == {READY}
        proof = await neighbours.agreed()
    contracts = {one.components[0].remote.contract_id for one in found}
    assert len(contracts) == 3
    assert {one.components[0].remote.provider_id for one in found} == {neighbours.provider.provider_id}
    seller = proof.sellers[neighbours.provider.provider_id]
    assert {key for key, seen in seller.contracts.items() if seen.newest.state == ACTIVE} == contracts
    peered = proof.ledgers[neighbours.provider.provider_id].of("allocation_peered")
    assert {one.subject.rpartition(".")[2] for one in peered} >= {f"{key}-provider" for key in contracts}


async def sold_meanwhile(
    neighbours: Neighbourhood, owner: Owner, *sold: NodeProcess, leave: int = 0, wanted: Component | None = None
) -> str:
    """Hands in an intent; all but `leave` cores is sold to others once providers have answered."""
    consumer = neighbours.failpoints[neighbours.consumer.name]
    consumer.arm("orchestrator.asked=stop")
    key = await owner.submit(intent(wanted or component(cores=8)))
    await consumer.struck("orchestrator.asked", "stop")
    consumer.disarm()
    for provider in sold:
        async with Client(provider.endpoint) as client:
            (listed,) = (await client.list_flavours(ListFlavoursRequest())).flavours
            wish = reserve(listed.flavour.flavour_id, cores=EVERYTHING - leave, confirm=True)
            neighbours.foreign[(await client.reserve_flavour(wish)).contract.contract_id] = provider
    consumer.go_on()
    return key


async def test_the_next_offer_is_taken_where_the_best_was_sold_in_the_meantime(neighbours: Neighbourhood) -> None:
    async with Owner(neighbours.endpoint) as owner:
        key = await sold_meanwhile(neighbours, owner, neighbours.provider)
        found = response_of(await owner.wait(key))
        (web,) = found.components
        assert web.remote.provider_id == neighbours.providers[1].provider_id
        (refusal,) = web.refusals
        assert (refusal.provider_id, refusal.reason) == (neighbours.provider.provider_id, "CAPACITY_EXCEEDED")
        assert refusal.HasField("counter_offer")
        await neighbours.agreed()


async def test_an_intent_fails_with_the_counter_offers_that_were_heard_where_all_is_gone(
    neighbours: Neighbourhood,
) -> None:
    async with Owner(neighbours.endpoint) as owner:
        key = await sold_meanwhile(neighbours, owner, *neighbours.providers)
        operation = await owner.wait(key)
        assert operation.WhichOneof("result") == "error"
        (web,) = (await owner.get(key)).components
        assert neighbours.provider.provider_id in {one.provider_id for one in web.refusals}
        for refusal in web.refusals:
            assert refusal.counter_offer.earliest_window.start.seconds > 0, f"nothing is offered: {refusal}"
        proof = await neighbours.agreed()
        assert not [one for one in proof.buyer.of(key) if one.live]


async def test_less_is_taken_where_that_is_enough_and_nobody_has_all(neighbours: Neighbourhood) -> None:
    async with Owner(neighbours.endpoint) as owner:
        key = await sold_meanwhile(
            neighbours, owner, *neighbours.providers, leave=6, wanted=component(cores=8, least=3)
        )
        found = response_of(await owner.wait(key))
        (web,) = found.components
        assert web.remote.partition.quantities.cpu_millicores == 6 * CORE
        assert web.refusals
        await neighbours.agreed()


async def test_who_does_not_answer_is_named_and_the_others_are_used(neighbours: Neighbourhood) -> None:
    good, frozen = neighbours.providers
    assert neighbours.consumer.terminate() == 0
    options = neighbours.consumer.options
    async with Relay(lambda: good.port) as relay:
        neighbours.introduce(f"127.0.0.1:{relay.port}")
        await neighbours.start()
        neighbours.consumer.options = options
        await freeze(frozen.pid)
        try:
            async with relay.holding(Way.BOTH), Owner(neighbours.endpoint) as owner:
                key = await owner.submit(intent(component(cores=8)))
                found = response_of(await owner.wait(key))
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        (web,) = found.components
        assert web.remote.provider_id == good.provider_id
        answered = {one.endpoint: one.status.code for one in web.answers}
        assert answered.pop(good.endpoint) == 0
        assert set(answered) == {frozen.endpoint, f"127.0.0.1:{relay.port}"}
        assert set(answered.values()) <= {code_pb2.DEADLINE_EXCEEDED, code_pb2.UNAVAILABLE}
        await neighbours.agreed()
    assert neighbours.consumer.terminate() == 0
    await neighbours.start()


async def test_operations_survive_restarts(neighbours: Neighbourhood) -> None:
    async with Owner(neighbours.endpoint) as owner:
        ready, given_up, forgotten = [await owner.submit(intent(component(cores=5 + n))) for n in range(3)]
        before = [response_of(await owner.wait(key)) for key in (ready, given_up, forgotten)]
        await owner.cancel_operation(ready)  # too late: it is done, and stays so
        await owner.cancel(given_up)
        await owner.delete_operation(forgotten)
        await neighbours.agreed()
        neighbours.consumer.kill()
        await neighbours.start()

        listed = {one.name.removeprefix("operations/"): one for one in await owner.operations()}
        assert {ready, given_up} <= set(listed)
        assert forgotten not in listed
        assert response_of(listed[ready]) == before[0]
        assert response_of(await owner.wait(ready)) == before[0]
        assert (await owner.get(ready)).state == READY
        assert (await owner.get(given_up)).state == CANCELLED
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await owner.operation(forgotten)
        assert gone.value.code() == grpc.StatusCode.NOT_FOUND

        assert {(await owner.cancel(key)).state for key in (ready, forgotten)} == {CANCELLED}
        proof = await neighbours.agreed()
        assert not [one for key in (ready, given_up, forgotten) for one in proof.buyer.of(key) if one.live]
