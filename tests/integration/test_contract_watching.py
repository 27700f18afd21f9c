"""What those who watch contracts are told, over a real ledger and real tables."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest

from rear.domain.lifecycle import ContractState
from rear.domain.refusals import NotReady, NotWriter, Refusal, TooManyWatches
from rear.domain.window import SECOND, AskedWindow, Duration
from rear.ledger.position import Position
from rear.managers.provider import contract_watches, contract_watching
from rear.managers.provider.contract_watches import ContractWatches, Watched
from rear.managers.provider.contract_watching import ContractWatching, Kind, Told
from rear.rpc import open_watches
from rear.rpc.contract_watch import ContractWatch
from rear.rpc.identity import Anonymous
from rear.v1.contract_service_pb2 import WatchContractsRequest
from tests.faulty_stream import FaultyStream
from tests.seller import BUYER, MACHINE, ManualClock, Seller, cpus, verb, wish
from tests.waiting import eventually

OTHER: Final = "spiffe://edge.example/node/n3"
WINDOW: Final = AskedWindow(duration=Duration(100 * SECOND))
MINE: Final = Watched(BUYER)
ROUNDS: Final = int(os.environ.get("REAR_WATCH_ROUNDS", "1"))
"""How long contracts come and go; more under `make soak`."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep-alives come when nothing else does, so that no test waits long for nothing."""
    monkeypatch.setattr(contract_watching, "KEEP_ALIVE", 0.2)


def watching(seller: Seller) -> ContractWatching:
    watches = ContractWatches(seller.writer.tip[0])
    seller.writer.listeners.append(watches)
    return ContractWatching(seller.provider, seller.stream, seller.service, watches)


def nothing() -> None:
    """Lets every watcher go on."""


async def reserve(seller: Seller, name: str, *, caller: str = BUYER) -> str:
    """The id of a new contract for a core."""
    command = wish(name, cpus(1_000), window=WINDOW, caller=caller)
    return (await seller.reserve(name, command, caller=caller)).contract.id


@dataclass(slots=True)
class Watcher:
    """One that keeps copies as the protocol says, and goes on from the newest position."""

    watching: ContractWatching
    watched: Watched = MINE
    position: Position | None = None
    told: list[Told] = field(default_factory=list)
    copies: dict[str, tuple[int, ContractState | None]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)

    def take(self, one: Told, own: Position) -> None:
        self.told.append(one)
        if one.kind in (Kind.BEGUN, Kind.RESET):
            self.unsure = {key for key, (_, state) in self.copies.items() if state in contract_watching.LIVE}
        for contract in one.contracts:
            revision, _ = self.copies.get(contract.id, (0, None))
            if contract.version > revision:
                self.copies[contract.id] = contract.version, contract.state
            self.unsure.discard(contract.id)
        if one.kind is Kind.SYNCED:
            self.copies |= {key: (self.copies[key][0], None) for key in self.unsure}
            self.unsure = set()
        self.position = replace(own, sequence=one.sequence)

    async def read(self, until: Kind = Kind.KEEP_ALIVE, pause: float = 0.0) -> list[Told]:
        """Watches from where it stands until it was told that; what it was told now."""
        before, own = len(self.told), self.watching._provider.writer.position
        async with aclosing(self.watching.watch(self.watched, self.position, nothing)) as telling:
            async for one in telling:
                self.take(one, own)
                if one.kind is until:
                    break
                await asyncio.sleep(pause)
        return self.told[before:]


def kinds(told: list[Told]) -> list[Kind]:
    return [one.kind for one in told]


async def exhausted(telling: AsyncGenerator[Told, None]) -> None:
    async for _ in telling:
        pass


def contracts(told: list[Told]) -> list[tuple[str, int]]:
    return [(contract.id, contract.version) for one in told for contract in one.contracts]


async def test_it_begins_with_what_lives_and_goes_on_with_what_changes(seller: Seller) -> None:
    lives, ended = await reserve(seller, "lives"), await reserve(seller, "ended")
    await reserve(seller, "another's", caller=OTHER)
    await seller.cancel(ended, verb("c1"))
    watcher = Watcher(watching(seller))

    reading = asyncio.create_task(watcher.read())
    await eventually(lambda: Kind.SYNCED in kinds(watcher.told))
    new = await reserve(seller, "new")
    await reserve(seller, "another's, too", caller=OTHER)
    await seller.cancel(lives, verb("c2"))
    told = await reading

    assert kinds(told)[:3] == [Kind.BEGUN, Kind.UPDATE, Kind.SYNCED]
    assert contracts(told) == [(lives, 1), (new, 1), (lives, 2)]
    assert told[-1].sequence == seller.writer.tip[0]


async def test_one_that_goes_on_is_told_what_it_missed_also_what_ended(seller: Seller) -> None:
    expires, cancelled = await reserve(seller, "expires"), await reserve(seller, "cancelled")
    watcher = Watcher(watching(seller))
    await watcher.read(Kind.SYNCED)
    await seller.cancel(cancelled, verb("c"))
    new = await reserve(seller, "new")
    seller.clock.advance(100 * SECOND)
    await seller.timekeeper.work_off()

    told = await watcher.read(Kind.SYNCED)

    assert kinds(told) == [Kind.RESUMED, Kind.UPDATE, Kind.SYNCED]
    assert dict(contracts(told)) == {expires: 2, cancelled: 2, new: 2}
    assert {state for _, state in watcher.copies.values()} == {ContractState.EXPIRED, ContractState.CANCELLED}
    assert kinds(await watcher.read(Kind.SYNCED)) == [Kind.RESUMED, Kind.SYNCED]


async def test_a_seller_that_starts_again_goes_on_with_those_who_watched_before(seller: Seller) -> None:
    watcher = Watcher(watching(seller))
    await watcher.read(Kind.SYNCED)
    held = await reserve(seller, "held")
    await seller.drop()
    seller.clock.advance(100 * SECOND)
    await seller.open()
    await seller.timekeeper.work_off()

    watcher.watching = watching(seller)
    assert kinds(await watcher.read(Kind.SYNCED)) == [Kind.RESUMED, Kind.UPDATE, Kind.SYNCED]
    assert watcher.copies == {held: (2, ContractState.EXPIRED)}


@pytest.mark.parametrize("off", ["another ledger", "beyond the end", "too far behind"])
async def test_where_it_cannot_go_on_it_begins_anew_and_says_so(
    seller: Seller, off: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher(watching(seller))
    ended, lives = await reserve(seller, "ended"), await reserve(seller, "lives")
    await watcher.read(Kind.SYNCED)
    await seller.cancel(ended, verb("c"))
    own = seller.writer.position
    match off:
        case "another ledger":
            watcher.position = replace(own, log_id="another")
        case "beyond the end":
            watcher.position = replace(own, sequence=own.sequence + 1)
        case _:
            monkeypatch.setattr(contract_watching, "FARTHEST_BEHIND", 2)

    told = await watcher.read(Kind.SYNCED)

    assert kinds(told) == [Kind.RESET, Kind.UPDATE, Kind.SYNCED]
    assert contracts(told) == [(lives, 1)]
    assert watcher.copies[ended] == (1, None)  # what is not told is not there any more


async def test_named_contracts_are_told_also_where_they_have_ended(seller: Seller) -> None:
    ended, lives = await reserve(seller, "ended"), await reserve(seller, "lives")
    others = await reserve(seller, "others", caller=OTHER)
    await seller.cancel(ended, verb("c"))

    told = await Watcher(watching(seller), Watched(BUYER, frozenset({ended, others, "nobody's"}))).read()
    assert contracts(told) == [(ended, 2)]
    told = await Watcher(watching(seller), Watched(None)).read()
    assert {key for key, _ in contracts(told)} == {lives, others}


async def test_nothing_is_told_that_is_not_durable(seller: Seller, ledger: FaultyStream) -> None:
    watcher = Watcher(watching(seller))
    reading = asyncio.create_task(watcher.read())
    await eventually(lambda: Kind.SYNCED in kinds(watcher.told))
    ledger.gate.clear()
    reserving = asyncio.create_task(reserve(seller, "held"))
    assert kinds(await reading)[-1] is Kind.KEEP_ALIVE  # in memory it is, and has been for that long
    assert watcher.copies == {}
    ledger.gate.set()

    held = await reserving
    await watcher.read(Kind.SYNCED)
    assert watcher.copies == {held: (1, ContractState.RESERVED)}


async def test_a_slow_watcher_is_told_of_each_contract_as_it_is_at_last(seller: Seller) -> None:
    async with aclosing(watching(seller).watch(MINE, None, nothing)) as telling:
        while (await anext(telling)).kind is not Kind.SYNCED:
            pass
        moved, ended = await reserve(seller, "moved"), await reserve(seller, "ended")
        await seller.purchase(moved, verb("p", 1))
        await seller.cancel(ended, verb("c"))

        news = await anext(telling)
        assert contracts([news]) == [(moved, 2), (ended, 2)]
        assert news.sequence == seller.writer.tip[0]


@pytest.mark.parametrize(("farthest", "kind"), [(1_000, Kind.RESUMED), (2, Kind.RESET)])
async def test_a_watcher_that_falls_behind_is_caught_up_and_takes_up_no_room(
    seller: Seller, monkeypatch: pytest.MonkeyPatch, farthest: int, kind: Kind
) -> None:
    monkeypatch.setattr(contract_watches, "MOST_WAITING", 3)
    async with aclosing(watching(seller).watch(MINE, None, nothing)) as telling:
        while (await anext(telling)).kind is not Kind.SYNCED:
            pass
        monkeypatch.setattr(contract_watching, "FARTHEST_BEHIND", farthest)
        made = [await reserve(seller, f"r{number}") for number in range(5)]
        await seller.cancel(made[0], verb("c"))

        told = [await anext(telling) for _ in range(3)]
        assert kinds(told) == [kind, Kind.UPDATE, Kind.SYNCED]
        expected = {key: 1 for key in made[1:]} | ({made[0]: 2} if kind is Kind.RESUMED else {})
        assert dict(contracts(told)) == expected
        assert (await anext(telling)).kind is Kind.KEEP_ALIVE


async def test_it_ends_when_it_may_not_go_on(seller: Seller) -> None:
    refusal: Refusal | None = None

    def check() -> None:
        if refusal is not None:
            raise refusal

    watched = watching(seller)
    async with aclosing(watched.watch(MINE, None, check)) as telling:
        while (await anext(telling)).kind is not Kind.KEEP_ALIVE:
            pass
        refusal = NotReady("it is shutting down", SECOND)
        waiting = asyncio.ensure_future(anext(telling))
        await asyncio.sleep(0)
        watched._watches.wake()
        with pytest.raises(NotReady):
            await waiting


async def test_a_writer_that_was_deposed_tells_nothing_more(
    seller: Seller, ledger: FaultyStream, tmp_path: Path
) -> None:
    async with aclosing(watching(seller).watch(MINE, None, nothing)) as telling:
        while (await anext(telling)).kind is not Kind.SYNCED:
            pass
        shutil.copytree(seller.directory, tmp_path / "successor")
        successor = await Seller(ledger, tmp_path / "successor", seller.clock).open()
        try:
            with pytest.raises(NotWriter):
                await reserve(seller, "late")
            with pytest.raises(NotWriter):
                await exhausted(telling)
        finally:
            await successor.close()


@pytest.fixture
async def large(ledger: FaultyStream, state: Path) -> AsyncIterator[Seller]:
    """A seller of which many can buy at once."""
    seller = await Seller(ledger, state, ManualClock()).open()
    await seller.pools.reconcile([replace(MACHINE, capacity=cpus(1_000_000_000).quantities, units=())])
    yield seller
    await seller.close()


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_whoever_comes_goes_and_reads_slowly_ends_with_what_is(
    large: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = os.environ.get("REAR_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"REAR_SEED={seed}")
    chance = random.Random(seed)
    monkeypatch.setattr(contract_watches, "MOST_WAITING", 8)
    monkeypatch.setattr(contract_watching, "PAGE", 3)
    monkeypatch.setattr(contract_watching, "FARTHEST_BEHIND", 60)
    live: list[str] = []
    everything: set[str] = set()
    watched, over = watching(large), False

    async def market() -> None:
        for number in range(150 * ROUNDS):
            if live and chance.random() < 0.45:
                await large.cancel(live.pop(chance.randrange(len(live))), verb(f"c{number}"))
            else:
                live.append(await reserve(large, f"r{number}"))
                everything.add(live[-1])
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.01)

    async def watch(watcher: Watcher) -> None:
        visits = 0
        while not over:
            visits += 1
            own, left = large.writer.position, chance.randrange(1, 12)
            if visits % 4 == 0:
                watcher.position = replace(own, log_id="another")
            async with aclosing(watched.watch(MINE, watcher.position, nothing)) as telling:
                async for one in telling:
                    watcher.take(one, own)
                    left -= 1
                    if left == 0 or over:
                        break
                    await asyncio.sleep(chance.choice((0, 0, 0.001, 0.02)))

    watchers = [Watcher(watched) for _ in range(6)]
    async with asyncio.TaskGroup() as group:
        for watcher in watchers:
            group.create_task(watch(watcher))
        await market()
        over = True

    seen = {kind for watcher in watchers for kind in kinds(watcher.told)}
    assert seen >= {Kind.BEGUN, Kind.RESUMED, Kind.RESET, Kind.UPDATE, Kind.SYNCED}
    for watcher in watchers:
        await watcher.read()
        still = {key for key, (_, state) in watcher.copies.items() if state is ContractState.RESERVED}
        assert still == set(live)
        ended = {state for key, (_, state) in watcher.copies.items() if key not in still}
        assert ended <= {ContractState.CANCELLED, None}


class Open:
    """A gate that lets everybody through."""

    def check(self) -> None:
        """Raises nothing."""


async def test_a_caller_has_so_many_watches_and_no_more(seller: Seller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_watches, "MOST_WATCHES", 2)
    watch = ContractWatch(watching(seller), seller.provider, Anonymous("campus.example"), Open())
    one, two, three, another = (
        watch.answer(WatchContractsRequest(), caller) for caller in (BUYER, BUYER, BUYER, OTHER)
    )
    await anext(one)
    await anext(two)

    with pytest.raises(TooManyWatches, match=BUYER):
        await anext(three)
    await anext(another)
    await one.aclose()
    await anext(watch.answer(WatchContractsRequest(), BUYER))
