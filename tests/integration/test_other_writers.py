"""A writer that is not alone: it steps down or stops, and never acknowledges what is not there."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from nodes.gate import NodeGate
from rear.domain.events import Cause, WriterChanged
from rear.domain.quantities import Quantities
from rear.domain.refusals import (
    CapacityExceeded,
    NotWriter,
    OutcomePending,
    TryAgain,
)
from rear.domain.window import Instant
from rear.ledger import landing
from rear.ledger.chain import GENESIS
from rear.ledger.commit import Decision
from rear.ledger.connection import Connection, Endpoint
from rear.ledger.errors import OutcomeUnknown
from rear.ledger.reader import read_proved
from rear.rpc.audit_service import AuditServicer, CommitSignal
from rear.v1.audit_service_pb2 import ReadEventsRequest
from tests.faulty_stream import (
    FaultyStream,
    append_foreign,
    events_of,
    reserve,
)
from tests.nats_servers import PlainServer
from tests.seller import MACHINE, SERVICE, Seller, cpus, wish

HAND_OVERS: Final = 6


def beside(seller: Seller, connection: Connection) -> Seller:
    """Another process for the same ledger, with a state directory of its own that knows the anchor."""
    directory = seller.directory.with_name("rival")
    directory.mkdir()
    shutil.copy(seller.directory / "anchor", directory)
    return Seller(FaultyStream(connection), directory, seller.clock)


def _refuse(now: Instant) -> Decision[str]:
    raise CapacityExceeded("no")


class TestOthers:
    def taken_over(self, seller: Seller, epoch: int) -> WriterChanged:
        now = seller.writer.now()
        return WriterChanged(SERVICE, seller.state.service.version + 1, Cause(now, now), epoch, "10.0.0.9:7000")

    async def test_a_new_writer_of_a_higher_epoch_makes_it_step_down(self, seller: Seller) -> None:
        await append_foreign(seller, self.taken_over(seller, 2))

        with pytest.raises(TryAgain, match=r"10\.0\.0\.9:7000") as refused:
            await seller.reserve("r", wish("r", cpus(1_000)))

        assert not isinstance(refused.value, OutcomePending)
        assert not seller.state.contracts
        assert "epoch 2" in (seller.writer.trouble or "")
        with pytest.raises(TryAgain, match=r"10\.0\.0\.9:7000"):
            await seller.contracts.get("c", owner="b")
        assert len(await events_of(seller.stream)) == 4

    async def test_one_of_the_same_epoch_is_not_a_new_writer(self, seller: Seller) -> None:
        await append_foreign(seller, self.taken_over(seller, 1))

        with pytest.raises(TryAgain, match="not ours"):
            await seller.reserve("r", wish("r", cpus(1_000)))

    async def test_something_foreign_stops_it_with_a_clear_reason(self, seller: Seller) -> None:
        tip = seller.writer.tip[0]
        await append_foreign(seller)

        with pytest.raises(TryAgain, match=f"not ours stands in the ledger at {tip + 1}"):
            await seller.reserve("r", wish("r", cpus(1_000)))

        assert "find out who else writes" in (seller.writer.trouble or "")
        assert await seller.stream.tip() == tip + 1

    async def test_what_is_foreign_is_found_also_where_the_outcome_was_unknown(
        self, seller: Seller, ledger: FaultyStream
    ) -> None:
        async def overtaken(really: Callable[[], Awaitable[int]]) -> int:
            await append_foreign(seller, self.taken_over(seller, 2))
            raise OutcomeUnknown("no acknowledgement")

        ledger.faults = [overtaken]
        with pytest.raises(TryAgain, match="epoch 2"):
            await seller.reserve("r", wish("r", cpus(1_000)))

        assert len(await events_of(seller.stream)) == 4

    async def test_before_it_refuses_anything_it_looks_at_the_tip_again(
        self, seller: Seller, ledger: FaultyStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = ledger.tip_asked
        with pytest.raises(CapacityExceeded):
            await seller.writer.submit(_refuse)
        assert ledger.tip_asked == asked  # it has just heard from the ledger

        monkeypatch.setattr(landing, "STALE_AFTER", 0.0)
        with pytest.raises(CapacityExceeded):
            await seller.writer.submit(_refuse)
        assert ledger.tip_asked > asked

        await append_foreign(seller, self.taken_over(seller, 2))
        with pytest.raises(TryAgain, match="epoch 2"):
            await seller.writer.submit(_refuse)

    async def test_who_follows_a_writer_that_lost_its_ledger_is_sent_on(self, seller: Seller) -> None:
        """One that was slow was left waiting for ever, where this process had become the writer again meanwhile."""
        gate, signal = NodeGate(), CommitSignal()
        gate.open()
        seller.writer.listeners.append(signal)
        audit = AuditServicer(seller.stream, seller.provider, SERVICE, signal, gate)
        following = audit._read(ReadEventsRequest(follow=True))
        assert (await anext(following)).events
        await append_foreign(seller, self.taken_over(seller, 2))
        with pytest.raises(TryAgain):
            await seller.writer.look()
        signal.wake()
        with pytest.raises(NotWriter) as refused:
            async with asyncio.timeout(5):
                await anext(following)
        assert refused.value.metadata == {"endpoint": "10.0.0.9:7000"}

    async def test_two_writers_fence_each_other_and_none_loses_what_it_acknowledged(
        self, seller: Seller, connection: Connection
    ) -> None:
        kept = (await seller.reserve("a", wish("a", cpus(1_000)))).contract
        rival = beside(seller, connection)
        await rival.open()
        try:
            assert rival.state.service.epoch == 2
            with pytest.raises(TryAgain, match="epoch 2"):
                await seller.reserve("b", wish("b", cpus(1_000)))
            assert rival.state.contracts == {kept.id: kept}
            after_it = await rival.reserve("b", wish("b", cpus(1_000)))
            assert set(rival.state.contracts) == {kept.id, after_it.contract.id}
        finally:
            await rival.close()

        await seller.drop()
        await seller.open()
        assert seller.state.service.epoch == 3
        assert set(seller.state.contracts) == {kept.id, after_it.contract.id}

    async def test_a_race_of_two_has_one_winner_for_each_place(self, seller: Seller, connection: Connection) -> None:
        """The rival fences while commands are on their way: each is acknowledged and kept, or refused and not there."""
        rival = beside(seller, connection)
        tasks = [reserve(seller, f"r{number}") for number in range(4)]
        opening = asyncio.create_task(rival.open())
        for number in range(4, 8):
            await asyncio.sleep(0.002)
            tasks.append(reserve(seller, f"r{number}", 500))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await opening
        try:
            there = set(rival.state.contracts)
            for number, outcome in enumerate(outcomes):
                key = wish(f"r{number}", cpus(1)).contract_id
                if isinstance(outcome, TryAgain):
                    assert key not in there
                elif not isinstance(outcome, BaseException):
                    assert key in there
        finally:
            await rival.close()


async def test_hand_overs_under_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """Writers on a server that is nobody's child, each with a connection and a state directory of its own."""
    server = PlainServer(tmp_path / "nats").start()
    connections: list[Connection] = []

    async def writer(number: int, after: Seller | None) -> Seller:
        connection = Connection(lambda: Endpoint(server.url), name=f"writer-{number}")
        connections.append(connection)
        await connection.open(10)
        stream = FaultyStream(connection)
        await stream.ensure()
        directory = tmp_path / f"writer-{number}"
        if after is not None:
            directory.mkdir()
            shutil.copy(after.directory / "anchor", directory)
        return Seller(stream, directory, after.clock if after is not None else None)

    sellers = [await (await writer(0, None)).open()]
    outcomes: dict[str, asyncio.Task[object]] = {}
    try:
        await sellers[0].pools.reconcile([replace(MACHINE, capacity=Quantities({"cpu_millicores": 1_000_000}))])
        for number in range(1, HAND_OVERS + 1):
            rival = await writer(number, sellers[-1])
            opening = None
            for each in range(12):
                request = f"r-{number}-{each}"
                outcomes[request] = reserve(sellers[-1], request)
                await asyncio.sleep(0.002)
                if each == number % 6:
                    opening = asyncio.create_task(rival.open())
            assert opening is not None
            sellers.append(await opening)
            outcomes[f"r-{number}-late"] = reserve(sellers[-2], f"r-{number}-late")
        found = await asyncio.gather(*outcomes.values(), return_exceptions=True)
        last = sellers[-1]
        assert last.state.service.epoch == HAND_OVERS + 1
        there = set(last.state.contracts)
        granted = 0
        for request, outcome in zip(outcomes, found, strict=True):
            key = wish(request, cpus(1)).contract_id
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, TryAgain)
                if not isinstance(outcome, OutcomePending):
                    assert key not in there, f"{request} was refused ({outcome}), but is there"
            else:
                granted += 1
                assert key in there, f"{request} was granted, and is lost"
        assert 0 < granted <= len(found) - HAND_OVERS
        assert len(last.state.pools["machine"].holds) == len(there)
        # And what the last one has in memory is what the ledger proves.
        read = [item.sequence async for page in read_proved(last.stream, after=0, hash=GENESIS) for item in page]
        assert read == list(range(1, last.writer.tip[0] + 1))
        for before in sellers[:-1]:
            with pytest.raises(TryAgain, match="epoch"):
                await reserve(before, "late")
    finally:
        for each_seller in sellers:
            await each_seller.close()
        for connection in connections:
            await connection.close()
        server.stop()
