"""The `eventsourcing` library reads a service's ledger, and finds exactly what the writer has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from eventsourcing.application import AggregateNotFoundError, Repository
from eventsourcing.persistence import (
    DatabaseError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    StoredEvent,
)

from rear.domain import allocation, contract, pool
from rear.domain.events import AggregateType
from rear.domain.lifecycle import ContractState
from rear.domain.pool import Pool
from rear.domain.window import HOUR, MINUTE, AskedWindow, Duration, Instant
from rear.ledger import stream_recorder, stream_thread
from rear.ledger.codec import LedgerMapper, decode
from rear.ledger.connection import Connection, Endpoint
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.errors import LedgerUnavailable
from rear.ledger.recorder import LedgerRecorder, project, repository
from rear.ledger.sources import RandomIds
from rear.ledger.store import stream_name, stream_subjects
from rear.ledger.stream import EventStream
from tests.seller import MACHINE, PROVIDER, SERVICE, T0, Seller, cpus, divisible, verb, wish


@pytest.fixture
async def seller(connection: Connection, tmp_path: Path) -> AsyncIterator[Seller]:
    stream = EventStream(connection, stream_name(SERVICE), stream_subjects(SERVICE))
    await stream.ensure()
    seller = await Seller(stream, tmp_path / "state").open()
    yield seller
    await seller.close()


@pytest.fixture
async def history(seller: Seller) -> Seller:
    """A seller whose contracts have met every end that there is, and some that live."""
    await seller.pools.reconcile([MACHINE])
    window = AskedWindow(start=Instant(T0 + HOUR), duration=HOUR)
    for name in ("expires", "cancelled", "completes", "purchased", "reserved"):
        ttp = Duration(HOUR if name == "reserved" else 10 * MINUTE)
        await seller.reserve(name, wish(name, cpus(1_000), window=window, ttp=ttp))
    keys = {name: wish(name, cpus(1)).contract_id for name in ("cancelled", "completes", "purchased")}
    await seller.cancel(keys["cancelled"], verb("c"))
    await seller.purchase(keys["completes"], verb("p1", 1))
    await seller.purchase(keys["purchased"], verb("p2", 1))
    await seller.reserve("active", wish("active", cpus(2_000), window=AskedWindow(duration=HOUR), confirm=True))
    await seller.pools.reconcile([MACHINE, type(MACHINE)("other", divisible(), MACHINE.capacity)])
    for _ in range(3):
        seller.clock.advance(30 * MINUTE)
        await seller.timekeeper.work_off()
    await seller.cancel(keys["purchased"], verb("c2"))
    seller.clock.advance(HOUR)
    await seller.timekeeper.work_off()
    await seller.reserve("late", wish("late", cpus(1_500), window=AskedWindow(duration=HOUR)))
    await seller.feed.at_least(seller.writer.tip[0])
    return seller


def recorder(embedded: EmbeddedServer, aggregate: AggregateType = AggregateType.POOL) -> LedgerRecorder:
    return LedgerRecorder(lambda: embedded.endpoint, SERVICE, aggregate)


@pytest.fixture
def recorders_by_type(embedded: EmbeddedServer) -> Iterator[dict[AggregateType, LedgerRecorder]]:
    made = {aggregate: recorder(embedded, aggregate) for aggregate in AggregateType}
    yield made
    for each in made.values():
        each.close()


@pytest.fixture
def reader(recorders_by_type: dict[AggregateType, LedgerRecorder]) -> LedgerRecorder:
    return recorders_by_type[AggregateType.POOL]


def library(recorder: LedgerRecorder) -> Repository[str]:
    return repository(recorder, LedgerMapper(SERVICE, PROVIDER, RandomIds()))


async def test_the_librarys_aggregates_are_the_writers(
    history: Seller, recorders_by_type: dict[AggregateType, LedgerRecorder]
) -> None:
    by_type = {aggregate: library(each) for aggregate, each in recorders_by_type.items()}
    ids: dict[str, set[str]] = {}
    async for page in history.stream.pages(1):
        for message in page:
            _, _, _, aggregate, key = message.subject.split(".")
            ids.setdefault(aggregate, set()).add(key)

    def compare() -> list[ContractState]:
        states = []
        for key in ids["pool"]:
            read = by_type[AggregateType.POOL].get(key, projector_func=project(pool.evolve))
            assert read == history.state.pools[key]
        for key in ids["contract"]:
            found = by_type[AggregateType.CONTRACT].get(key, projector_func=project(contract.evolve))
            assert found == history.tables.contract(key)
            assert found == history.state.contracts.get(key, found)
            states.append(found.state)
        for key in ids["allocation"]:
            stands = by_type[AggregateType.ALLOCATION].get(key, projector_func=project(allocation.evolve))
            assert stands == history.state.allocations.get(key, stands)
            assert (stands.state is allocation.AllocationState.RELEASED) == (key not in history.state.allocations)
        return states

    states = await asyncio.to_thread(compare)

    assert ids["pool"] == set(history.state.pools)
    assert ids["allocation"] >= set(history.state.allocations)
    assert set(states) == {
        ContractState.RESERVED,
        ContractState.EXPIRED,
        ContractState.CANCELLED,
        ContractState.COMPLETED,
    }
    assert len(states) == 7


async def test_an_aggregate_is_read_as_it_was(history: Seller, reader: LedgerRecorder) -> None:
    repo = library(reader)

    def was(version: int) -> Pool:
        return repo.get("machine", version=version, projector_func=project(pool.evolve))

    first, third = await asyncio.to_thread(was, 1), await asyncio.to_thread(was, 3)

    assert (first.version, len(first.holds), first.offers) == (1, 0, 1)
    assert (third.version, len(third.holds)) == (3, 2)


async def test_events_are_selected_as_the_library_asks(history: Seller, reader: LedgerRecorder) -> None:
    newest = history.state.pools["machine"].version

    def versions(
        gt: int | None = None, lte: int | None = None, desc: bool = False, limit: int | None = None
    ) -> list[int]:
        found = reader.select_events("machine", gt=gt, lte=lte, desc=desc, limit=limit)
        assert all(event.originator_id == "machine" for event in found)
        return [event.originator_version for event in found]

    def ask() -> None:
        every = list(range(1, newest + 1))
        assert versions() == every
        assert versions(gt=3) == every[3:]
        assert versions(lte=4) == every[:4]
        assert versions(gt=2, lte=5) == [3, 4, 5]
        assert versions(gt=2, limit=2) == [3, 4]
        assert versions(desc=True) == every[::-1]
        assert versions(desc=True, lte=6, limit=2) == [6, 5]
        assert versions(desc=True, gt=newest - 1) == [newest]
        assert versions(limit=0) == []
        assert versions(gt=newest) == []

    await asyncio.to_thread(ask)


@pytest.mark.parametrize("key", ["nothing", "*", ">", "machine.x", "", "a b"])
async def test_what_is_not_there_has_no_events(history: Seller, reader: LedgerRecorder, key: str) -> None:
    repo = library(reader)

    assert await asyncio.to_thread(reader.select_events, key) == []
    with pytest.raises(AggregateNotFoundError):
        await asyncio.to_thread(lambda: repo.get(key, projector_func=project(pool.evolve)))


async def test_a_recorder_reads_aggregates_of_its_own_type(history: Seller, reader: LedgerRecorder) -> None:
    assert await asyncio.to_thread(reader.select_events, next(iter(history.state.contracts))) == []


async def test_notifications_are_the_ledger_in_its_order(
    history: Seller, reader: LedgerRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_recorder, "PAGE", 7)
    tip = history.writer.tip[0]
    written = [message async for page in history.stream.pages(1) for message in page]

    def ask() -> None:
        found = reader.select_notifications(1, 10_000)
        assert [each.id for each in found] == list(range(1, tip + 1))
        assert [each.state for each in found] == [message.payload for message in written]
        assert reader.max_notification_id() == tip
        assert [each.id for each in reader.select_notifications(None, 3)] == [1, 2, 3]
        assert [each.id for each in reader.select_notifications(5, 3)] == [5, 6, 7]
        assert [each.id for each in reader.select_notifications(5, 3, inclusive_of_start=False)] == [6, 7, 8]
        assert [each.id for each in reader.select_notifications(5, 30, stop=14)] == list(range(5, 15))
        assert reader.select_notifications(tip + 1, 10) == []
        assert reader.select_notifications(1, 0) == []
        cancelled = reader.select_notifications(1, 10_000, topics=["ContractCancelled", "ContractExpired"])
        assert {each.topic for each in cancelled} == {"ContractCancelled", "ContractExpired"}
        assert len(cancelled) == 4
        assert len(reader.select_notifications(1, 2, topics=["ContractCancelled"])) == 2
        assert [decode(each.state).event.originator_id for each in cancelled] == [
            each.originator_id for each in cancelled
        ]

    await asyncio.to_thread(ask)


async def test_a_subscription_goes_on_with_what_comes(history: Seller, reader: LedgerRecorder) -> None:
    tip = history.writer.tip[0]
    subscription = reader.subscribe(gt=tip - 2)
    try:
        before = [(await asyncio.to_thread(next, subscription)).id for _ in range(2)]
        await history.reserve("new", wish("new", cpus(1_000)))
        after = [(await asyncio.to_thread(next, subscription)).id for _ in range(3)]
    finally:
        subscription.stop()

    assert before == [tip - 1, tip]
    assert after == [tip + 1, tip + 2, tip + 3]


async def test_a_ledger_is_written_by_its_writer_only(history: Seller, reader: LedgerRecorder) -> None:
    tip = history.writer.tip[0]
    event = StoredEvent("machine", history.state.pools["machine"].version + 1, "PoolRetired", b"")

    with pytest.raises(NotSupportedError, match="written by its writer only"):
        reader.insert_events([event])

    assert await asyncio.to_thread(reader.max_notification_id) == tip


async def test_many_threads_read_at_once(history: Seller, reader: LedgerRecorder) -> None:
    repo = library(reader)

    def read(_: int) -> Pool:
        return repo.get("machine", projector_func=project(pool.evolve))

    with ThreadPoolExecutor(8) as threads:
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(*(loop.run_in_executor(threads, read, each) for each in range(64)))

    assert all(each == history.state.pools["machine"] for each in found)


async def test_a_closed_recorder_says_so(seller: Seller, embedded: EmbeddedServer) -> None:
    def close() -> LedgerRecorder:
        with recorder(embedded) as opened:
            assert opened.max_notification_id() == seller.writer.tip[0]
            subscription = opened.subscribe(gt=seller.writer.tip[0])
        with pytest.raises(StopIteration):
            next(subscription)
        opened.close()
        return opened

    closed = await asyncio.to_thread(close)

    with pytest.raises(InterfaceError, match="closed"):
        closed.max_notification_id()


async def test_a_ledger_that_is_not_there_is_an_error(embedded: EmbeddedServer) -> None:
    def ask() -> None:
        with (
            LedgerRecorder(lambda: embedded.endpoint, "nobody", AggregateType.POOL) as reader,
            pytest.raises(DatabaseError, match="REAR_NOBODY_LEDGER is not there"),
        ):
            reader.max_notification_id()

    await asyncio.to_thread(ask)


def test_a_server_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_thread, "CONNECT_TIMEOUT", 0.2)

    def nowhere() -> Endpoint:
        raise LedgerUnavailable("the server is down")

    with pytest.raises(OperationalError, match="the server is down"):
        LedgerRecorder(nowhere, SERVICE, AggregateType.POOL)
