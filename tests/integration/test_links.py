"""The consumer's Contract Manager over a real ledger: what is decided comes about, however answers get lost."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pytest

from rear.domain import allocation as allocations
from rear.domain.allocation import AllocationState, Peering
from rear.domain.events import AllocationCreated, AllocationReleased
from rear.domain.lifecycle import ContractState
from rear.domain.link import ContractCopy
from rear.domain.link_events import LinkObserved, LinkRequested
from rear.domain.purchase import UNTRUE
from rear.domain.refusals import (
    ContractNotFound,
    PermissionDenied,
    Refusal,
    RequestIdReused,
    TryAgain,
    WrongProvider,
)
from rear.domain.window import HOUR, MINUTE, AskedWindow, Duration, after
from rear.ledger.commit import Committed
from rear.ledger.landing import STALE_AFTER
from rear.managers.consumer.contracts import AT_ONCE
from rear.managers.consumer.peers import Unanswered
from tests.buyer import Buyer, SellerInMemory, agree, copy_at, order
from tests.faulty_stream import FaultyStream, is_lost, is_refused, lands_unheard
from tests.seller import T0, Seller, cpus, verb, wish
from tests.waiting import eventually


async def durably(buyer: Buyer, condition: Callable[[], bool]) -> None:
    """Return once `condition` holds, and what it saw is on record."""
    await eventually(condition)
    await buyer.writer.settled()


async def revoke(seller: Seller, key: str) -> None:
    await seller.contracts.revoke(key, verb("k"), "gone", caller="admin", owner=None, validate_only=False)


async def held(buyer: Buyer, request_id: str = "r1", **more: Any) -> str:
    key = await buyer.order(request_id, order(**more))
    await durably(buyer, lambda: buyer.bought(key).state is ContractState.RESERVED)
    return key


async def confirmed(buyer: Buyer, request_id: str = "r1", **more: Any) -> str:
    key = await held(buyer, request_id, **more)
    await buyer.buy(key)
    await durably(buyer, lambda: buyer.bought(key).state in (ContractState.CONFIRMED, ContractState.ACTIVE))
    return key


class Batches:
    """A listener that keeps which events were committed together."""

    def __init__(self, buyer: Buyer) -> None:
        self.seen: list[list[type]] = []
        buyer.writer.listeners.append(self)

    def committed(self, batch: Sequence[Committed]) -> None:
        self.seen.append([type(item.step.event) for item in batch])


class Observations:
    """A listener that keeps what was seen of contracts."""

    def __init__(self, buyer: Buyer) -> None:
        self.events: list[LinkObserved] = []
        buyer.writer.listeners.append(self)

    def committed(self, batch: Sequence[Committed]) -> None:
        self.events += [item.step.event for item in batch if isinstance(item.step.event, LinkObserved)]


async def test_a_reservation_comes_with_its_virtual_node_in_one_commit(buyer: Buyer, seller: Seller) -> None:
    batches = Batches(buyer)

    key = await held(buyer)

    assert [LinkRequested] in batches.seen
    assert [LinkObserved, AllocationCreated] in batches.seen
    node, sold = buyer.virtual_node(key), copy_at(seller, key)
    assert node is not None
    assert sold is not None
    assert (node.state, node.window, node.quantities) == (
        AllocationState.INACTIVE,
        sold.window,
        sold.partition.quantities,
    )
    assert node.pool_id == ""
    assert agree(buyer, seller, key)


async def test_what_is_bought_is_confirmed_on_both_sides_and_released_when_it_is_cancelled(
    buyer: Buyer, seller: Seller
) -> None:
    batches = Batches(buyer)
    key = await confirmed(buyer)
    assert agree(buyer, seller, key)

    await buyer.cancel_purchase(key)

    await durably(buyer, lambda: not buyer.bought(key).open)
    assert agree(buyer, seller, key)
    assert buyer.bought(key).state is ContractState.CANCELLED
    assert [LinkObserved, AllocationReleased] in batches.seen


async def test_a_refusal_is_on_record_with_its_counter_offer(buyer: Buyer, seller: Seller) -> None:
    key = await buyer.order("r1", order(cpus(100_000)))

    await durably(buyer, lambda: buyer.bought(key).undone is not None)

    undone = buyer.bought(key).undone
    assert undone is not None
    assert undone.reason == "CAPACITY_EXCEEDED"
    assert undone.counter_offer is not None
    assert undone.counter_offer.most_in_window == cpus(8_000)
    assert buyer.virtual_node(key) is None
    assert copy_at(seller, key) is None


async def test_nothing_is_sent_before_it_is_on_record(buyer: Buyer, sellers: SellerInMemory) -> None:
    ledger = buyer.stream
    assert isinstance(ledger, FaultyStream)
    ledger.gate.clear()

    deciding = asyncio.create_task(buyer.order("r1", order()))
    await eventually(lambda: ledger.waiting == 1)
    assert sellers.asked == []

    ledger.gate.set()
    key = await deciding
    await durably(buyer, lambda: buyer.bought(key).state is ContractState.RESERVED)


async def test_a_seller_that_does_not_answer_is_asked_a_few_things_at_once(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory
) -> None:
    sellers.gate.clear()
    keys = await asyncio.gather(*(buyer.order(f"r{number}", order(cpus(500))) for number in range(2 * AT_ONCE)))
    await eventually(lambda: len(sellers.asked) >= AT_ONCE)
    await asyncio.sleep(0.05)
    assert len(sellers.asked) == AT_ONCE

    sellers.gate.set()
    await durably(buyer, lambda: all(agree(buyer, seller, key) for key in keys))


@pytest.mark.parametrize("refusal", [PermissionDenied, WrongProvider, RequestIdReused])
async def test_a_refusal_that_says_nothing_of_an_earlier_attempt_leaves_no_contract_behind(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory, refusal: type[Refusal], monkeypatch: pytest.MonkeyPatch
) -> None:
    truly, attempts = sellers.reserve, 0

    async def reserve(wanted: Any, request_id: str) -> ContractCopy:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await truly(wanted, request_id)
            raise Unanswered(14, "the answer got lost")
        raise refusal("whatever it is")

    monkeypatch.setattr(sellers, "reserve", reserve)
    key = await buyer.order("r1", order(confirm=True))

    await durably(buyer, lambda: not buyer.bought(key).open)
    undone, sold = buyer.bought(key).undone, copy_at(seller, key)
    assert undone is not None
    assert undone.reason == refusal.reason
    assert sold is not None
    assert sold.state is ContractState.CANCELLED
    assert agree(buyer, seller, key)


async def test_so_does_one_after_an_answer_that_could_not_be_recorded(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    truly, attempts = sellers.reserve, 0
    assert isinstance(buyer.stream, FaultyStream)
    faults = buyer.stream.faults

    async def reserve(wanted: Any, request_id: str) -> ContractCopy:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            raise PermissionDenied("not any more")
        answer = await truly(wanted, request_id)
        faults.append(is_refused)
        return answer

    monkeypatch.setattr(sellers, "reserve", reserve)
    key = await buyer.order("r1", order(confirm=True))

    await durably(buyer, lambda: not buyer.bought(key).open)
    assert attempts == 2
    assert agree(buyer, seller, key)


async def test_a_refusal_at_the_first_attempt_is_not_cancelled(buyer: Buyer, sellers: SellerInMemory) -> None:
    async def refuse(_: str) -> None:
        raise PermissionDenied("not you")

    sellers.before = refuse
    key = await buyer.order("r1", order())
    await durably(buyer, lambda: not buyer.bought(key).open)

    assert sellers.asked == [("reserve", "r1")]


async def test_one_that_is_no_longer_the_writer_sends_nothing(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory, tmp_path: Path
) -> None:
    sellers.loss = 1.0
    key = await buyer.order("r1", order())
    await eventually(lambda: len(sellers.asked) > 1)
    mute = SellerInMemory(seller)
    mute.gate.clear()
    assert isinstance(buyer.stream, FaultyStream)

    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "buyer" / "anchor", tmp_path / "other" / "anchor")
    other = await Buyer(buyer.stream, tmp_path / "other", mute).open()  # nobody tells the first one
    await asyncio.sleep(STALE_AFTER)
    sent = len(sellers.asked)
    await eventually(lambda: buyer.writer.ended.is_set())

    assert len(sellers.asked) == sent
    await eventually(lambda: ("reserve", "r1") in mute.asked)
    mute.gate.set()
    await eventually(lambda: agree(other, seller, key))
    await other.close()


async def test_a_cancel_of_a_reservation_of_unknown_outcome_learns_it_first(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory
) -> None:
    sellers.loss = 1.0
    key = await buyer.order("r1", order())
    await durably(buyer, lambda: len(sellers.asked) > 1)
    await buyer.cancel_purchase(key)

    sellers.loss = 0.0
    await durably(buyer, lambda: not buyer.bought(key).open)

    assert sellers.asked[-2:] == [("reserve", "r1"), ("cancel", key)]
    assert agree(buyer, seller, key)
    assert buyer.bought(key).state is ContractState.CANCELLED
    assert buyer.virtual_node(key) is None  # and there never was one


async def test_a_purchase_that_comes_too_late_is_seen_to_have_expired(buyer: Buyer, seller: Seller) -> None:
    key = await held(buyer, ttp=Duration(10 * MINUTE))
    seller.clock.advance(11 * MINUTE)

    await buyer.buy(key)
    await asyncio.sleep(0)
    await seller.timekeeper.work_off()

    await durably(buyer, lambda: buyer.bought(key).state is ContractState.EXPIRED)
    assert agree(buyer, seller, key)


async def test_what_the_seller_does_is_followed(buyer: Buyer, seller: Seller) -> None:
    window = AskedWindow(after(T0, HOUR), None, HOUR)
    active = await confirmed(buyer, "r1", window=window)
    revoked = await confirmed(buyer, "r2", window=window)
    batches = Batches(buyer)
    node = buyer.virtual_node(active)
    assert node is not None
    peering = Peering("spiffe://campus.example/node/n1", "embedded", "")
    await buyer.commit(lambda cause: [allocations.peer(node, peering, cause)])

    await revoke(seller, revoked)
    await durably(buyer, lambda: buyer.bought(revoked).state is ContractState.REVOKED)
    seller.clock.advance(HOUR)
    await seller.timekeeper.work_off()
    await durably(buyer, lambda: buyer.bought(active).state is ContractState.ACTIVE)

    activated = buyer.virtual_node(active)
    assert activated is not None
    assert activated.state is AllocationState.ACTIVE
    seller.clock.advance(HOUR)
    await seller.timekeeper.work_off()
    await durably(buyer, lambda: buyer.bought(active).state is ContractState.COMPLETED)
    assert agree(buyer, seller, active)
    assert agree(buyer, seller, revoked)
    assert [LinkObserved, AllocationReleased] in batches.seen


async def test_what_is_heard_while_an_answer_is_awaited_comes_after_it(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory
) -> None:
    other = await held(buyer, "r1")  # so that the seller is followed
    answered = sellers.purchase

    async def late(*asked: Any) -> ContractCopy:
        answer = await answered(*asked)
        await revoke(seller, asked[1])
        await asyncio.sleep(0.1)  # it is heard of in between
        return answer

    key = await held(buyer, "r2")
    seen = Observations(buyer)
    sellers.purchase = late  # type: ignore[assignment,method-assign]
    await buyer.buy(key)

    await durably(buyer, lambda: buyer.bought(key).state is ContractState.REVOKED)
    assert [(event.contract.revision, event.elapsed is not None) for event in seen.events] == [(2, True), (3, False)]
    assert buyer.bought(other).open


async def test_what_was_heard_while_an_answer_was_awaited_is_not_lost_with_a_commit(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory
) -> None:
    await held(buyer, "r1")  # so that the seller is followed
    key = await held(buyer, "r2")
    answered = sellers.purchase
    assert isinstance(buyer.stream, FaultyStream)
    faults = buyer.stream.faults

    class FailsAfterTheAnswer:
        def committed(self, batch: Sequence[Committed]) -> None:
            if any(isinstance(item.step.event, LinkObserved) and item.step.event.elapsed for item in batch):
                faults.append(is_refused)

    async def late(*asked: Any) -> ContractCopy:
        answer = await answered(*asked)
        await revoke(seller, asked[1])
        await asyncio.sleep(0.1)  # it is heard of in between
        return answer

    sellers.purchase = late  # type: ignore[assignment,method-assign]
    buyer.writer.listeners.append(FailsAfterTheAnswer())
    await buyer.buy(key)

    await durably(buyer, lambda: buyer.bought(key).state is ContractState.REVOKED)
    assert not faults
    assert agree(buyer, seller, key)


async def test_a_seller_is_not_followed_once_nothing_of_it_is_open(buyer: Buyer, sellers: SellerInMemory) -> None:
    key = await held(buyer)
    await durably(buyer, lambda: buyer.follower._streams.busy == 1)

    await buyer.cancel_purchase(key)

    await durably(buyer, lambda: buyer.follower._streams.busy == 0)


async def test_a_contract_that_the_seller_does_not_have_is_given_up(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory
) -> None:
    key = await held(buyer)
    await durably(buyer, lambda: buyer.follower._streams.busy == 1)

    async def gone(asked: str) -> None:
        raise ContractNotFound(f"no such contract to {asked}")

    sellers.before = gone
    await buyer.buy(key)

    await durably(buyer, lambda: buyer.bought(key).undone is not None)
    assert buyer.virtual_node(key) is None


async def test_what_the_ledger_says_is_undone_and_the_seller_has_is_cancelled(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory
) -> None:
    other = await held(buyer, "r1")  # so that the seller is followed
    refusing = True

    async def refuse(asked: str) -> None:
        if refusing:
            raise PermissionDenied("not today")

    sellers.before = refuse
    key = await buyer.order("r2", order())
    await durably(buyer, lambda: buyer.bought(key).undone is not None)
    refusing = False

    await seller.reserve("r2", wish("r2", cpus(1_000)))  # what was on its way arrives after all

    await durably(buyer, lambda: (sold := copy_at(seller, key)) is not None and sold.state is ContractState.CANCELLED)
    assert buyer.bought(other).state is ContractState.RESERVED


async def test_an_answer_that_cannot_be_true_is_not_believed(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    truly = sellers.reserve

    async def lie(order: object, request_id: str) -> ContractCopy:
        return replace(await truly(order, request_id), partition=cpus(500))  # type: ignore[arg-type]

    monkeypatch.setattr(sellers, "reserve", lie)
    key = await buyer.order("r1", order())

    await durably(buyer, lambda: not buyer.bought(key).open)
    undone = buyer.bought(key).undone
    assert undone is not None
    assert undone.reason == UNTRUE
    assert agree(buyer, seller, key)


async def test_another_contract_than_the_one_that_was_asked_for_is_not_believed(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lie(order: object, request_id: str) -> ContractCopy:
        raise Unanswered(13, "the seller answered with another contract", UNTRUE)

    monkeypatch.setattr(sellers, "reserve", lie)
    key = await buyer.order("r1", order())

    await durably(buyer, lambda: not buyer.bought(key).open)
    assert ("cancel", key) in sellers.asked  # should there be one all the same
    assert agree(buyer, seller, key)


ROUNDS = int(os.environ.get("REAR_LINK_ROUNDS", "3"))
SEED = os.environ.get("REAR_SEED") or os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(SystemRandom().getrandbits(32))


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_both_sides_agree_once_faults_stop(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory, number: int
) -> None:
    """Lost requests, answers, streams and commits, requests that arrive twice, kills of either, revocations, time."""
    print(f"REAR_SEED={SEED}")
    random, ledger, sold = Random(f"{SEED}/{number}"), buyer.stream, seller.stream
    assert isinstance(ledger, FaultyStream)
    assert isinstance(sold, FaultyStream)
    sellers.loss, sellers.again = 0.3, 0.2
    keys: list[str] = []

    async def play(step: int) -> None:
        match random.randrange(12):
            case 0 | 1 | 2:
                window = AskedWindow(None, None, Duration(random.randrange(1, 8) * 10 * MINUTE))
                ttp = Duration(random.randrange(1, 8) * MINUTE)
                wanted = order(cpus(500 * random.randrange(2, 6)), window=window, ttp=ttp)
                keys.append(await buyer.order(f"r{step}", replace(wanted, confirm=random.random() < 0.3)))
            case 3 | 4 if keys:
                key = random.choice(keys)
                known = buyer.state.purchases.get(key)
                if known is not None and known.pending is None and known.state is ContractState.RESERVED:
                    await buyer.buy(key)
            case 5 if keys:
                await buyer.cancel_purchase(random.choice(keys))
            case 6 if keys:
                key = random.choice(keys)
                if copy_at(seller, key) is not None:
                    await revoke(seller, key)
            case 7:
                seller.clock.advance(random.randrange(10 * MINUTE))
                await seller.timekeeper.work_off()
            case 8:
                ledger.faults.append(random.choice([lands_unheard, is_lost, is_refused]))
            case 9:
                await buyer.drop()
                ledger.faults.clear()
                await buyer.open()
            case 10:
                sold.faults.clear()
                await sellers.kill()
            case 11:
                sold.faults.append(random.choice([lands_unheard, is_lost, is_refused]))

    for step in range(40):
        with suppress(TryAgain):  # nothing was decided
            await play(step)
        await asyncio.sleep(random.choice([0, 0, 0.01, 0.03]))
    ledger.faults.clear()
    sold.faults.clear()
    sellers.loss = sellers.again = 0.0
    await sellers.rest()
    await seller.timekeeper.work_off()  # what a fault kept it from

    await durably(buyer, lambda: all(agree(buyer, seller, key) for key in keys))
    kept, rebuilt = await buyer.digests()
    assert kept == rebuilt
    assert keys
