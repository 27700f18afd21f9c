"""Each was found by a review and reproduced; the name says what went wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress

import pytest

from rear.domain.lifecycle import ContractState
from rear.domain.refusals import CapacityExceeded, OutcomePending, Refusal, TryAgain
from rear.domain.window import HOUR, MINUTE, AskedWindow, Duration
from rear.ledger.commit import Identity
from rear.ledger.errors import LedgerDamaged
from rear.ledger.mending import accept_loss
from rear.ledger.sources import RandomIds, SystemClock
from rear.managers.provider import provider as providers
from rear.managers.provider.discovery import DiscoveryManager
from rear.managers.provider.warming import Warming
from rear.projections import feed, tables
from rear.projections.lazy import LazyHolds
from tests.faulty_stream import FaultyStream, is_refused, reserve, until_waiting
from tests.seller import BUYER, PROVIDER, SERVICE, Seller, cpus, verb, wish
from tests.waiting import eventually


async def test_a_timer_survives_a_cancel_that_is_taken_back_with_the_expiry(
    seller: Seller, ledger: FaultyStream
) -> None:
    made = (await seller.reserve("a", wish("a", cpus(8_000), ttp=Duration(MINUTE)))).contract
    seller.clock.advance(MINUTE)
    ledger.gate.clear()
    ledger.faults = [is_refused, is_refused]
    expiring = asyncio.create_task(seller.timekeeper.work_off())
    await until_waiting(ledger)
    cancelling = asyncio.create_task(seller.cancel(made.id, verb("c")))
    await asyncio.sleep(0)
    ledger.gate.set()
    for task in (expiring, cancelling):
        with suppress(TryAgain):
            await task

    assert await seller.timekeeper.work_off() == 1 or not seller.state.pools["machine"].holds
    assert not seller.state.pools["machine"].holds
    await seller.reserve("b", wish("b", cpus(8_000)))


async def test_a_contract_whose_time_cannot_be_passed_keeps_no_other_from_it(seller: Seller) -> None:
    bad = (await seller.reserve("a", wish("a", cpus(1_000), ttp=Duration(MINUTE)))).contract
    await seller.reserve("b", wish("b", cpus(1_000), ttp=Duration(MINUTE)))
    kept = seller.state.allocations.pop(bad.allocation_id)
    seller.clock.advance(MINUTE)

    assert await seller.timekeeper.work_off() == 1
    assert "1 contracts" in (seller.timekeeper.trouble or "")
    seller.state.allocations[bad.allocation_id] = kept
    seller.clock.advance(MINUTE)
    assert await seller.timekeeper.work_off() == 1
    assert seller.timekeeper.trouble is None


async def test_checkpoints_are_made_while_commits_never_pause(seller: Seller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STEPS_TO_CHECKPOINT", 30)
    monkeypatch.setattr(feed, "PACE", 0.01)
    made = 0
    real = seller.tables.checkpoint

    def counted() -> None:
        nonlocal made
        made += 1
        real()

    monkeypatch.setattr(seller.tables, "checkpoint", counted)
    for number in range(200):
        sold = await seller.reserve(f"r{number}", wish(f"r{number}", cpus(1_000)))
        await seller.cancel(sold.contract.id, verb(f"c{number}"))
        if made:
            break
    assert made


async def test_steps_that_come_faster_than_the_tables_pace_are_written_without_a_pause(
    seller: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_AT_ONCE", 6)
    monkeypatch.setattr(feed, "PACE", 3_600.0)
    for number in range(10):  # six steps each; all but the last few are never waited for
        sold = await seller.reserve(f"r{number}", wish(f"r{number}", cpus(1_000)))
        await seller.cancel(sold.contract.id, verb(f"c{number}"))
    await eventually(lambda: seller.feed.sequence > seller.writer.position.sequence - 6)


async def test_a_checkpoint_that_fails_is_tried_again_and_keeps_no_rows_from_the_tables(
    seller: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "STEPS_TO_CHECKPOINT", 1)
    with monkeypatch.context() as broken:

        def full() -> None:
            raise sqlite3.OperationalError("database or disk is full")

        broken.setattr(seller.tables, "checkpoint", full)
        await seller.reserve("a", wish("a", cpus(1_000)))
        await seller.feed.at_least(seller.writer.position.sequence)
    await seller.reserve("b", wish("b", cpus(1_000)))
    page = await seller.contracts.page(caller=BUYER, states=(), pool_id="", after=0, limit=10)
    assert len(page.contracts) == 2


async def test_a_flavour_is_not_called_retired_for_a_reservation_that_never_came_to_be(
    seller: Seller, ledger: FaultyStream
) -> None:
    discovery = DiscoveryManager(seller.provider)
    ledger.gate.clear()
    ledger.faults = [is_refused]
    first = reserve(seller, "a", 1_000)
    await until_waiting(ledger)
    asked = asyncio.create_task(discovery.get("machine-1", AskedWindow()))
    await asyncio.sleep(0)
    ledger.gate.set()
    with pytest.raises(TryAgain):
        await first

    assert (await asked).flavours[0].flavour.id == "machine-1"


async def test_a_counter_offer_counts_the_room_of_what_is_overdue(seller: Seller) -> None:
    await seller.reserve("sold", wish("sold", cpus(1_000), confirm=True))
    await seller.reserve("late", wish("late", cpus(5_000), ttp=Duration(MINUTE)))
    seller.clock.advance(MINUTE)
    with pytest.raises(CapacityExceeded) as refused:
        await seller.reserve("all", wish("all", cpus(8_000)))

    offer = refused.value.counter_offer
    assert offer is not None
    assert offer.most_in_window is not None
    assert offer.most_in_window.quantities["cpu_millicores"] == 7_000


@pytest.mark.parametrize("table", ["pools", "holds", "contracts", "allocations"])
async def test_tables_with_a_damaged_event_are_damaged_tables(seller: Seller, table: str) -> None:
    made = (await seller.reserve("a", wish("a", cpus(1_000)))).contract
    await seller.feed.at_least(seller.writer.position.sequence)
    column = "terms_event" if table == "pools" else "event"
    with closing(sqlite3.connect(seller.tables.path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = x'ff00ff'")

    def read_all() -> None:
        loaded = seller.tables.load()
        assert seller.feed.trouble is None
        assert len(loaded.pools["machine"].holds) == 1
        assert loaded.contracts[made.id]
        assert loaded.allocations[made.allocation_id]

    with pytest.raises(tables.TablesError):
        read_all()
    assert table == "pools" or "delete it" in (seller.feed.trouble or "")
    again = tables.Tables(seller.tables.path)
    assert (again.standing().sequence == 0) == (table != "pools")  # damage that shows late is rebuilt at the next start
    again.close()


async def test_half_a_commit_is_not_accepted_as_a_loss(
    seller: Seller, ledger: FaultyStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seller.reserve("a", wish("a", cpus(1_000)))
    last = await ledger.last()
    assert last is not None
    torn = type(last)(last.sequence, last.subject, last.payload, last.hash, ends_commit=False)

    async def ends_inside() -> object:
        return torn

    monkeypatch.setattr(ledger, "last", ends_inside)
    seller._anchor.path.unlink()
    with pytest.raises(LedgerDamaged, match="inside of a commit"):
        await accept_loss(
            ledger, seller._anchor, Identity(SERVICE, PROVIDER), "why not", clock=SystemClock(), ids=RandomIds()
        )


async def test_timers_of_contracts_that_are_gone_do_not_pile_up(
    seller: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "SPARE_TIMERS", 3)
    for number in range(12):
        far = AskedWindow(start=None, duration=Duration(1_000 * HOUR))
        made = await seller.reserve(f"r{number}", wish(f"r{number}", cpus(1_000), window=far, confirm=True))
        await seller.cancel(made.contract.id, verb(f"c{number}"))
        await seller.feed.at_least(seller.writer.position.sequence)
    assert len(seller.provider.timers) <= 6
    assert all(found.state is not ContractState.RESERVED for found in seller.state.contracts.values())


async def test_callers_are_not_told_of_directories(seller: Seller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error", "/srv/secret/anchor")

    monkeypatch.setattr(type(seller.writer._anchor), "write", broken)
    with pytest.raises(Refusal) as refused:
        await seller.reserve("a", wish("a", cpus(1_000)))
    assert "secret" not in refused.value.message
    assert refused.value.reason == "OUTCOME_PENDING"


async def test_a_cut_connection_in_the_middle_of_a_read_does_not_end_a_start(
    seller: Seller, ledger: FaultyStream
) -> None:
    before, connections = await ledger.tip(), ledger.generation
    client = await ledger._connection.client(5)
    reading = asyncio.create_task(ledger.tip())
    await asyncio.sleep(0)
    client.cut()
    assert await reading == before
    assert ledger.generation == connections + 1


async def test_after_a_start_the_calendars_are_made_while_nobody_waits_for_them(seller: Seller) -> None:
    for number in range(3):
        await seller.reserve(f"r{number}", wish(f"r{number}", cpus(1_000), confirm=True))
    await seller.close()
    await seller.open()
    loaded = seller.state.pools["machine"].holds
    assert isinstance(loaded, LazyHolds)
    warming = Warming(seller.provider)
    warming.start()
    await eventually(lambda: "machine" in seller.state._calendars)
    await warming.stop()
    with closing(sqlite3.connect(seller.tables.path)) as connection, connection:
        connection.execute("DELETE FROM holds")

    assert len(loaded) == 3  # they were read before


async def test_a_writer_whose_close_is_cut_short_writes_no_more(seller: Seller, ledger: FaultyStream) -> None:
    ledger.gate.clear()
    waiting = reserve(seller, "a")
    await until_waiting(ledger)
    closing = asyncio.create_task(seller.writer.close())
    await asyncio.sleep(0)
    closing.cancel()
    with suppress(asyncio.CancelledError):
        await closing
    attempts = len(ledger.attempts)
    ledger.gate.set()
    with pytest.raises(OutcomePending):
        async with asyncio.timeout(5):
            await waiting
    assert len(ledger.attempts) == attempts
    assert await ledger.tip() == seller.writer.tip[0]
