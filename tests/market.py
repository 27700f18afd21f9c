"""Neighbours that answer as a test says, and what a consumer finds among them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from rear.domain.candidate import Candidate, expected_window
from rear.domain.demand import Demand
from rear.domain.flavour import Flavour, Offer
from rear.domain.intent import Component, Workload
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import Quantities
from rear.domain.window import HOUR, AskedWindow, Instant
from rear.managers.consumer.neighbours import Neighbour
from rear.managers.consumer.peers import Listing, Question
from rear.wire.flavours import direct_route, listed_flavour_to_proto
from rear.wire.heard import candidate_from
from tests.examples import NOW, TERMS

OWN_ID = "spiffe://d.example/node/me"
COMPONENT = Component(
    "web", Demand(Quantities({"cpu_millicores": 2_000})), Workload(("true",)), window=AskedWindow(duration=HOUR)
)


def provider(number: int) -> str:
    return f"spiffe://d.example/node/p{number}"


def neighbour(number: int) -> Neighbour:
    return Neighbour(f"127.0.0.1:{number}", provider(number))


def offer(
    number: int = 1,
    pool: str = "pool",
    *,
    hourly: int = 1,
    cpu: int = 8_000,
    flavour: int = 1,
    question: Question | None = None,
) -> Candidate:
    """What a provider offers at NOW; `hourly` is the price of a thousand millicores, in nanos."""
    price = Price((PriceComponent("cpu_millicores", Money("EUR", hourly), 1_000, HOUR),))
    amounts = Quantities({"cpu_millicores": cpu})
    terms = replace(TERMS, price=price)
    made = Flavour(Offer(f"{pool}-{flavour}", "", amounts, (), NOW), terms, pool, ())
    message = listed_flavour_to_proto(
        made, provider(number), amounts, (), NOW, routes=[direct_route(provider(number), f"127.0.0.1:{number}", price)]
    )
    return candidate_from(message, expected_window(COMPONENT.window, NOW), NOW)


@dataclass
class Time:
    """A clock that stands still until it is told."""

    at: Instant = NOW

    def now(self) -> Instant:
        return self.at

    def passes(self, duration: int) -> None:
        self.at = Instant(self.at + duration)


Behaviour = Callable[[Question], Awaitable[Listing]]


@dataclass
class Market:
    """Neighbours by number, with what each offers, or how it behaves instead."""

    offers: dict[int, list[Candidate]] = field(default_factory=dict)
    behaviours: dict[int, Behaviour] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0

    async def settled(self) -> None:
        """They are all there from the beginning."""

    def all(self) -> Sequence[Neighbour]:
        return [neighbour(number) for number in sorted({*self.offers, *self.behaviours})]

    async def list_flavours(
        self, endpoint: str, provider_id: str, question: Question, asked_at: Instant, *, deadline: float
    ) -> Listing:
        number = int(endpoint.rpartition(":")[2])
        self.asked.append(question)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(0)
            if number in self.behaviours:
                return await self.behaviours[number](question)
            window = expected_window(question.selector.window, asked_at)
            return Listing(tuple(replace(each, heard_at=asked_at, window=window) for each in self.offers[number]))
        finally:
            self._at_once -= 1
