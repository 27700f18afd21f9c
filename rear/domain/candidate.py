"""Peering candidates: flavours that were discovered elsewhere, with the ways to buy them and their age."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from rear.domain.demand import Demand
from rear.domain.flavour import Flavour
from rear.domain.price import Money, Price
from rear.domain.quantities import Quantities
from rear.domain.units import UnitShare
from rear.domain.value import value
from rear.domain.window import DAY, AskedWindow, Duration, Instant, Window, after

DEFAULT_LEASE: Final = DAY
"""What a window is taken for that has neither an end nor a duration; its provider may have another default."""


@value
class Route:
    """One way to buy a flavour: who sells it there, where that service listens, and at what price.

    `hops` counts the services between buyer and provider. `age` is the time since the provider stated the offer, as it
    was when it was heard; it grows with every hop.
    """

    seller_id: str
    endpoint: str
    price: Price
    hops: int = 0
    age: Duration = Duration(0)


@value
class Candidate:
    """A flavour of another provider, as it was heard of. It promises nothing: the seller decides.

    `available` is what was free over `window`, at the provider's `as_of`. `heard_at` is our own clock's time when the
    question was put, so that a candidate is never older than `age` says. `message` is the offer as it came, a
    `rear.v1.ListedFlavour`. `total_price` is what the component that was searched for would cost, on the first route.
    """

    provider_id: str
    flavour: Flavour
    routes: tuple[Route, ...]
    available: Quantities
    available_units: tuple[UnitShare, ...]
    window: Window
    as_of: Instant
    heard_at: Instant
    message: bytes = field(default=b"", compare=False, repr=False)
    total_price: Money | None = None

    @property
    def route(self) -> Route:
        """The way to buy it that is taken."""
        return self.routes[0]

    @property
    def pool(self) -> str:
        """The pool behind it, unique among all providers: `<provider id>/<pool id>`."""
        return pool_key(self.provider_id, self.flavour.pool_id)

    def age(self, now: Instant) -> Duration:
        """Time since its provider stated it, by our own clock: what counts is the origin, not who passed it on."""
        return Duration(self.route.age + max(now - self.heard_at, 0))

    def price_of(self, partition: Demand, duration: Duration) -> Money | None:
        """What a partition costs for so long; None where there is no price."""
        return self.route.price.total(partition, duration)


def pool_key(provider_id: str, pool_id: str) -> str:
    """A pool's name among all providers."""
    return f"{provider_id}/{pool_id}"


def expected_window(asked: AskedWindow, now: Instant) -> Window:
    """What a provider will probably make of a window."""
    start = now if asked.start is None else Instant(max(asked.start, now))
    if asked.duration is not None:
        return Window(start, after(start, asked.duration))
    return Window(start, after(start, DEFAULT_LEASE) if asked.end is None else asked.end)
