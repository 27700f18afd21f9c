"""Opening a ledger: anchor, tables and fence, whatever the end before was like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rear.domain.state import State
from rear.domain.window import HOUR, MINUTE, AskedWindow
from rear.ledger.anchor import Anchor, AnchorPoint
from rear.ledger.chain import GENESIS
from rear.ledger.commit import Committed
from rear.ledger.errors import LedgerDamaged
from rear.ledger.opening import check_anchor
from rear.ledger.reader import read_proved
from rear.ledger.stream import Outgoing
from rear.projections.tables import Tables
from tests.faulty_stream import (
    AlteredStream,
    Fault,
    FaultyStream,
    append_foreign,
    events_of,
    is_lost,
    lands_unheard,
    register,
    state_files,
)
from tests.seller import BUYER, MACHINE, SERVICE, Seller, cpus, verb, wish


async def fill_tables(ledger: FaultyStream, directory: Path, end: int) -> None:
    """Tables as they are where the process died after `end`."""
    tables, current = Tables(directory / "tables.sqlite"), State()
    async for page in read_proved(ledger, after=0, hash=GENESIS, end=end):
        tables.write(
            [Committed(item.sequence, item.hash, item.payload, current.apply(item.event)) for item in page],
            current.service,
        )
    tables.close()


class TestAnchor:
    """The ledger is held against the anchor at every start."""

    async def opened(self, ledger: FaultyStream, state: Path) -> Anchor:
        seller = await Seller(ledger, state).open()
        await seller.pools.reconcile([MACHINE])
        await seller.reserve("r", wish("r", cpus(1_000)))
        await seller.close()
        return Anchor(state / "anchor")

    async def refused(self, ledger: FaultyStream, state: Path) -> str:
        before = await events_of(ledger)
        with pytest.raises(LedgerDamaged) as damaged:
            await Seller(ledger, state).open()
        assert await events_of(ledger) == before  # nothing was written
        return str(damaged.value)

    async def test_it_stands_at_the_last_acknowledged_event(self, ledger: FaultyStream, state: Path) -> None:
        anchor = await self.opened(ledger, state)
        last = await ledger.last()

        point = anchor.read()
        assert last is not None
        assert point is not None
        assert (point.sequence, point.hash) == (last.sequence, last.hash)

    async def test_ahead_of_the_ledger(self, ledger: FaultyStream, state: Path) -> None:
        anchor = await self.opened(ledger, state)
        point = anchor.read()
        assert point is not None
        anchor.replace(replace(point, sequence=point.sequence + 1))

        message = await self.refused(ledger, state)
        assert f"ends at {point.sequence}, but {point.sequence + 1} was acknowledged" in message
        assert "accept-loss" in message

    async def test_of_another_event(self, ledger: FaultyStream, state: Path) -> None:
        anchor = await self.opened(ledger, state)
        point = anchor.read()
        assert point is not None
        anchor.replace(replace(point, hash="ab" * 32))

        assert f"event at {point.sequence} is not the one" in await self.refused(ledger, state)

    async def test_of_another_ledger(self, ledger: FaultyStream, state: Path) -> None:
        anchor = await self.opened(ledger, state)
        point = anchor.read()
        assert point is not None
        anchor.replace(replace(point, log_id="another"))

        assert "belongs to ledger another" in await self.refused(ledger, state)

    async def test_gone(self, ledger: FaultyStream, state: Path) -> None:
        await self.opened(ledger, state)
        (state / "anchor").unlink()

        assert "anchor" in await self.refused(ledger, state)

    async def test_without_a_valid_point(self, ledger: FaultyStream, state: Path) -> None:
        await self.opened(ledger, state)
        (state / "anchor").write_bytes(b"nothing")

        assert "no valid point" in await self.refused(ledger, state)

    async def test_behind_the_ledger_is_a_crash_before_the_anchor_was_written(
        self, ledger: FaultyStream, state: Path
    ) -> None:
        anchor = await self.opened(ledger, state)
        point, first = anchor.read(), await ledger.get(2)
        assert point is not None
        assert first is not None
        anchor.replace(AnchorPoint(point.log_id, 2, first.hash))

        seller = await Seller(ledger, state).open()
        assert len(seller.state.contracts) == 1
        assert anchor.read() == AnchorPoint(point.log_id, *seller.writer.tip)
        await seller.close()

    async def test_of_a_ledger_that_was_never_begun(self, ledger: FaultyStream, state: Path) -> None:
        await asyncio.to_thread(state.mkdir)
        anchor = Anchor(state / "anchor")
        anchor.write(AnchorPoint("chosen", 0, "0" * 64))

        seller = await Seller(ledger, state).open()
        assert seller.state.service.log_id == "chosen"
        await seller.close()

    @pytest.mark.parametrize("place", ["last", "middle", "first"])
    async def test_an_altered_event_is_found(self, ledger: FaultyStream, state: Path, place: str) -> None:
        await self.opened(ledger, state)
        tip = await ledger.tip()
        altered = AlteredStream(ledger, {"last": tip, "middle": tip - 2, "first": 1}[place])
        for found in state_files(state):
            found.unlink()

        with pytest.raises(LedgerDamaged):
            await Seller(altered, state).open()

    async def test_the_last_event_is_checked_also_where_the_tables_have_it(
        self, ledger: FaultyStream, state: Path
    ) -> None:
        anchor = await self.opened(ledger, state)

        with pytest.raises(LedgerDamaged, match="not the one that was acknowledged"):
            await check_anchor(AlteredStream(ledger, await ledger.tip()), anchor)

    async def test_what_was_written_after_the_anchor_must_hash_too(self, ledger: FaultyStream, state: Path) -> None:
        await self.opened(ledger, state)
        last = await ledger.last()
        assert last is not None
        forged = Outgoing(f"rear.log.{SERVICE}.pool.x", b"forged", "cd" * 32)
        await ledger.append([forged], last.sequence, timeout=5)

        assert f"event at {last.sequence + 1}" in await self.refused(ledger, state)


class TestOpening:
    async def test_a_batch_that_lands_late_is_read_before_the_first_answer(
        self, ledger: FaultyStream, seller: Seller
    ) -> None:
        """A writer died; its last batch lands between the new one's reading and its fence."""
        late: list[int] = []

        async def overtaken(really: Callable[[], Awaitable[int]]) -> int:
            late.append(await ledger.tip())
            await append_foreign(seller, register("late", seller))
            return await really()

        await seller.close()
        ledger.faults = [overtaken]
        await seller.open()

        assert len(late) == 1
        assert set(seller.state.pools) == {"machine", "late"}
        assert seller.state.service.epoch == 2
        tables, rebuilt = await seller.digests()
        assert tables == rebuilt

    @pytest.mark.parametrize(("fault", "epoch"), [(lands_unheard, 3), (is_lost, 2)])
    async def test_a_fence_of_which_nothing_was_heard_is_repeated(
        self, ledger: FaultyStream, seller: Seller, fault: Fault, epoch: int
    ) -> None:
        await seller.close()
        ledger.faults = [fault]
        await seller.open()

        assert seller.state.service.epoch == epoch
        tables, rebuilt = await seller.digests()
        assert tables == rebuilt


class TestTables:
    async def test_they_catch_up(self, seller: Seller) -> None:
        made = [(await seller.reserve(f"r{number}", wish(f"r{number}", cpus(1_000)))).contract for number in range(4)]
        await seller.cancel(made[0].id, verb("c"))
        await seller.feed.at_least(seller.writer.tip[0])

        standing = seller.tables.standing()
        assert (standing.sequence, standing.hash) == seller.writer.tip
        assert [seller.tables.contract(each.id) for each in made[1:]] == made[1:]
        assert set(seller.state.contracts) == {each.id for each in made[1:]}  # what has ended is only there
        page = await seller.contracts.page(caller=BUYER, states=(), pool_id="", after=0, limit=3)
        assert [each.id for each in page.contracts] == [each.id for each in made[:3]]
        tables, rebuilt = await seller.digests()
        assert tables == rebuilt

    async def test_behind_by_any_number_of_events_they_are_brought_up_at_a_start(
        self, ledger: FaultyStream, seller: Seller, tmp_path: Path
    ) -> None:
        """Also where a page of the replay ends inside of a commit."""
        window = AskedWindow(duration=HOUR)
        for number in range(3):
            await seller.reserve(f"r{number}", wish(f"r{number}", cpus(1_000), window=window))
        await seller.cancel(wish("r0", cpus(1)).contract_id, verb("c"))
        seller.clock.advance(10 * MINUTE)
        await seller.timekeeper.work_off()
        await seller.reserve("r9", wish("r9", cpus(1_000)))
        tip = seller.writer.tip[0]

        for size in range(1, 8):
            ledger.page = size
            await seller.close()
            for found in state_files(seller.directory):
                found.unlink()
            await seller.open()
            assert set(seller.state.contracts) == {wish("r9", cpus(1)).contract_id}
            assert len(seller.state.allocations) == 1
            tables, rebuilt = await seller.digests()
            assert tables == rebuilt
        assert seller.writer.tip[0] == tip + 7

    async def test_tables_that_end_inside_of_a_commit_are_loaded(
        self, ledger: FaultyStream, seller: Seller, state: Path
    ) -> None:
        await seller.reserve("a", wish("a", cpus(1_000)))
        await seller.cancel(wish("a", cpus(1)).contract_id, verb("c"))
        await seller.reserve("b", wish("b", cpus(1_000)))
        tip = seller.writer.tip[0]
        await seller.close()
        digests = set()
        for behind in range(9):
            for found in state_files(state):
                found.unlink()
            await fill_tables(ledger, state, tip - behind)
            await seller.open()
            assert set(seller.state.contracts) == {wish("b", cpus(1)).contract_id}
            assert len(seller.state.allocations) == 1
            assert len(seller.state.pools["machine"].holds) == 1
            tables, rebuilt = await seller.digests()
            assert tables == rebuilt
            digests.add(tables)
            await seller.close()
        await seller.open()
        assert len(digests) == 9  # the epoch is a row too
