"""The Node Orchestrator over a real ledger, with a seller that has one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodes.orchestration.orchestrator import SEARCH_FOR
from rear.domain.allocation import AllocationState
from rear.domain.fulfilment import NOTHING_FITS, UNANSWERED
from rear.domain.intent import Agreement
from rear.domain.lifecycle import ContractState
from rear.domain.service_request import RequestState
from rear.domain.window import HOUR, SECOND, AskedWindow, Duration, after
from rear.ledger.connection import Connection
from tests.application import Application, sold
from tests.buyer import SellerInMemory
from tests.faulty_stream import FaultyStream
from tests.fulfilling import component
from tests.seller import T0, Seller, Stock, cpus, divisible, wish
from tests.waiting import eventually

PATIENCE = Duration(5 * SECOND)
PERMISSION_DENIED = 7


@pytest.fixture
async def far(seller: Seller) -> AsyncIterator[Seller]:
    """A seller with two machines of 64 cores that keeps its time."""
    await seller.pools.reconcile([Stock(name, divisible(), cpus(64_000).quantities) for name in ("big-1", "big-2")])
    seller.timekeeper.start()
    yield seller
    await seller.timekeeper.stop()


@pytest.fixture
async def node(connection: Connection, tmp_path: Path, far: Seller) -> AsyncIterator[Application]:
    """A node with one machine of 4 cores."""
    ledger = FaultyStream(connection, "n2")
    await ledger.ensure()
    made = Application(ledger, tmp_path / "buyer", SellerInMemory(far), far.clock, PATIENCE)
    await made.open()
    await made.pools.reconcile([Stock("small", divisible(), cpus(4_000).quantities)])
    yield made
    await made.close()


async def test_what_fits_here_is_held_and_the_rest_is_bought(node: Application, far: Seller) -> None:
    key = await node.submit(component("web", 3_000), component("big", 40_000))

    await eventually(lambda: node.reached(key) == "READY")

    assert [hold.quantities for hold in node.local_holds()] == [cpus(3_000).quantities]
    assert [contract.partition for contract in sold(far)] == [cpus(40_000)]
    assert [one.state for one in node.virtual_nodes()] == [AllocationState.ACTIVE]
    assert node.orchestrator.trouble is None


@pytest.mark.parametrize("agreement", Agreement)
async def test_several_requests_at_once_get_a_contract_each(
    node: Application, far: Seller, agreement: Agreement
) -> None:
    keys = await asyncio.gather(*(node.submit(component("big", 20_000), agreement=agreement) for _ in range(3)))

    await eventually(lambda: all(node.reached(key) == "READY" for key in keys))

    assert len(sold(far)) == 3
    assert len({one.contract_id for one in node.virtual_nodes()}) == 3


async def test_what_was_sold_in_the_meantime_is_got_from_the_next(node: Application, far: Seller) -> None:
    async def snatch(asked: str) -> None:
        if asked == "reserve" and not sold(far):
            await far.reserve("other", wish("other", cpus(60_000), "big-1-1"))

    assert isinstance(node.sellers, SellerInMemory)
    node.sellers.before = snatch
    key = await node.submit(component("big", 40_000))

    await eventually(lambda: node.reached(key) == "READY")

    run = node.request(key).components[0]
    assert [attempt.refused for attempt in run.attempts] == [True, False]
    assert {contract.pool_id for contract in sold(far)} == {"big-1", "big-2"}


async def test_where_all_is_gone_the_request_ends_with_what_was_offered_instead(node: Application, far: Seller) -> None:
    for name in ("big-1", "big-2"):
        await far.reserve(name, wish(name, cpus(60_000), f"{name}-1"))

    key = await node.submit(component("web", 3_000), component("big", 40_000))
    await eventually(lambda: node.reached(key) == "FAILED")

    request = node.request(key)
    assert request.failure is not None
    assert request.failure.reason == NOTHING_FITS
    offers = [refusal.counter_offer for refusal in request.run("big").refusals]
    assert [offer.most_in_window for offer in offers if offer is not None] == [cpus(4_000), cpus(4_000)]
    await eventually(lambda: not node.local_holds())


async def test_a_seller_that_is_silent_is_given_up_and_what_it_may_hold_is_cancelled(
    node: Application, far: Seller
) -> None:
    assert isinstance(node.sellers, SellerInMemory)
    held_up = asyncio.Event()

    async def hang(asked: str) -> None:
        if not held_up.is_set() and asked == "reserve":
            held_up.set()
            await asyncio.Event().wait()

    node.sellers.before = hang
    key = await node.submit(component("web", 3_000), component("big", 40_000))
    await held_up.wait()
    far.clock.at = after(far.clock.at, PATIENCE)

    await eventually(lambda: node.reached(key) == "FAILED")

    request = node.request(key)
    assert [refusal.reason for refusal in request.run("big").refusals] == [UNANSWERED]
    assert request.open  # until it is known that the seller holds nothing
    await eventually(lambda: node.local_holds() == [])
    await node.drop()  # which ends the call that hangs
    await node.open()
    await eventually(lambda: not node.request(key).open)
    assert sold(far) == []
    assert node.virtual_nodes() == []


async def test_a_cancelled_request_gives_everything_back(node: Application, far: Seller) -> None:
    key = await node.submit(component("web", 3_000), component("big", 40_000))
    await eventually(lambda: node.reached(key) == "READY")

    await node.give_up(key)

    await eventually(lambda: not node.request(key).open)
    assert sold(far) == []
    assert node.local_holds() == []
    assert node.virtual_nodes() == []
    assert node.request(key).state is RequestState.CANCELLED


async def test_a_request_that_is_cancelled_while_it_searches_gives_back_at_once(node: Application) -> None:
    node.finds.answered.clear()
    key = await node.submit(component("web", 3_000), component("big", 40_000))
    await eventually(lambda: node.finds.searches == 1 and len(node.local_holds()) == 1)

    await node.give_up(key)

    await eventually(lambda: node.local_holds() == [] and not node.request(key).open)
    assert not node.finds.answered.is_set()
    assert node.orchestrator.trouble is None


async def test_time_ends_what_it_began(node: Application, far: Seller) -> None:
    window = AskedWindow(after(T0, HOUR), None, HOUR)
    key = await node.submit(component("web", 3_000, window=window), component("big", 40_000, window=window))
    await eventually(lambda: [one.state for one in sold(far)] == [ContractState.CONFIRMED])
    await eventually(lambda: any(one.peered for one in node.virtual_nodes()))
    assert node.reached(key) in ("", "IN_PROGRESS")

    node.clock.at = after(T0, HOUR)
    await eventually(lambda: node.reached(key) == "READY")
    node.clock.at = after(T0, 2 * HOUR)

    await eventually(lambda: node.reached(key) == "COMPLETED")
    assert node.local_holds() == []
    assert node.virtual_nodes() == []


async def test_silent_neighbours_are_asked_again_for_about_one_deadline(node: Application, far: Seller) -> None:
    node.finds.silent = True
    key = await node.submit(component("big", 40_000))
    await eventually(lambda: node.finds.searches >= 2)
    assert node.request(key).live

    node.clock.at = after(node.clock.at, SEARCH_FOR)

    await eventually(lambda: node.reached(key) == "FAILED")
    assert node.request(key).version == 4, "they said the same each time, which is recorded once"
    failure = node.request(key).failure
    assert failure is not None
    assert "10.0.0.7:7000 (no answer within 2 s)" in failure.message


async def test_a_neighbour_that_will_not_say_is_not_asked_again(node: Application, far: Seller) -> None:
    node.finds.silent, node.finds.code = True, PERMISSION_DENIED
    key = await node.submit(component("big", 40_000))

    await eventually(lambda: node.reached(key) == "FAILED")

    assert node.finds.searches == 1
    failure = node.request(key).failure
    assert failure is not None
    assert "refused by 10.0.0.7:7000 (no answer" in failure.message


@pytest.mark.parametrize("kills", [(1,), (2,), (3,), (4,), (5,), (6,), (7,), (1, 1, 1), (2, 2, 2), (3, 3, 3)])
async def test_killed_after_any_commit_it_goes_on_and_nothing_is_reserved_twice(
    node: Application, far: Seller, kills: tuple[int, ...]
) -> None:
    key = await node.submit(component("web", 3_000), component("big", 40_000))
    for commits in kills:
        await commits_of(node, key, commits)
        await node.drop()
        await node.open()

    await eventually(lambda: node.reached(key) == "READY")

    assert len(sold(far)) == 1
    assert len(far.state.contracts) == 1
    assert len(node.local_holds()) == 1
    assert len(node.virtual_nodes()) == 1
    tables, rebuilt = await node.digests()
    assert tables == rebuilt


async def commits_of(node: Application, key: str, commits: int) -> None:
    """Returns once so many batches more were committed, or the request is ready."""
    done = 0

    class Counting:
        def committed(self, batch: object) -> None:
            nonlocal done
            done += 1

    node.writer.listeners.append(Counting())
    await eventually(lambda: done >= commits or node.reached(key) == "READY")


async def test_requests_that_hold_what_each_other_needs_end_and_keep_nothing(node: Application, far: Seller) -> None:
    """Each needs both machines, and has one."""
    machine = [component(name, 64_000) for name in ("one", "other")]
    keys = await asyncio.gather(*(node.submit(*machine) for _ in range(4)))

    await eventually(lambda: all(node.reached(key) in ("READY", "FAILED") for key in keys))

    ready = [key for key in keys if node.reached(key) == "READY"]
    assert len(ready) <= 1
    await eventually(lambda: all(not node.request(key).open for key in keys if key not in ready))
    assert len(sold(far)) == len(node.virtual_nodes()) == 2 * len(ready)


async def test_a_request_whose_windows_end_while_the_node_is_down_completes_and_is_forgotten(
    node: Application, far: Seller
) -> None:
    window = AskedWindow(None, None, HOUR)
    key = await node.submit(component("web", 3_000, window=window), component("big", 40_000, window=window))
    await eventually(lambda: node.reached(key) == "READY")
    await node.drop()

    node.clock.at = after(node.clock.at, 2 * HOUR)
    await node.open()

    await eventually(lambda: node.reached(key) == "COMPLETED")
    assert node.local_holds() == []
    await eventually(lambda: key not in node.state.requests and not node.state.purchases)
    assert len(node.orchestrator._agenda) == 0
