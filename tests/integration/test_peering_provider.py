"""The provider's side of peerings: which contracts cover a request, what becomes active when, and what stays secret."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nodes.fabric.embedded import EmbeddedFabric
from nodes.fabric.granting import Granting
from rear.domain.allocation import Allocation, AllocationState
from rear.domain.contract import Contract
from rear.domain.events import AllocationActivated, AllocationPeered, AllocationSide, ContractActivated
from rear.domain.fabric import FabricRefuses, FabricUnavailable, Grant, ResourceRequest, Slice
from rear.domain.lifecycle import ContractState
from rear.domain.quantities import Quantities
from rear.domain.refusals import ContractNotFound, FabricNotReady, InvalidField, NotServed, WrongState
from rear.domain.window import HOUR, MINUTE, AskedWindow, Duration, after
from rear.ledger.codec import decode
from rear.managers.provider.fabric import FabricManager, Offered
from tests.faulty_stream import FaultyStream
from tests.seller import BUYER, T0, Seller, cpus, verb, wish
from tests.waiting import eventually

SECRET = bytes(range(32))
LATER = AskedWindow(after(T0, HOUR), duration=Duration(HOUR))


class Fabric(EmbeddedFabric):
    """An embedded fabric that can be out of order."""

    def __init__(self) -> None:
        super().__init__(SECRET, "127.0.0.1:7431")
        self.broken: Exception | None = None

    async def grant(self, asked: Slice) -> Grant:
        if self.broken is not None:
            raise self.broken
        return await super().grant(asked)

    @property
    def granted(self) -> set[str]:
        return self._granted


class World:
    """A seller with a fabric."""

    def __init__(self, seller: Seller) -> None:
        self.seller = seller
        self.fabric = Fabric()
        self.granting = Granting(seller.writer, self.fabric)
        seller.writer.listeners.append(self.granting)
        self.manager = FabricManager(seller.provider, self.granting)

    async def agree(self, request_id: str = "a", window: AskedWindow = LATER) -> Contract:
        command = wish(request_id, cpus(2_000), window=window, confirm=True)
        return (await self.seller.reserve(request_id, command)).contract

    async def ask(self, asked: ResourceRequest | Contract, caller: str = BUYER) -> Offered:
        return await self.manager.request(about(asked) if isinstance(asked, Contract) else asked, caller=caller)

    def allocation(self, contract: Contract) -> Allocation:
        return self.seller.state.allocations[contract.allocation_id]

    async def events(self) -> list[tuple[int, str, str]]:
        """Of each event its batch, by its recorded time, its class and its aggregate."""
        tip = await self.seller.stream.tip()
        stored = [await self.seller.stream.get(at) for at in range(1, tip + 1)]
        found = [decode(one.payload).event for one in stored if one is not None]
        return [(event.cause.recorded_at, type(event).__name__, event.originator_id) for event in found]


def about(contract: Contract) -> ResourceRequest:
    return ResourceRequest(contract.id, contract.partition.quantities, contract.assigned_units, contract.window)


@pytest.fixture
async def world(seller: Seller) -> World:
    return World(seller)


async def test_an_agreed_contract_is_peered_before_its_window_and_both_become_active_in_one_commit(
    world: World,
) -> None:
    contract = await world.agree()

    offered = await world.ask(contract)

    assert (offered.offer.active, offered.contract.state) == (False, ContractState.CONFIRMED)
    assert world.allocation(contract).state is AllocationState.INACTIVE
    assert world.allocation(contract).peered is not None

    world.seller.clock.advance(HOUR)
    assert await world.seller.timekeeper.work_off() == 1
    assert world.seller.state.contracts[contract.id].state is ContractState.ACTIVE
    assert world.allocation(contract).state is AllocationState.ACTIVE
    assert (await world.ask(contract)).offer.active
    first, second = (await world.events())[-2:]
    assert (first[1], second[1]) == (ContractActivated.__name__, AllocationActivated.__name__)


async def test_a_window_that_has_begun_makes_all_active_at_once(world: World) -> None:
    contract = await world.agree()
    world.seller.clock.advance(HOUR + MINUTE)  # and nobody has looked at the timers

    offered = await world.ask(contract)

    assert (offered.offer.active, offered.contract.state) == (True, ContractState.ACTIVE)
    recorded, kinds, _ = zip(*(await world.events())[-3:], strict=True)
    assert kinds == (ContractActivated.__name__, AllocationPeered.__name__, AllocationActivated.__name__)
    assert len(set(recorded)) == 1
    assert world.seller.state.contracts[contract.id].updated_at == contract.window.start
    assert await world.seller.timekeeper.work_off() == 0


async def test_asking_again_gives_the_same_and_writes_nothing(world: World) -> None:
    contract = await world.agree()
    first = await world.ask(contract)
    tip = world.seller.writer.tip

    assert (await world.ask(contract)).offer == first.offer
    assert [each.offer for each in await asyncio.gather(*(world.ask(contract) for _ in range(5)))] == [first.offer] * 5
    assert world.seller.writer.tip == tip


async def test_many_that_ask_at_once_peer_once(world: World) -> None:
    contract = await world.agree()

    offers = [each.offer for each in await asyncio.gather(*(world.ask(contract) for _ in range(8)))]

    assert offers == [offers[0]] * 8
    assert [kind for _, kind, _ in await world.events()].count(AllocationPeered.__name__) == 1


async def test_each_contract_between_the_same_two_is_a_peering_of_its_own(world: World) -> None:
    contracts = [await world.agree(name) for name in "abc"]

    offers = [(await world.ask(contract)).offer for contract in contracts]

    assert len({offer.grant.credential for offer in offers}) == 3
    assert [offer.contract_id for offer in offers] == [contract.id for contract in contracts]
    assert all(world.allocation(contract).peered for contract in contracts)


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (lambda asked: replace(asked, quantities=Quantities({"cpu_millicores": 2_001})), "quantities.cpu_millicores"),
        (lambda asked: replace(asked, window=replace(asked.window, end=after(asked.window.end, 1))), "window.end"),
        (lambda asked: replace(asked, contract_id=""), "contract_id"),
    ],
)
async def test_what_the_contract_is_not_about_is_refused(
    world: World, other: Callable[[ResourceRequest], ResourceRequest], field: str
) -> None:
    contract = await world.agree()
    tip = world.seller.writer.tip

    with pytest.raises(InvalidField) as refused:
        await world.ask(other(about(contract)))

    assert refused.value.field == field
    assert world.seller.writer.tip == tip


async def test_a_contract_of_somebody_else_is_not_there(world: World) -> None:
    contract = await world.agree()

    with pytest.raises(ContractNotFound):
        await world.ask(contract, caller=f"{BUYER}-2")
    with pytest.raises(ContractNotFound):
        await world.ask(replace(about(contract), contract_id="nobody's"))


async def test_what_is_only_reserved_has_to_be_bought_first(world: World) -> None:
    contract = (await world.seller.reserve("a", wish("a", cpus(2_000), window=LATER))).contract

    with pytest.raises(WrongState, match="RESERVED: purchase it first") as refused:
        await world.ask(contract)
    assert refused.value.metadata["state"] == "RESERVED"

    bought = (await world.seller.purchase(contract.id, verb("p", contract.version))).contract
    await world.ask(bought)


async def test_what_has_ended_is_refused(world: World) -> None:
    cancelled, over, expired = [
        await world.agree("cancelled"),
        await world.agree("over"),
        (await world.seller.reserve("e", wish("e", cpus(1_000), window=LATER, ttp=Duration(MINUTE)))).contract,
    ]
    await world.seller.cancel(cancelled.id, verb("c"))
    with pytest.raises(WrongState) as refused:
        await world.ask(cancelled)
    assert refused.value.metadata["state"] == "CANCELLED"

    world.seller.clock.advance(3 * HOUR)  # and nobody has looked at the timers
    for contract, state in ((over, "COMPLETED"), (expired, "EXPIRED")):
        with pytest.raises(WrongState) as refused:
            await world.ask(contract)
        assert refused.value.metadata["state"] == state


async def test_what_is_released_is_withdrawn(world: World) -> None:
    kept, ended = await world.agree("kept"), await world.agree("ended")
    for contract in (kept, ended):
        await world.ask(contract)
    assert world.fabric.granted == {kept.id, ended.id}

    await world.seller.cancel(ended.id, verb("c"))

    await eventually(lambda: world.fabric.granted == {kept.id})
    assert world.allocation(kept).stands


async def test_after_a_restart_what_is_peered_is_granted_and_nothing_else(
    world: World, ledger: FaultyStream, state: Path
) -> None:
    kept, ended, unpeered = [await world.agree(name) for name in ("kept", "ended", "unpeered")]
    before = {contract.id: (await world.ask(contract)).offer for contract in (kept, ended)}
    await world.seller.cancel(ended.id, verb("c"))
    await world.seller.close()

    again = await Seller(ledger, state, world.seller.clock).open()
    try:
        later = World(again)
        later.fabric._granted |= {ended.id, "unheard of"}  # a fabric that outlives the node
        later.granting.start(later.fabric.granted, again.tables.peered(AllocationSide.PROVIDER))
        await eventually(lambda: later.fabric.granted == {kept.id})
        assert (await later.ask(kept)).offer == before[kept.id]
        assert later.allocation(unpeered).peered is None
        assert len(set(await again.digests())) == 1
        await later.granting.stop()
    finally:
        await again.close()


async def test_a_fabric_that_does_not_answer_is_asked_again(world: World) -> None:
    contract = await world.agree()
    world.fabric.broken = FabricUnavailable("its cluster is not there")

    with pytest.raises(FabricNotReady) as refused:
        await world.ask(contract)
    assert "cluster" not in refused.value.message
    world.fabric.broken = None

    assert (await world.ask(contract)).offer.grant.credential
    assert world.allocation(contract).state is AllocationState.INACTIVE


async def test_a_fabric_that_cannot_carry_it_fails_the_allocation(world: World) -> None:
    contract = await world.agree()
    world.fabric.broken = FabricRefuses("no such device class")

    with pytest.raises(NotServed):
        await world.ask(contract)

    await eventually(lambda: world.allocation(contract).state is AllocationState.FAILED)
    world.fabric.broken = None
    with pytest.raises(NotServed):
        await world.ask(contract)
    world.seller.clock.advance(HOUR)
    await world.seller.timekeeper.work_off()
    assert world.allocation(contract).state is AllocationState.FAILED
    await world.seller.cancel(contract.id, verb("c"))
    assert contract.allocation_id not in world.seller.state.allocations or not world.allocation(contract).stands


async def test_no_credential_is_in_the_ledger_or_in_the_tables(world: World) -> None:
    contract = await world.agree()
    secret = (await world.ask(contract)).offer.grant.credential
    await world.seller.feed.at_least(world.seller.writer.tip[0])

    stored = [await world.seller.stream.get(at) for at in range(1, await world.seller.stream.tip() + 1)]
    assert all(one is not None and secret not in one.payload for one in stored)
    files = [path.read_bytes() for path in world.seller.directory.glob("tables.sqlite*")]
    assert files
    assert all(secret not in content and secret.hex().encode() not in content for content in files)
