"""The writer on a real server: groups, lost answers, others who write, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rear.domain import pool as pools
from rear.domain.contract import VerbCommand
from rear.domain.events import Cause
from rear.domain.refusals import (
    CapacityExceeded,
    ContractNotFound,
    InvalidField,
    OutcomePending,
    Refusal,
    RevisionMismatch,
    TryAgain,
)
from rear.domain.window import MINUTE, SECOND, Duration, Instant
from rear.ledger import writer as writers
from rear.ledger.commit import Decision
from rear.ledger.errors import OutcomeUnknown
from rear.ledger.writer import MAX_EVENTS
from tests.faulty_stream import (
    Fault,
    FaultyStream,
    events_of,
    is_lost,
    is_refused,
    lands_unheard,
    register,
    reserve,
    submit,
    until_waiting,
)
from tests.seller import BUYER, MACHINE, SERVICE, T0, ManualClock, Seller, cpus, divisible, verb, wish
from tests.waiting import eventually


class TestGroups:
    async def test_what_is_decided_while_a_batch_is_in_flight_goes_with_the_next_one(
        self, seller: Seller, ledger: FaultyStream
    ) -> None:
        ledger.batches.clear()
        ledger.gate.clear()
        first = reserve(seller, "r0")
        await until_waiting(ledger)
        others = [reserve(seller, f"r{number}") for number in range(1, 8)]
        await asyncio.sleep(0)
        assert len(seller.state.pools["machine"].holds) == 8  # decided at once
        assert not any(task.done() for task in (first, *others))
        ledger.gate.set()
        await asyncio.gather(first, *others)

        assert ledger.batches == [3, 21]

    async def test_a_batch_never_splits_a_command_and_has_a_thousand_messages_at_most(
        self, seller: Seller, ledger: FaultyStream
    ) -> None:
        ledger.batches.clear()
        ledger.gate.clear()

        def many(number: int) -> Callable[[Instant], Decision[str]]:
            return lambda now: Decision([register(f"p{number}-{each}", seller) for each in range(300)], "")

        tasks = [submit(seller, many(number)) for number in range(5)]
        await until_waiting(ledger)
        ledger.gate.set()
        outcomes = await asyncio.gather(*tasks)

        assert ledger.batches in ([300, 900, 300], [900, 600])
        assert [outcome.position.sequence % 300 for outcome in outcomes] == [outcomes[0].position.sequence % 300] * 5

    async def test_a_refusal_that_rests_on_what_is_not_durable_waits_for_it(
        self, seller: Seller, ledger: FaultyStream
    ) -> None:
        ledger.gate.clear()
        first = reserve(seller, "all", 8_000)
        await until_waiting(ledger)
        second = reserve(seller, "more", 1_000)
        same = reserve(seller, "all", 8_000)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
        assert not same.done()
        ledger.gate.set()

        await first
        assert (await same) is not None
        with pytest.raises(CapacityExceeded):
            await second

    async def test_a_refusal_that_rested_on_what_never_came_to_be_is_taken_back(
        self, seller: Seller, ledger: FaultyStream
    ) -> None:
        ledger.gate.clear()
        ledger.faults = [is_refused]
        first = reserve(seller, "all", 8_000)
        await until_waiting(ledger)
        second = reserve(seller, "more", 1_000)
        await asyncio.sleep(0)
        ledger.gate.set()

        with pytest.raises(TryAgain):
            await first
        await second
        holds = seller.state.pools["machine"].holds
        assert set(holds) == {wish("more", cpus(1_000)).contract_id}

    async def test_what_changes_nothing_is_answered_at_once_and_writes_nothing(
        self, seller: Seller, ledger: FaultyStream
    ) -> None:
        tip, attempts = seller.writer.tip, len(ledger.attempts)
        command = wish("r", cpus(1_000))

        valid = await seller.contracts.reserve(command, caller="b", request_id="r", validate_only=True)
        outcome = await seller.writer.submit(lambda now: Decision((), "nothing"))

        assert valid.contract.id == command.contract_id
        assert outcome.answer == "nothing"
        assert outcome.position.sequence == tip[0]
        with pytest.raises(ContractNotFound):
            await seller.contracts.get(command.contract_id, owner="b")
        assert (seller.writer.tip, len(ledger.attempts)) == (tip, attempts)
        assert not seller.state.contracts

    async def test_validating_only_refuses_like_the_real_thing(self, seller: Seller) -> None:
        with pytest.raises(CapacityExceeded):
            await seller.contracts.reserve(wish("r", cpus(9_000)), caller="b", request_id="r", validate_only=True)
        await seller.reserve("r", wish("r", cpus(1_000)))
        key = wish("r", cpus(1)).contract_id
        tip = seller.writer.tip
        with pytest.raises(RevisionMismatch):
            await seller.contracts.purchase(key, verb("p", 7), caller=BUYER, validate_only=True)
        bought = await seller.contracts.purchase(key, verb("p", 1), caller=BUYER, validate_only=True)
        ended = await seller.contracts.cancel(key, verb("c"), "", caller=BUYER, owner=BUYER, validate_only=True)

        assert (bought.contract.version, ended.contract.version) == (2, 2)
        assert seller.writer.tip == tip
        assert seller.state.contracts[key].version == 1

    async def test_settled_waits_for_what_is_in_memory(self, seller: Seller, ledger: FaultyStream) -> None:
        ledger.gate.clear()
        first = reserve(seller, "r")
        await until_waiting(ledger)
        settled = asyncio.create_task(seller.writer.settled())
        await asyncio.sleep(0)
        assert not settled.done()
        ledger.gate.set()

        assert (await settled).sequence == seller.writer.tip[0]
        assert first.done()

    async def test_a_caller_that_goes_away_takes_nothing_back(self, seller: Seller, ledger: FaultyStream) -> None:
        ledger.gate.clear()
        task = reserve(seller, "r")
        await until_waiting(ledger)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ledger.gate.set()
        await seller.writer.settled()

        assert len(seller.state.contracts) == 1
        assert (await ledger.tip()) == seller.writer.tip[0]

    async def test_a_fault_of_a_decision_is_its_callers_and_nobody_elses(self, seller: Seller) -> None:
        def broken(now: Instant) -> Decision[str]:
            raise ZeroDivisionError

        def half_broken(now: Instant) -> Decision[str]:
            return Decision([register("fine", seller), pools.retire(replace(pool, id="none"), "", Cause(now, now))], "")

        pool = seller.state.pools["machine"]
        with pytest.raises(ZeroDivisionError):
            await seller.writer.submit(broken)
        with pytest.raises(ValueError, match="does not follow"):
            await seller.writer.submit(half_broken)

        assert set(seller.state.pools) == {"machine"}
        await seller.reserve("r", wish("r", cpus(1_000)))
        tables, rebuilt = await seller.digests()
        assert tables == rebuilt


class TestSizes:
    async def test_more_events_than_fit_are_refused(self, seller: Seller) -> None:
        tip, known = seller.writer.tip, dict(seller.state.pools)

        def too_many(now: Instant) -> Decision[str]:
            return Decision([register(f"p{each}", seller) for each in range(MAX_EVENTS + 1)], "")

        with pytest.raises(Refusal, match="301 events"):
            await seller.writer.submit(too_many)

        assert (seller.writer.tip, seller.state.pools) == (tip, known)
        await seller.writer.submit(
            lambda now: Decision([register(f"p{each}", seller) for each in range(MAX_EVENTS)], "")
        )

    async def test_an_event_that_is_too_large_is_refused_and_changes_nothing(self, seller: Seller) -> None:
        tip, known = seller.writer.tip, dict(seller.state.pools)
        huge = replace(divisible(), owner=replace(divisible().owner, contact="x" * 1_000_000))

        def too_large(now: Instant) -> Decision[str]:
            fine = register("fine", seller)
            return Decision([fine, replace(register("large", seller), terms=huge)], "")

        with pytest.raises(Refusal, match="bytes"):
            await seller.writer.submit(too_large)

        assert (seller.writer.tip, seller.state.pools) == (tip, known)
        assert not seller.writer.unacknowledged
        await seller.reserve("r", wish("r", cpus(1_000)))
        tables, rebuilt = await seller.digests()
        assert tables == rebuilt


class TestUnknownOutcomes:
    @pytest.mark.parametrize(
        "faults",
        [
            [lands_unheard],
            [is_lost],
            [is_lost, lands_unheard],
            [is_lost, is_refused, is_lost, is_refused],
            [lands_unheard, is_refused, is_lost],
        ],
        ids=lambda faults: "-".join(fault.__name__ for fault in faults),
    )
    async def test_the_same_messages_are_sent_until_it_is_known_and_nothing_is_doubled(
        self, seller: Seller, ledger: FaultyStream, faults: list[Fault]
    ) -> None:
        tip = seller.writer.tip[0]
        ledger.attempts.clear()
        ledger.faults = list(faults)

        answered = await seller.reserve("r", wish("r", cpus(1_000)))

        assert answered.contract.version == 1
        assert len(set(ledger.attempts)) == 1  # the same messages, behind the same guard
        assert len(ledger.attempts) == len(faults) + 1
        assert await ledger.tip() == seller.writer.tip[0] == tip + 3
        assert seller.writer.trouble is None
        again = await seller.reserve("r", wish("r", cpus(1_000)))
        assert again.contract == answered.contract
        subjects = Counter(message.subject for message in await events_of(ledger))
        assert subjects[f"rear.log.{SERVICE}.contract.{answered.contract.id}"] == 1

    async def test_nobody_is_answered_before(self, seller: Seller, ledger: FaultyStream) -> None:
        heard = asyncio.Event()

        async def in_the_dark(really: Callable[[], Awaitable[int]]) -> int:
            await really()
            await heard.wait()
            raise OutcomeUnknown("no acknowledgement")

        ledger.faults = [in_the_dark]
        task = reserve(seller, "r")
        await eventually(lambda: not ledger.faults)
        behind = reserve(seller, "s")
        await asyncio.sleep(0.05)
        assert not task.done()
        assert not behind.done()
        heard.set()
        await asyncio.gather(task, behind)

        assert ledger.batches[-1] == 3

    async def test_it_says_what_the_trouble_is_meanwhile(self, seller: Seller, ledger: FaultyStream) -> None:
        ledger.faults = [is_lost, is_refused, is_refused, is_refused]
        task = reserve(seller, "r")
        await eventually(lambda: seller.writer.trouble is not None)
        await task

        assert seller.writer.trouble is None

    async def test_shutting_down_in_the_dark_leaves_the_outcome_open(
        self, seller: Seller, ledger: FaultyStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writers, "CLOSE_TIMEOUT", 0.2)
        ledger.faults = [lands_unheard, *[is_refused] * 100]
        task = reserve(seller, "r")
        await eventually(lambda: len(ledger.faults) < 100)
        waiting = reserve(seller, "s")
        await asyncio.sleep(0)
        await seller.writer.close()

        with pytest.raises(OutcomePending):
            await task
        with pytest.raises(TryAgain) as refused:
            await waiting
        assert not isinstance(refused.value, OutcomePending)
        with pytest.raises(TryAgain, match="shutting down"):
            await seller.writer.submit(lambda now: Decision((), ""))
        await seller.feed.close()
        seller.tables.close()
        ledger.faults = []
        await seller.open()
        known = await seller.reserve("r", wish("r", cpus(1_000)))
        assert known.contract.created_at == T0
        assert len(seller.state.contracts) == 1


class TestUnavailable:
    async def test_memory_goes_back_and_what_waits_is_decided_again(self, seller: Seller, ledger: FaultyStream) -> None:
        before = seller.state.pools["machine"]
        ledger.gate.clear()
        ledger.faults = [is_refused]
        failing = [reserve(seller, "a", 5_000)]
        await until_waiting(ledger)
        decisions: list[int] = []

        def count(now: Instant) -> Decision[str]:
            decisions.append(seller.state.pools["machine"].version)
            return Decision((), "counted")

        waiting = submit(seller, count)
        fits_now = reserve(seller, "b", 8_000)
        await asyncio.sleep(0)
        reverted = seller.writer.reverted
        ledger.gate.set()

        with pytest.raises(TryAgain, match="insufficient resources") as refused:
            await failing[0]
        assert refused.value.reason == "LEDGER_UNAVAILABLE"
        assert refused.value.retry_after > 0
        assert not isinstance(refused.value, OutcomePending)
        await asyncio.gather(waiting, fits_now)
        assert decisions == [before.version + 1, before.version]
        assert seller.writer.reverted == reverted + 1
        assert len(seller.state.pools["machine"].holds) == 1
        tables, rebuilt = await seller.digests()
        assert tables == rebuilt

    async def test_alone_it_leaves_everything_as_it_was(self, seller: Seller, ledger: FaultyStream) -> None:
        before = seller.state.pools["machine"], dict(seller.state.contracts), seller.writer.tip
        ledger.faults = [is_refused]

        with pytest.raises(TryAgain):
            await seller.reserve("r", wish("r", cpus(1_000)))

        assert (seller.state.pools["machine"], seller.state.contracts, seller.writer.tip) == before
        assert seller.writer.trouble is not None
        answered = await seller.reserve("r", wish("r", cpus(1_000)))
        assert answered.contract.version == 1
        assert seller.writer.trouble is None

    async def test_too_many_that_wait_are_turned_away(
        self, seller: Seller, ledger: FaultyStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writers, "MAX_WAITING", 2)
        ledger.gate.clear()
        under_way = [reserve(seller, "a")]
        await until_waiting(ledger)
        under_way += [reserve(seller, "b"), reserve(seller, "c")]
        await asyncio.sleep(0)

        with pytest.raises(TryAgain, match="too many requests wait"):
            await seller.reserve("d", wish("d", cpus(1_000)))
        ledger.gate.set()
        await asyncio.gather(*under_way)


class TestClock:
    async def test_time_never_runs_backwards_in_the_ledger(self, seller: Seller) -> None:
        first = await seller.reserve("a", wish("a", cpus(1_000)))
        seller.clock.advance(-MINUTE)
        second = await seller.reserve("b", wish("b", cpus(1_000)))

        assert second.at >= first.at
        assert seller.writer.clock_behind == MINUTE
        assert "60 s behind" in (seller.writer.trouble or "")
        seller.clock.advance(MINUTE - 4 * SECOND)
        assert seller.writer.trouble is None


class TestTimers:
    async def test_a_reservation_takes_the_room_of_an_overdue_one_in_the_same_commit(
        self, seller: Seller, ledger: FaultyStream
    ) -> None:
        first = (await seller.reserve("a", wish("a", cpus(8_000), ttp=Duration(MINUTE)))).contract
        seller.clock.advance(MINUTE)
        ledger.batches.clear()
        await seller.reserve("b", wish("b", cpus(8_000)))

        assert ledger.batches == [6]
        expired = (await seller.contracts.get(first.id, owner=BUYER)).contract
        assert (expired.state.value, expired.updated_at) == ("EXPIRED", T0 + MINUTE)

    async def test_what_fails_stays_due(self, seller: Seller, ledger: FaultyStream) -> None:
        await seller.reserve("a", wish("a", cpus(8_000), ttp=Duration(MINUTE)))
        seller.clock.advance(MINUTE)
        ledger.faults = [is_refused]

        with pytest.raises(TryAgain):
            await seller.timekeeper.work_off()
        assert await seller.timekeeper.work_off() == 1
        assert not seller.state.pools["machine"].holds

    async def test_they_run_by_themselves(self, ledger: FaultyStream, state: Path) -> None:
        clock = ManualClock(Instant(time.time_ns()))
        seller = await Seller(ledger, state, clock).open()
        await seller.pools.reconcile([MACHINE])
        seller.timekeeper.start()
        await seller.reserve("a", wish("a", cpus(8_000), ttp=Duration(MINUTE)))
        clock.advance(MINUTE)
        await eventually(lambda: not seller.state.pools["machine"].holds)

        await seller.timekeeper.stop()
        await seller.close()


async def test_a_purchase_needs_its_revision_whatever_the_writer_does(seller: Seller) -> None:
    made = (await seller.reserve("a", wish("a", cpus(1_000)))).contract

    with pytest.raises(InvalidField):
        await seller.purchase(made.id, VerbCommand("p", b"", None))
