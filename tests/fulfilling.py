"""A service request with everything around it, in memory: providers that do as they like, time, and whoever cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from types import SimpleNamespace
from typing import Any

from nodes.orchestration.deciding import Again, Deciding, Found
from nodes.orchestration.placing import Placing
from nodes.orchestration.records import Records
from rear.domain import allocation as allocations
from rear.domain import pool as pools
from rear.domain import virtual_node
from rear.domain.allocation import Peering
from rear.domain.answers import ProviderAnswer
from rear.domain.candidate import Candidate, Route
from rear.domain.contract import Contract, contract_id
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.event import Cause
from rear.domain.events import AnyEvent
from rear.domain.flavour import Flavour, Offer
from rear.domain.fulfilment import PATIENCE
from rear.domain.hold import HoldKind
from rear.domain.intent import Agreement, Component, Intent, Workload
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.link import ContractCopy, LinkVerb, Order
from rear.domain.moves import Search, Wait
from rear.domain.price import Price
from rear.domain.purchase import Purchase
from rear.domain.ranking import UNRATED
from rear.domain.request_events import IntentAccepted, RequestCancelled
from rear.domain.reservation import Promises
from rear.domain.service_request import ServiceRequest
from rear.domain.state import State
from rear.domain.window import HOUR, MINUTE, SECOND, AskedWindow, Duration, Instant, Window, after
from rear.managers.provider.provider import Provider
from rear.managers.provider.timers import Timers
from tests.examples import TERMS
from tests.seller import BUYER, T0, cpus, divisible, gpus

REQUEST = "0c5c2f7e-94b1-5a0e-8f3b-6d2e7a1c9b40"
PROVIDER = "spiffe://campus.example/node/far"
WORKLOAD = Workload(("/bin/shop",))
PROMISES = Promises(default_lease=Duration(6 * HOUR))


def component(name: str, millicores: int, **more: Any) -> Component:
    return Component(name, cpus(millicores), WORKLOAD, **more)


def candidate(name: str, provider_id: str = PROVIDER, now: Instant = T0, flavour_id: str = "") -> Candidate:
    """An offer of a pool of 64 cores."""
    capacity = cpus(64_000).quantities
    offer = Offer(flavour_id or f"{name}-1", "", capacity, (), now)
    flavour = Flavour(offer, divisible(), name, gpus("T4"))
    window = Window(now, after(now, HOUR))
    return Candidate(
        provider_id, flavour, (Route(provider_id, "10.0.0.7:7000", Price()),), capacity, (), window, now, now
    )


@dataclass
class NoTables:
    """Tables that have what memory has forgotten."""

    purchases: dict[str, Purchase]
    requests: dict[str, ServiceRequest]

    def purchase(self, key: str) -> Purchase | None:
        return self.purchases.get(key)

    def service_request(self, key: str) -> ServiceRequest | None:
        return self.requests.get(key)


class World:
    """One node with two pools of 4 cores, and what happens to one service request or several."""

    def __init__(self) -> None:
        self.state = State()
        self.now = T0
        self.events: list[AnyEvent] = []
        self.tables = NoTables({}, {})
        writer = SimpleNamespace(state=self.state, now=lambda: self.now)
        archive: Any = None
        any_writer: Any = writer
        self.timers = Timers()
        provider = self.provider = Provider("spiffe://here.example/node/me", PROMISES, any_writer, archive, self.timers)
        records = Records(self.state, self.tables)
        self.deciding = Deciding(provider, records, Placing(provider, records, UNRATED), self.contract_id, PATIENCE)
        for name in ("a", "b"):
            self.add(pools.register(name, TERMS, cpus(4_000).quantities, gpus("T4"), self.cause))

    @staticmethod
    def contract_id(order: Order, request_id: str) -> str:
        return contract_id(order.provider_id, BUYER, request_id)

    @property
    def cause(self) -> Cause:
        return Cause(self.now, self.now)

    def add(self, *events: AnyEvent) -> None:
        for event in events:
            after_it = self.state.apply(event).after
            if isinstance(after_it, Contract):
                self.timers.watch(after_it)
            if isinstance(after_it, Purchase):
                self.tables.purchases[after_it.id] = after_it
            if isinstance(after_it, ServiceRequest):
                self.tables.requests[after_it.id] = after_it
            self.events.append(event)

    def submit(self, *components: Component, agreement: Agreement = Agreement.RESERVE_THEN_PURCHASE) -> None:
        intent = Intent("shop", components, agreement)
        self.add(IntentAccepted(REQUEST, 1, Cause(self.now, self.now, BUYER, "i1"), intent, b""))

    @property
    def request(self) -> ServiceRequest:
        return self.tables.requests[REQUEST]

    @property
    def reached(self) -> str:
        """The state that the request is in."""
        return self.request.state.value

    def go_on(self) -> Any:
        """Decides until there is nothing more to decide, and tells what is to be done then."""
        for _ in range(100):
            decision = self.deciding.go_on(REQUEST, self.now)
            self.add(*decision.events)
            if not isinstance(decision.answer, Again):
                assert self.deciding.go_on(REQUEST, self.now).events == ()
                return decision.answer
        raise AssertionError("it never comes to rest")

    def found(self, *candidates: Candidate, final: bool = True, names: Sequence[str] = ()) -> Any:
        """What a search for everything that is searched for came to; what is to be done then."""
        move = self.go_on()
        assert isinstance(move, Search), move
        answers = (ProviderAnswer(PROVIDER, "10.0.0.7:7000", 0, "", Duration(1), len(candidates)),)
        heard = {name: Found(candidates, answers, final) for name in names or move.components}
        self.add(*self.deciding.take(REQUEST, heard, self.now).events)
        return self.go_on()

    # -- providers -----------------------------------------------------------------------------------------

    @property
    def purchases(self) -> list[Purchase]:
        return list(self.state.purchases.values())

    def see(self, purchase: Purchase, state: ContractState) -> None:
        """The contract is seen in this state."""
        known = purchase.copy
        window = known.window if known is not None else self.window(purchase.order)
        copy = ContractCopy(
            purchase.id,
            purchase.order.provider_id,
            BUYER,
            purchase.order.flavour_id,
            "far",
            purchase.order.partition,
            (),
            window,
            state,
            1 if known is None else known.revision + 1,
            None,
            0,
            self.now,
            self.now,
            None,
            Ending(PROVIDER, "so it is") if state.value in ("EXPIRED", "CANCELLED", "REVOKED", "COMPLETED") else None,
            "",
            "",
        )
        allocation = self.state.allocations.get(virtual_node.virtual_node_id(purchase.id))
        self.add(*virtual_node.seen(purchase, allocation, copy, self.cause))

    def window(self, order: Order) -> Window:
        start = order.window.start or self.now
        if order.window.duration is not None:
            return Window(start, after(start, order.window.duration))
        return Window(start, order.window.end or after(start, HOUR))

    def refuse(self, purchase: Purchase, counter_offer: CounterOffer | None = None, reason: str = "X") -> None:
        """The reservation is refused."""
        self.add(*virtual_node.undone(purchase, None, reason, "no", self.cause, counter_offer))

    def peer(self, purchase: Purchase) -> None:
        """The Virtual Fabric Manager peers the virtual node."""
        allocation = self.state.allocations[virtual_node.virtual_node_id(purchase.id)]
        peered = allocations.peer(allocation, Peering(PROVIDER, "embedded", "e"), self.cause)
        if peered is not None:
            self.add(peered)
        state = purchase.copy.state if purchase.copy else ContractState.RESERVED
        activated = allocations.activate_if_due(self.state.allocations[allocation.id], state, self.cause)
        if activated is not None:
            self.add(activated)

    def cancel(self) -> None:
        """Somebody cancels the request."""
        found = self.state.requests[REQUEST]
        self.add(RequestCancelled(REQUEST, found.version + 1, self.cause, BUYER, "", b""))

    # -- what is held --------------------------------------------------------------------------------------

    def local_holds(self) -> list[str]:
        return [
            hold.id for pool in self.state.pools.values() for hold in pool.holds.values() if hold.kind is HoldKind.LOCAL
        ]


class Chance:
    """Does to a world what may happen to it at any moment."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self.names = 0

    def search(self, move: Search) -> None:
        """Finds something, or nothing."""
        self.names += 1
        found = [candidate(f"p{self.random.randrange(6)}") for _ in range(self.random.randrange(4))]
        final = self.random.random() < 0.7
        heard = {name: Found(tuple(found), (), final) for name in move.components}
        self.world.add(*self.world.deciding.take(REQUEST, heard, self.world.now).events)

    def happen(self) -> None:
        """One thing."""
        world, random = self.world, self.random
        asked = [purchase for purchase in world.purchases if purchase.open]
        if not asked or random.random() < 0.15:
            world.now = after(world.now, random.choice([SECOND, PATIENCE, 20 * MINUTE]))
            return
        purchase = random.choice(asked)
        verb = None if purchase.pending is None else purchase.pending.verb
        state = purchase.state
        match verb:
            case LinkVerb.RESERVE if random.random() < 0.35:
                world.refuse(purchase, self.counter_offer(purchase))
            case LinkVerb.RESERVE:
                direct = purchase.order.confirm
                world.see(purchase, ContractState.CONFIRMED if direct else ContractState.RESERVED)
            case LinkVerb.PURCHASE:
                lost = random.random() < 0.1
                world.see(purchase, ContractState.EXPIRED if lost else ContractState.CONFIRMED)
            case LinkVerb.CANCEL:
                if purchase.copy is None and random.random() < 0.5:
                    world.refuse(purchase)
                else:
                    world.see(purchase, ContractState.CANCELLED)
            case None if random.random() < 0.1:
                world.see(purchase, ContractState.REVOKED)
            case None if state is ContractState.RESERVED and random.random() < 0.1:
                world.see(purchase, ContractState.EXPIRED)
            case None if state is ContractState.CONFIRMED:
                world.see(purchase, ContractState.ACTIVE)
            case None if state is ContractState.ACTIVE:
                if purchase.copy is not None and world.now >= purchase.copy.window.end:
                    world.see(purchase, ContractState.COMPLETED)
                else:
                    world.peer(purchase)

    def counter_offer(self, purchase: Purchase) -> CounterOffer | None:
        window = self.world.window(purchase.order)
        later = Window(after(window.start, HOUR), after(window.end, HOUR))
        less = Demand(
            replace_quantities(purchase.order.partition, self.random.choice([500, 1_000, 2_000])),
            purchase.order.partition.units,
        )
        offers = [
            None,
            CounterOffer(purchase.order.flavour_id, less, window, None, True, self.world.now),
            CounterOffer(purchase.order.flavour_id, None, window, later, True, self.world.now),
        ]
        return self.random.choice(offers)


def replace_quantities(demand: Demand, millicores: int) -> Any:
    return replace(demand, quantities=cpus(millicores).quantities).quantities


def asked(hours_from_now: int, hours: int = 1) -> AskedWindow:
    return AskedWindow(after(T0, hours_from_now * HOUR), None, Duration(hours * HOUR))


__all__ = ["Chance", "Search", "Wait", "World", "asked", "candidate", "component"]
