"""Selectors: typed filters over flavours. A filter on something that a flavour lacks does not match."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import field
from enum import Enum
from math import asin, cos, radians, sin, sqrt
from typing import Final

from rear.domain.demand import Demand
from rear.domain.flavour import GPU, MODEL, Flavour, FlavourType, Location, PoolTerms
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.units import Unit
from rear.domain.value import value
from rear.domain.window import AskedWindow, Duration

EARTH_RADIUS_METRES: Final = 6_371_008.8


@value
class NumberFilter:
    """A filter on a whole number; everything that is set must hold."""

    exact: int | None = None
    min: int | None = None
    max: int | None = None
    any_of: frozenset[int] = frozenset()

    def matches(self, value: int | None) -> bool:
        """Whether `value` passes; what is not known never does."""
        if value is None:
            return False
        return (
            (self.exact is None or value == self.exact)
            and (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (not self.any_of or value in self.any_of)
        )


@value
class TextFilter:
    """A filter on a text; everything that is set must hold."""

    exact: str | None = None
    any_of: frozenset[str] = frozenset()

    def matches(self, value: str | None) -> bool:
        """Whether `value` passes; what is not known never does."""
        if not value:
            return False
        return (self.exact is None or value == self.exact) and (not self.any_of or value in self.any_of)


@value
class SetFilter:
    """A filter on a set of texts; everything that is set must hold."""

    all_of: frozenset[str] = frozenset()
    any_of: frozenset[str] = frozenset()

    def matches(self, values: Collection[str]) -> bool:
        """Whether the set passes."""
        present = frozenset(values)
        return self.all_of <= present and (not self.any_of or not self.any_of.isdisjoint(present))


@value
class Vicinity:
    """A circle on the earth: (latitude, longitude) in degrees, and a radius along the great circle."""

    centre: tuple[float, float]
    radius_metres: int

    def contains(self, point: tuple[float, float]) -> bool:
        """Whether `point` (latitude, longitude) lies within."""
        return distance_metres(self.centre, point) <= self.radius_metres


@value
class LocationFilter:
    """A filter on a place; everything that is set must hold."""

    country: TextFilter | None = None
    city: TextFilter | None = None
    vicinity: Vicinity | None = None

    def matches(self, place: Location | None) -> bool:
        """Whether `place` passes; what is not known never does."""
        if place is None:
            return False
        if self.country is not None and not self.country.matches(place.country):
            return False
        if self.city is not None and not self.city.matches(place.city):
            return False
        if self.vicinity is None:
            return True
        return place.coordinates is not None and self.vicinity.contains(place.coordinates)


@value
class Selector:
    """Filters over flavours: all that are set must match.

    `quantities` looks at what is available over `window`, `partition` must fit for all of it, and `max_price`
    is for the partition over the window (all of the flavour where there is no partition).
    """

    types: frozenset[FlavourType] = frozenset()
    quantities: tuple[tuple[str, NumberFilter], ...] = ()
    partition: Demand | None = None
    window: AskedWindow = field(default_factory=AskedWindow)
    architecture: TextFilter | None = None
    gpu_model: TextFilter | None = None
    location: LocationFilter | None = None
    max_price: Money | None = None
    max_latency: Duration | None = None
    security_standards: SetFilter | None = None
    carbon_grams_per_hour: NumberFilter | None = None
    tags: tuple[tuple[str, TextFilter], ...] = ()
    owner_domain: TextFilter | None = None
    pool_ids: frozenset[str] = frozenset()
    provider_ids: frozenset[str] = frozenset()

    def matches_terms(self, pool_id: str, terms: PoolTerms, units: tuple[Unit, ...]) -> bool:
        """Whether what stays the same in all flavours of a pool passes."""
        facts = terms.properties
        return (
            (not self.types or terms.type in self.types)
            and (not self.pool_ids or pool_id in self.pool_ids)
            and (self.architecture is None or self.architecture.matches(terms.characteristics.architecture))
            and (self.gpu_model is None or _has_model(units, self.gpu_model))
            and (self.location is None or self.location.matches(facts.location))
            and (self.max_latency is None or (facts.latency is not None and facts.latency <= self.max_latency))
            and (self.security_standards is None or self.security_standards.matches(facts.security_standards))
            and (self.carbon_grams_per_hour is None or self.carbon_grams_per_hour.matches(facts.carbon_grams_per_hour))
            and (not self.tags or _tags_match(facts.tags, self.tags))
            and (self.owner_domain is None or self.owner_domain.matches(terms.owner.domain))
        )

    def matches_available(self, available: Quantities) -> bool:
        """Whether the amounts that are available over the window pass."""
        return all(wanted.matches(available.get(kind)) for kind, wanted in self.quantities)

    def matches_price(self, total: Money | None) -> bool:
        """Whether a total passes; what has no price, or one in another currency, never does."""
        if self.max_price is None:
            return True
        return total is not None and total.currency == self.max_price.currency and total.nanos <= self.max_price.nanos


class FlavourOrder(Enum):
    """What is listed first. TIGHTEST is the smallest pool on which it fits, then the cheapest."""

    TIGHTEST = "TIGHTEST"
    PRICE = "PRICE"
    LATENCY = "LATENCY"
    CARBON = "CARBON"


SortKey = tuple[float | int | str, ...]
_LAST: Final = float("inf")


def _tightest(flavour: Flavour, capacity: Quantities) -> SortKey:
    return (len(flavour.pool_units), *capacity.values(), *_price(flavour, capacity))


def _price(flavour: Flavour, capacity: Quantities) -> SortKey:
    total = flavour.terms.price.total(Demand(capacity), Duration(3_600_000_000_000))
    return (_LAST if total is None else total.nanos / max(1, capacity.of("cpu_millicores")),)


def _latency(flavour: Flavour, capacity: Quantities) -> SortKey:
    latency = flavour.terms.properties.latency
    return (_LAST if latency is None else latency,)


def _carbon(flavour: Flavour, capacity: Quantities) -> SortKey:
    carbon = flavour.terms.properties.carbon_grams_per_hour
    return (_LAST if carbon is None else carbon,)


SORT_KEYS: Final[dict[FlavourOrder, Callable[[Flavour, Quantities], SortKey]]] = {
    FlavourOrder.TIGHTEST: _tightest,
    FlavourOrder.PRICE: _price,
    FlavourOrder.LATENCY: _latency,
    FlavourOrder.CARBON: _carbon,
}
"""Keys that only depend on a pool's terms and whole capacity, so that an order lasts between changes of these."""


def distance_metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The great-circle distance between two (latitude, longitude) points in degrees."""
    lat1, lon1, lat2, lon2 = (radians(value) for value in (*one, *other))
    haversine = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_METRES * asin(min(1.0, sqrt(haversine)))


def _has_model(units: tuple[Unit, ...], wanted: TextFilter) -> bool:
    return any(unit.unit_class == GPU and wanted.matches(dict(unit.attributes).get(MODEL)) for unit in units)


def _tags_match(tags: tuple[tuple[str, str], ...], wanted: tuple[tuple[str, TextFilter], ...]) -> bool:
    present = dict(tags)
    return all(text.matches(present.get(key)) for key, text in wanted)
