"""The consumer's side of peerings: asked for until there is an answer, recorded in one commit, let go in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from nodes.fabric.embedded import EmbeddedFabric
from nodes.fabric.fabric import bought
from nodes.fabric.manager import VirtualFabricManager
from rear.domain import purchase as purchases
from rear.domain import virtual_node
from rear.domain.allocation import Allocation, AllocationState, Peering
from rear.domain.event import Cause
from rear.domain.events import AnyEvent
from rear.domain.fabric import (
    FabricRefuses,
    FabricUnavailable,
    Grant,
    HeardOffer,
    ResourceOffer,
    ResourceRequest,
    Slice,
)
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.link import ContractCopy, Order
from rear.domain.purchase import Purchase
from rear.domain.refusals import (
    ContractNotFound,
    FabricNotReady,
    InvalidField,
    NotServed,
    PermissionDenied,
    RefusedElsewhere,
    WrongProvider,
    WrongState,
)
from rear.domain.virtual_node import virtual_node_id
from rear.domain.window import HOUR, MILLISECOND, AskedWindow, Duration, Instant, Window, after
from rear.ledger.commit import Committed, Decision
from rear.managers.consumer.peers import Unanswered
from tests.faulty_stream import FaultyStream
from tests.seller import T0, Seller, cpus
from tests.waiting import eventually

ENDPOINT = "127.0.0.1:7431"
CONSUMER = "spiffe://campus.example/node/n1"
SELLERS = ("spiffe://campus.example/node/n2", "spiffe://campus.example/node/n3")
WINDOW = Window(after(T0, HOUR), after(T0, 2 * HOUR))
UNANSWERED = Unanswered(14, "nobody is there")


def contract(seller_id: str = SELLERS[0], state: ContractState = ContractState.CONFIRMED) -> ContractCopy:
    key = str(uuid4())
    return ContractCopy(
        key,
        seller_id,
        CONSUMER,
        "machine-1",
        "machine",
        cpus(2_000),
        (),
        WINDOW,
        state,
        2,
        None,
        0,
        T0,
        T0,
        None,
        None,
        f"{key}-provider",
        "",
    )


class Providers:
    """`FabricPeers`: what they answer is what the test says; the contract is as `shown`, or else as it was bought."""

    def __init__(self) -> None:
        self.answers: list[Exception] = []
        self.shown: dict[str, ContractCopy] = {}
        self.fabric = "embedded"
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def request_resources(
        self, endpoint: str, provider_id: str, asked: ResourceRequest, *, deadline: float
    ) -> HeardOffer:
        assert endpoint == ENDPOINT
        self.asked.append(asked.contract_id)
        await self.gate.wait()
        if self.answers:
            raise self.answers.pop(0)
        shown = self.shown[asked.contract_id]
        offer = ResourceOffer(
            asked.contract_id,
            shown.allocation_id,
            self.fabric,
            Grant(ENDPOINT, b"s" * 32),
            asked.quantities,
            asked.units,
            asked.window,
            shown.state is ContractState.ACTIVE,
        )
        return HeardOffer(offer, shown, endpoint, Duration(MILLISECOND))


class Fabric(EmbeddedFabric):
    """An embedded fabric that says what it was told to do, and can be out of order."""

    def __init__(self) -> None:
        super().__init__(bytes(32), ENDPOINT)
        self.done: list[tuple[str, str]] = []
        self.broken: list[Exception] = []

    async def connect(self, peer_id: str, heard: HeardOffer) -> None:
        if self.broken:
            raise self.broken.pop(0)
        self.done.append(("connect", peer_id))
        await super().connect(peer_id, heard)

    async def attach(self, wanted: Slice, heard: HeardOffer) -> str:
        self.done.append(("attach", wanted.contract_id))
        return await super().attach(wanted, heard)

    async def detach(self, contract_id: str) -> None:
        self.done.append(("detach", contract_id))
        await super().detach(contract_id)

    async def disconnect(self, peer_id: str) -> None:
        self.done.append(("disconnect", peer_id))
        await super().disconnect(peer_id)

    @property
    def carried(self) -> tuple[set[str], set[str]]:
        return set(self._attached), set(self._connected)


class World:
    """A consumer's ledger with the manager at work, and providers of the test's own."""

    def __init__(self, ledger: Seller, fabric: Fabric | None = None, providers: Providers | None = None) -> None:
        self.ledger = ledger
        self.fabric = fabric or Fabric()
        self.providers = providers or Providers()
        self.manager = VirtualFabricManager(ledger.writer, self.providers, self.fabric)
        self.commits: list[list[str]] = []
        ledger.writer.listeners += [self.manager, self]

    def committed(self, batch: Sequence[Committed]) -> None:
        self.commits.append([type(item.step.event).__name__ for item in batch])

    async def start(self) -> World:
        self.manager.start(await self.fabric.standing(), bought(self.ledger.state))
        return self

    async def buy(self, copy: ContractCopy) -> ContractCopy:
        """Records that this was reserved and seen: step 24, with the VIRTUAL_NODE."""
        self.providers.shown.setdefault(copy.id, copy)
        window = AskedWindow(copy.window.start, copy.window.end)
        order = Order(copy.provider_id, ENDPOINT, copy.flavour_id, copy.partition, window)

        def decide(now: Instant) -> Decision[None]:
            cause = Cause(now, now)
            asked = purchases.request_reserve(None, copy.id, str(uuid4()), order, "request", "component", cause)
            assert asked is not None
            begun = purchases.evolve(None, asked)
            return Decision((asked, *virtual_node.seen(begun, None, copy, cause)), None)

        await self.ledger.writer.submit(decide)
        return copy

    async def see(self, copy: ContractCopy) -> None:
        """The seller shows the contract again."""

        def decide(now: Instant) -> Decision[None]:
            events: Sequence[AnyEvent] = virtual_node.seen(
                self.purchase(copy), self.ledger.state.allocations.get(virtual_node_id(copy.id)), copy, Cause(now, now)
            )
            return Decision(events, None)

        await self.ledger.writer.submit(decide)

    async def end(self, copy: ContractCopy) -> None:
        ended = replace(copy, state=ContractState.CANCELLED, revision=9, ending=Ending(CONSUMER, "no longer needed"))
        await self.see(ended)

    def purchase(self, copy: ContractCopy) -> Purchase:
        return self.ledger.state.purchases[copy.id]

    def allocation(self, copy: ContractCopy) -> Allocation:
        return self.ledger.state.allocations[virtual_node_id(copy.id)]

    async def peered(self, copy: ContractCopy, state: AllocationState = AllocationState.INACTIVE) -> None:
        await eventually(lambda: self.allocation(copy).peered is not None)
        await self.ledger.writer.settled()
        assert self.allocation(copy).state is state

    async def is_idle(self) -> None:
        await eventually(lambda: not self.manager._peerings.busy and not self.manager._pairs.busy)


@pytest.fixture
async def world(seller: Seller) -> AsyncIterator[World]:
    world = await World(seller).start()
    yield world
    await world.manager.stop()


async def test_what_was_bought_is_peered_and_becomes_active_at_the_start(world: World) -> None:
    copy = await world.buy(contract())

    await world.peered(copy)
    assert world.allocation(copy).peered == Peering(SELLERS[0], "embedded", ENDPOINT)
    await world.see(replace(copy, state=ContractState.ACTIVE, revision=3))

    assert world.allocation(copy).state is AllocationState.ACTIVE
    assert world.commits[-1][-2:] == ["LinkObserved", "AllocationActivated"]
    assert world.fabric.done == [("connect", SELLERS[0]), ("attach", copy.id)]


async def test_an_answer_with_a_newer_contract_is_recorded_with_the_peering_in_one_commit(world: World) -> None:
    bought_one = contract()
    world.providers.shown[bought_one.id] = replace(bought_one, state=ContractState.ACTIVE, revision=3)

    await world.buy(bought_one)

    await world.peered(bought_one, AllocationState.ACTIVE)
    assert world.commits[-1][-3:] == ["LinkObserved", "AllocationPeered", "AllocationActivated"]
    copy = world.purchase(bought_one).copy
    assert copy is not None
    assert (copy.state, copy.revision) == (ContractState.ACTIVE, 3)


async def test_an_answer_with_a_contract_that_has_ended_releases_the_allocation(world: World) -> None:
    copy = contract()
    world.providers.shown[copy.id] = replace(copy, state=ContractState.REVOKED, revision=3)

    await world.buy(copy)

    await eventually(lambda: not world.allocation(copy).stands)
    await world.is_idle()
    assert world.fabric.carried == (set(), set())


async def test_what_is_only_reserved_is_not_asked_for(world: World) -> None:
    copy = await world.buy(contract(state=ContractState.RESERVED))
    await world.is_idle()
    assert world.providers.asked == []

    world.providers.shown[copy.id] = agreed = replace(copy, state=ContractState.CONFIRMED, revision=3)
    await world.see(agreed)
    await world.peered(copy)


@pytest.mark.parametrize(
    "answer",
    [
        UNANSWERED,
        FabricNotReady("the fabric is away", Duration(MILLISECOND)),
        WrongState("the contract is RESERVED: purchase it first"),
        WrongProvider("somebody else lives here now"),
    ],
    ids=lambda answer: type(answer).__name__,
)
async def test_whoever_does_not_answer_is_asked_again(world: World, answer: Exception) -> None:
    world.providers.answers = [answer, answer]

    copy = await world.buy(contract())

    await world.peered(copy)
    assert world.providers.asked == [copy.id] * 3


@pytest.mark.parametrize(
    "answer",
    [
        ContractNotFound("there is no such contract"),
        InvalidField("quantities.cpu_millicores", "is 2000; the contract is about 1000"),
        NotServed("contract_id", "the fabric of this provider cannot carry it"),
        PermissionDenied("you may not"),
        RefusedElsewhere("unknown service", {"code": "UNIMPLEMENTED"}),
    ],
    ids=lambda answer: type(answer).__name__,
)
async def test_a_refusal_for_good_fails_the_allocation(world: World, answer: Exception) -> None:
    world.providers.answers = [answer]

    copy = await world.buy(contract())

    await eventually(lambda: world.allocation(copy).state is AllocationState.FAILED)
    await world.is_idle()
    assert world.providers.asked == [copy.id]
    assert world.manager.trouble is None


@pytest.mark.parametrize("broken", ["an unknown fabric", "it refuses"])
async def test_a_fabric_that_cannot_carry_it_fails_the_allocation(world: World, broken: str) -> None:
    if broken == "it refuses":
        world.fabric.broken = [FabricRefuses("no route between the clusters")]
    else:
        world.providers.fabric = "liqo"

    copy = await world.buy(contract())

    await eventually(lambda: world.allocation(copy).state is AllocationState.FAILED)
    assert world.fabric.carried == (set(), set())


async def test_a_fabric_that_does_not_answer_is_asked_again(world: World) -> None:
    world.fabric.broken = [FabricUnavailable("its API server is away")] * 2

    await world.peered(await world.buy(contract()))


async def test_asking_ends_with_the_contract(world: World) -> None:
    world.providers.answers = [UNANSWERED] * 1_000
    copy = await world.buy(contract())
    await eventually(lambda: len(world.providers.asked) > 1)

    await world.end(copy)

    await world.is_idle()
    assert not world.allocation(copy).stands


async def test_what_ends_while_it_is_asked_for_is_let_go(world: World) -> None:
    world.providers.gate.clear()
    copy = await world.buy(contract())
    await eventually(lambda: world.providers.asked == [copy.id])

    await world.end(copy)
    world.providers.gate.set()

    await world.is_idle()
    assert world.fabric.carried == (set(), set())
    assert world.allocation(copy).peered is None


async def test_a_pair_is_set_up_for_the_first_and_taken_down_after_the_last(world: World) -> None:
    first, second, third = [await world.buy(contract()) for _ in range(3)]
    other = await world.buy(contract(SELLERS[1]))
    for copy in (first, second, third, other):
        await world.peered(copy)
    assert world.fabric.carried == ({copy.id for copy in (first, second, third, other)}, set(SELLERS))

    await world.end(second)
    await world.end(first)
    await world.is_idle()
    assert world.fabric.carried == ({third.id, other.id}, set(SELLERS))
    await world.end(third)
    await world.is_idle()
    assert world.fabric.carried == ({other.id}, {SELLERS[1]})
    assert world.fabric.done.count(("disconnect", SELLERS[0])) == 1


async def test_after_a_restart_what_is_peered_is_asked_for_again_and_what_ended_is_let_go(
    world: World, ledger: FaultyStream, state: Path
) -> None:
    kept, ended = await world.buy(contract()), await world.buy(contract(SELLERS[1]))
    for copy in (kept, ended):
        await world.peered(copy)
    await world.manager.stop()
    await world.end(ended)
    await world.ledger.close()

    outlives = world.fabric  # as a cluster's would
    again = await Seller(ledger, state, world.ledger.clock).open()
    try:
        later = World(again, outlives, world.providers)
        outlives.done.clear()
        await later.start()
        await later.is_idle()
        assert outlives.carried == ({kept.id}, {SELLERS[0]})
        assert outlives.done == [("detach", ended.id), ("disconnect", SELLERS[1])]
        await later.manager.stop()

        fresh = World(again, Fabric(), world.providers)  # as the embedded one
        tip = again.writer.tip
        await fresh.start()
        await eventually(lambda: fresh.fabric.carried == ({kept.id}, {SELLERS[0]}))
        await fresh.is_idle()
        assert again.writer.tip == tip
        assert len(set(await again.digests())) == 1
        await fresh.manager.stop()
    finally:
        await again.close()


async def test_a_provider_that_hangs_keeps_no_other_from_being_asked(world: World) -> None:
    world.providers.gate.clear()
    hanging = [await world.buy(contract()) for _ in range(12)]
    await eventually(lambda: len(world.providers.asked) == 8)

    other = await world.buy(contract(SELLERS[1]))

    await eventually(lambda: other.id in world.providers.asked)
    world.providers.gate.set()
    for copy in (*hanging, other):
        await world.peered(copy)
