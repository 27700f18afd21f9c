"""A contract's life as its buyer sees it, against a node that others use at the same time."""

from __future__ import annotations

import pytest

from rear.domain.window import HOUR, Instant
from rear.rpc.client import Client
from rear.rpc.refused import Refused
from rear.v1.discovery_service_pb2 import GetFlavourRequest, ListFlavoursRequest
from rear.v1.flavour_pb2 import Flavour, ListedFlavour
from rear.v1.window_pb2 import Window
from rear.wire.values import write_instant
from tests.system.asking import (
    ACTIVE,
    CANCELLED,
    COMPLETED,
    CONFIRMED,
    CORE,
    EXPIRED,
    RESERVED,
    cancel,
    get,
    has_state,
    in_seconds,
    purchase,
    reserve,
)
from tests.system.evidence import Ledger, list_all
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool

POOLS = ("expiring", "agreed", "future", "cancelled", "touching", "lineage", "bought", "dry", "priced")


@pytest.fixture(scope="module")
def node(new_shared_node: NewNode) -> NodeProcess:
    """One node for all: each test has the pool of its name to itself."""
    node = new_shared_node(*(pool(name, price="0.05 EUR" if name == "priced" else "") for name in POOLS))
    node.start()
    return node


async def listed(client: Client, pool_id: str) -> ListedFlavour:
    request = ListFlavoursRequest()
    request.selector.pool_ids.append(pool_id)
    (found,) = (await client.list_flavours(request)).flavours
    return found


async def offered(client: Client, pool_id: str) -> Flavour:
    return (await listed(client, pool_id)).flavour


def window(start: Instant, end: Instant) -> Window:
    made = Window()
    write_instant(made.start, start)
    write_instant(made.end, end)
    return made


async def test_a_reservation_that_nobody_buys_expires_and_a_larger_flavour_is_advertised(node: NodeProcess) -> None:
    async with Client(node.endpoint) as client:
        before = await offered(client, "expiring")
        response = await client.reserve_flavour(reserve(before.flavour_id, cores=6, ttp=0.8))
        assert response.contract.state == RESERVED
        assert 0.5e9 < response.ttp_remaining.ToNanoseconds() <= 0.8e9
        reduced = await offered(client, "expiring")
        assert (reduced.parent_id, reduced.quantities.cpu_millicores) == (before.flavour_id, 4 * CORE)

        ended = await has_state(client, response.contract, EXPIRED)

        assert ended.revision == response.contract.revision + 1
        assert ended.ending.reason
        larger = await offered(client, "expiring")
        assert (larger.parent_id, larger.quantities.cpu_millicores) == (reduced.flavour_id, 10 * CORE)
        await client.reserve_flavour(reserve(larger.flavour_id, cores=10))
        ledger = await Ledger.read(client)
    (event,) = ledger.of("contract_expired", aggregate_id=ended.contract_id)
    assert event.time.ToNanoseconds() == response.contract.purchase_before.ToNanoseconds()
    assert event.time.ToNanoseconds() <= event.recorded_time.ToNanoseconds()


async def test_what_was_agreed_at_once_is_active_from_its_windows_start_to_its_end(node: NodeProcess) -> None:
    start, end = in_seconds(0.7), in_seconds(1.4)
    async with Client(node.endpoint) as client:
        request = reserve("agreed-1", cores=10, start=start, end=end, confirm=True)
        response = await client.reserve_flavour(request)
        assert response.contract.state == CONFIRMED
        assert not response.HasField("ttp_remaining")
        assert not response.contract.HasField("purchase_before")
        await has_state(client, response.contract, ACTIVE)
        await has_state(client, response.contract, COMPLETED)
        assert (await offered(client, "agreed")).quantities.cpu_millicores == 10 * CORE
        ledger = await Ledger.read(client)
    lived = ledger.of("contract_activated", "contract_completed", aggregate_id=response.contract.contract_id)
    assert [event.time.ToNanoseconds() for event in lived] == [start, end]
    (released,) = ledger.of("allocation_released", aggregate_id=response.contract.allocation_id)
    assert released.time.ToNanoseconds() >= end


async def test_a_future_window_blocks_nothing_before_it_and_everything_in_it(node: NodeProcess) -> None:
    start = in_seconds(48 * 3_600)
    end = Instant(start + HOUR)
    async with Client(node.endpoint) as client:
        await client.reserve_flavour(reserve("future-1", cores=7, start=start, end=end, confirm=True))

        assert (await offered(client, "future")).flavour_id == "future-1", "the default lease ends before it"
        request = GetFlavourRequest(flavour_id="future-1", window=window(start, end))
        assert (await client.get_flavour(request)).flavour.available.cpu_millicores == 3 * CORE
        with pytest.raises(Refused, match="CAPACITY_EXCEEDED") as refused:
            await client.reserve_flavour(reserve("future-1", cores=4, start=start, end=end))
        offer = refused.value.counter_offer
        assert offer is not None
        assert offer.most_in_window.quantities.cpu_millicores == 3 * CORE
        assert offer.earliest_window == window(end, Instant(end + HOUR))
        await client.reserve_flavour(reserve("future-1", cores=3, start=start, end=end))
        await client.reserve_flavour(reserve("future-1", cores=10, end=start))


async def test_a_cancelled_contract_gives_its_capacity_back_and_stays_as_it_ended(node: NodeProcess) -> None:
    async with Client(node.endpoint) as client:
        contract = (await client.reserve_flavour(reserve("cancelled-1", cores=10, confirm=True))).contract
        request = cancel(contract)
        request.reason = "plans have changed"
        ended = (await client.cancel_contract(request)).contract

        assert ended.state == CANCELLED
        assert (ended.ending.actor, ended.ending.reason) == (ended.buyer_id, "plans have changed")
        assert (await offered(client, "cancelled")).quantities.cpu_millicores == 10 * CORE
        again = (await client.cancel_contract(cancel(contract))).contract
        assert again == ended, "one that has ended already is OK, as it ended"
        with pytest.raises(Refused, match="WRONG_STATE"):
            await client.purchase_flavour(purchase(ended))
        assert (await client.get_contract(get(contract))).contract == ended


async def test_windows_that_touch_do_not_collide_and_one_nanosecond_of_overlap_does(node: NodeProcess) -> None:
    first = in_seconds(3_600)
    second = Instant(first + HOUR)
    async with Client(node.endpoint) as client:
        await client.reserve_flavour(reserve("touching-1", cores=10, start=first, end=second))
        await client.reserve_flavour(reserve("touching-1", cores=10, start=second, end=Instant(second + HOUR)))
        await client.reserve_flavour(reserve("touching-1", cores=10, end=first))
        for start, end in ((first - 1, first), (second + HOUR - 1, second + 2 * HOUR)):
            if start < first:
                end = first + 1
            with pytest.raises(Refused, match="CAPACITY_EXCEEDED"):
                await client.reserve_flavour(reserve("touching-1", cores=0.5, start=Instant(start), end=Instant(end)))


async def test_an_older_flavour_of_a_pool_is_sold_as_long_as_the_partition_fits(node: NodeProcess) -> None:
    async with Client(node.endpoint) as client:
        for sold in range(3):
            contract = (await client.reserve_flavour(reserve("lineage-1", cores=3))).contract
            assert contract.flavour_id == "lineage-1"
            assert (await offered(client, "lineage")).flavour_id == f"lineage-{sold + 2}"
        with pytest.raises(Refused, match="CAPACITY_EXCEEDED"):
            await client.reserve_flavour(reserve("lineage-1", cores=3))
        with pytest.raises(Refused, match="FLAVOUR_NOT_FOUND"):
            await client.reserve_flavour(reserve("lineage-5", cores=1))
        with pytest.raises(Refused, match="FLAVOUR_NOT_FOUND") as retired:
            await client.get_flavour(GetFlavourRequest(flavour_id="lineage-1"))
        assert retired.value.metadata["current_flavour_id"] == "lineage-4"


async def test_a_purchase_is_done_once_and_the_contract_outlives_its_time_to_purchase(node: NodeProcess) -> None:
    async with Client(node.endpoint) as client:
        start = in_seconds(600)
        reserved = (await client.reserve_flavour(reserve("bought-1", start=start, ttp=1))).contract
        request = purchase(reserved)
        bought = (await client.purchase_flavour(request)).contract
        assert (bought.state, bought.revision) == (CONFIRMED, reserved.revision + 1)
        assert (await client.purchase_flavour(request)).contract == bought
        short = (await client.reserve_flavour(reserve("bought-1", ttp=1.2))).contract
        await has_state(client, short, EXPIRED)  # its time to purchase ends after that of the other
        assert (await client.get_contract(get(bought))).contract.state == CONFIRMED


async def test_a_question_only_says_what_would_happen(node: NodeProcess) -> None:
    async with Client(node.endpoint) as client:
        before = await offered(client, "dry")
        request = reserve("dry-1", cores=10)
        request.validate_only = True
        response = await client.reserve_flavour(request)
        assert response.contract.state == RESERVED
        assert await offered(client, "dry") == before
        assert await list_all(client, pool_id="dry") == []
        request.validate_only = False
        real = (await client.reserve_flavour(request)).contract
        assert real.contract_id == response.contract.contract_id
        question = cancel(real)
        question.validate_only = True
        assert (await client.cancel_contract(question)).contract.state == CANCELLED
        assert (await client.get_contract(get(real))).contract == real


async def test_the_price_is_the_one_that_was_listed_and_a_maximum_is_kept(node: NodeProcess) -> None:
    end = in_seconds(7_200)
    start = Instant(end - HOUR)
    async with Client(node.endpoint) as client:
        request = reserve("priced-1", cores=4, start=start, end=end)
        request.max_price.currency_code = "EUR"
        request.max_price.nanos = 199_999_999
        with pytest.raises(Refused, match="PRICE_ABOVE_MAXIMUM"):
            await client.reserve_flavour(request)
        request.max_price.nanos += 1
        contract = (await client.reserve_flavour(request)).contract
    assert (contract.price.currency_code, contract.price.units, contract.price.nanos) == ("EUR", 0, 200_000_000)
