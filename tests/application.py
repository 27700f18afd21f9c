"""A consumer with its Node Orchestrator, over a ledger of its own, that finds and buys what one seller has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from nodes.orchestration.orchestrator import Orchestrator
from rear.background import Reconciler
from rear.domain import allocation as allocations
from rear.domain.allocation import Allocation, Peering
from rear.domain.answers import ProviderAnswer
from rear.domain.contract import Contract
from rear.domain.event import Cause
from rear.domain.events import AllocationSide, AnyEvent
from rear.domain.hold import Hold, HoldKind
from rear.domain.intent import Agreement, Component, Intent
from rear.domain.purchase import Purchase
from rear.domain.ranking import UNRATED
from rear.domain.request_decisions import accept, cancel
from rear.domain.service_request import ServiceRequest
from rear.domain.virtual_node import virtual_node_id
from rear.domain.window import Duration, Instant
from rear.ledger.commit import Committed, Decision
from rear.ledger.stream import EventStream
from rear.managers.consumer.rear import Search
from tests.buyer import Buyer, SellerInMemory
from tests.fulfilling import candidate
from tests.seller import BUYER, PROVIDER, ManualClock, Seller


class Finds:
    """Finds every pool of a seller, in the order of their names, whatever is asked for, once it has `answered`."""

    def __init__(self, seller: Seller) -> None:
        self.seller = seller
        self.silent = False
        self.code = 4
        self.searches = 0
        self.answered = asyncio.Event()
        self.answered.set()

    async def search(
        self, component: Component, *, excluded: frozenset[str] = frozenset(), fresh: bool = False
    ) -> Search:
        self.searches += 1
        await self.answered.wait()
        if self.silent:
            return Search(
                (), (ProviderAnswer("", "10.0.0.7:7000", self.code, "no answer within 2 s", Duration(self.searches)),)
            )
        offers = {pool.id: pool.offer for pool in self.seller.state.pools.values()}
        found = [
            candidate(pool_id, PROVIDER, self.seller.clock.now(), offer.flavour_id)
            for pool_id, offer in sorted(offers.items())
            if offer is not None
        ]
        good = tuple(one for one in found if one.pool not in excluded)
        return Search(good, (ProviderAnswer(PROVIDER, "10.0.0.7:7000", 0, "", Duration(1), len(good)),))


class Fabric:
    """Peers every virtual node of what is agreed."""

    def __init__(self, buyer: Buyer) -> None:
        self._buyer = buyer
        self.peerings = Reconciler("peerings", self._peer)

    def committed(self, batch: Sequence[Committed]) -> None:
        for item in batch:
            if isinstance(item.step.after, Purchase):
                self.peerings.wake(item.step.after.id)

    async def _peer(self, key: str) -> None:
        def decide(now: Instant) -> Decision[None]:
            purchase = self._buyer.state.purchases.get(key)
            stands = self._buyer.state.allocations.get(virtual_node_id(key))
            if purchase is None or stands is None or purchase.copy is None or stands.peered is not None:
                return Decision((), None)
            state, cause = purchase.copy.state, Cause(now, now)
            if state.value not in ("CONFIRMED", "ACTIVE"):
                return Decision((), None)
            events: list[AnyEvent] = []
            peered = allocations.peer(stands, Peering(PROVIDER, "embedded", "10.0.0.7:7000"), cause)
            if peered is not None:
                events.append(peered)
                active = allocations.activate_if_due(allocations.evolve(stands, peered), state, cause)
                events += [] if active is None else [active]
            return Decision(events, None)

        await self._buyer.writer.submit(decide)


class Application(Buyer):
    """A buyer whose Orchestrator decides."""

    def __init__(
        self, stream: EventStream, directory: Path, sellers: SellerInMemory, clock: ManualClock, patience: Duration
    ) -> None:
        super().__init__(stream, directory, sellers, clock)
        self.patience = patience
        self.finds = Finds(sellers.seller)
        self.orchestrator: Orchestrator
        self.fabric: Fabric

    async def open(self) -> Application:
        await super().open()
        self.orchestrator = Orchestrator(
            self.provider, self.feed, self.finds, UNRATED, self.sellers.contract_id, patience=self.patience
        )
        self.fabric = Fabric(self)
        self.writer.listeners += [self.orchestrator, self.fabric]
        self.orchestrator.start()
        for key in [*self.state.purchases]:
            self.fabric.peerings.wake(key)
        return self

    async def _rest(self) -> None:
        await self.orchestrator.stop()
        await self.fabric.peerings.stop()
        await super()._rest()

    async def submit(self, *components: Component, agreement: Agreement = Agreement.RESERVE_THEN_PURCHASE) -> str:
        """Accepts an intent; the service request's id."""
        key, intent = str(uuid4()), Intent("shop", components, agreement)

        def decide(now: Instant) -> Decision[None]:
            return Decision((accept(key, intent, b"", Cause(now, now, BUYER, key)),), None)

        await self.writer.submit(decide)
        return key

    async def give_up(self, key: str) -> None:
        """Cancels a service request."""

        def decide(now: Instant) -> Decision[None]:
            event = cancel(self.request(key), BUYER, "enough", b"", Cause(now, now, BUYER, "c"))
            return Decision(() if event is None else (event,), None)

        await self.writer.submit(decide)

    # -- looking -------------------------------------------------------------------------------------------

    def request(self, key: str) -> ServiceRequest:
        found = self.state.requests.get(key) or self.tables.service_request(key)
        assert found is not None
        return found

    def reached(self, key: str) -> str:
        """The state of a service request, once that is durable."""
        return "" if self.writer.unacknowledged else self.request(key).state.value

    def local_holds(self) -> list[Hold]:
        return [
            hold for pool in self.state.pools.values() for hold in pool.holds.values() if hold.kind is HoldKind.LOCAL
        ]

    def virtual_nodes(self) -> list[Allocation]:
        standing: Any = self.state.allocations.values()
        return [one for one in standing if one.side is AllocationSide.CONSUMER and one.stands]


def sold(seller: Seller) -> list[Contract]:
    """The contracts of a seller that live."""
    return [contract for contract in seller.state.contracts.values() if contract.live]
