"""Selectors: each filter lets through what it names, and never what does not have the property at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from rear.domain.demand import Demand
from rear.domain.flavour import Characteristics, Flavour, FlavourType, Location, Offer, Owner, PoolTerms, Properties
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import Quantities
from rear.domain.selector import (
    SORT_KEYS,
    FlavourOrder,
    LocationFilter,
    NumberFilter,
    Selector,
    SetFilter,
    TextFilter,
    Vicinity,
    distance_metres,
)
from rear.domain.units import Unit
from rear.domain.window import HOUR, MILLISECOND, Duration, Instant
from tests.examples import GPUS, TERMS

BARE: Final = PoolTerms(FlavourType.VM)
"""Terms that say as little as terms can."""

LEIPZIG: Final = (51.34, 12.375)
BERLIN: Final = (52.52, 13.405)


def text(*values: str) -> TextFilter:
    return TextFilter(any_of=frozenset(values))


def exactly(value: str) -> TextFilter:
    return TextFilter(exact=value)


def numbers(*values: int) -> NumberFilter:
    return NumberFilter(any_of=frozenset(values))


MATCHING: Final = [
    Selector(types=frozenset({FlavourType.K8SLICE, FlavourType.SENSOR})),
    Selector(architecture=exactly("amd64")),
    Selector(architecture=text("arm64", "amd64")),
    Selector(gpu_model=exactly("T4")),
    Selector(gpu_model=text("A100", "T4")),
    Selector(location=LocationFilter(country=exactly("DE"))),
    Selector(location=LocationFilter(city=text("Halle", "Leipzig"))),
    Selector(location=LocationFilter(vicinity=Vicinity(BERLIN, 160_000))),
    Selector(location=LocationFilter(exactly("DE"), exactly("Leipzig"), Vicinity(LEIPZIG, 0))),
    Selector(max_latency=Duration(5 * MILLISECOND)),
    Selector(security_standards=SetFilter(all_of=frozenset({"iso27001", "bsi-c5"}))),
    Selector(security_standards=SetFilter(any_of=frozenset({"soc2", "bsi-c5"}))),
    Selector(carbon_grams_per_hour=NumberFilter(max=120)),
    Selector(carbon_grams_per_hour=NumberFilter(min=120)),
    Selector(carbon_grams_per_hour=NumberFilter(exact=120)),
    Selector(carbon_grams_per_hour=numbers(1, 120)),
    Selector(tags=(("rack", exactly("r7")),)),
    Selector(tags=(("rack", text("r7", "r8")), ("tier", exactly("gold")))),
    Selector(owner_domain=exactly("campus.example")),
    Selector(pool_ids=frozenset({"machine-17", "x"})),
]

MISMATCHING: Final = [
    Selector(types=frozenset({FlavourType.VM})),
    Selector(architecture=exactly("arm64")),
    Selector(architecture=text("arm64", "riscv64")),
    Selector(gpu_model=exactly("A100")),
    Selector(gpu_model=TextFilter("T4", frozenset({"A100"}))),
    Selector(location=LocationFilter(country=exactly("FR"))),
    Selector(location=LocationFilter(city=exactly("Berlin"))),
    Selector(location=LocationFilter(vicinity=Vicinity(BERLIN, 140_000))),
    Selector(location=LocationFilter(exactly("DE"), exactly("Berlin"))),
    Selector(max_latency=Duration(5 * MILLISECOND - 1)),
    Selector(security_standards=SetFilter(all_of=frozenset({"iso27001", "soc2"}))),
    Selector(security_standards=SetFilter(any_of=frozenset({"soc2"}))),
    Selector(security_standards=SetFilter(frozenset({"iso27001"}), frozenset({"soc2"}))),
    Selector(carbon_grams_per_hour=NumberFilter(max=119)),
    Selector(carbon_grams_per_hour=NumberFilter(min=121)),
    Selector(carbon_grams_per_hour=NumberFilter(exact=121)),
    Selector(carbon_grams_per_hour=numbers(1, 2)),
    Selector(carbon_grams_per_hour=NumberFilter(min=100, max=110)),
    Selector(tags=(("rack", exactly("r8")),)),
    Selector(tags=(("rack", exactly("r7")), ("tier", exactly("silver")))),
    Selector(owner_domain=exactly("edge.example")),
    Selector(pool_ids=frozenset({"machine-1"})),
]

LACKING: Final = [
    Selector(architecture=TextFilter()),
    Selector(gpu_model=TextFilter()),
    Selector(location=LocationFilter(country=TextFilter())),
    Selector(location=LocationFilter(city=TextFilter())),
    Selector(location=LocationFilter(vicinity=Vicinity(LEIPZIG, 10**9))),
    Selector(location=LocationFilter()),
    Selector(max_latency=Duration(10**18)),
    Selector(security_standards=SetFilter(any_of=frozenset({"iso27001"}))),
    Selector(carbon_grams_per_hour=NumberFilter()),
    Selector(tags=(("rack", TextFilter()),)),
    Selector(owner_domain=TextFilter()),
]
"""Filters that anything passes which has the property."""


@pytest.mark.parametrize("selector", MATCHING)
def test_what_has_it_matches(selector: Selector) -> None:
    assert selector.matches_terms("machine-17", TERMS, GPUS)


@pytest.mark.parametrize("selector", MISMATCHING)
def test_what_has_another_does_not(selector: Selector) -> None:
    assert not selector.matches_terms("machine-17", TERMS, GPUS)


@pytest.mark.parametrize("selector", LACKING)
def test_what_lacks_it_does_not(selector: Selector) -> None:
    assert not selector.matches_terms("machine-17", BARE, ())


def test_without_filters_all_match() -> None:
    assert Selector().matches_terms("machine-17", BARE, ())


def test_all_filters_must_match() -> None:
    both = Selector(architecture=exactly("amd64"), gpu_model=exactly("T4"))

    assert both.matches_terms("m", TERMS, GPUS)
    assert not both.matches_terms("m", TERMS, ())
    assert not both.matches_terms("m", replace(TERMS, characteristics=Characteristics("arm64")), GPUS)


@pytest.mark.parametrize("place", [Location(), Location(country="DE"), Location(city="Leipzig")])
def test_a_place_without_coordinates_is_in_no_vicinity(place: Location) -> None:
    somewhere = replace(BARE, properties=Properties(location=place))

    assert not Selector(location=LocationFilter(vicinity=Vicinity(LEIPZIG, 10**9))).matches_terms("m", somewhere, ())


def test_only_a_gpu_has_a_gpu_model() -> None:
    nic = (Unit("nic", "nic-0", (("model", "T4"),)),)

    assert not Selector(gpu_model=exactly("T4")).matches_terms("m", TERMS, nic)


def test_no_standards_are_no_standards() -> None:
    assert not Selector(security_standards=SetFilter(all_of=frozenset({"x"}))).matches_terms("m", BARE, ())


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (NumberFilter(min=4_000), True),
        (NumberFilter(min=4_001), False),
        (NumberFilter(max=4_000), True),
        (NumberFilter(max=3_999), False),
        (NumberFilter(exact=4_000), True),
        (NumberFilter(exact=1), False),
        (numbers(1, 4_000), True),
        (numbers(1, 2), False),
        (NumberFilter(), True),
    ],
)
def test_amounts_are_what_is_available(wanted: NumberFilter, matches: bool) -> None:
    available = Quantities({"cpu_millicores": 4_000, "memory_bytes": 0})

    assert Selector(quantities=(("cpu_millicores", wanted),)).matches_available(available) is matches


def test_a_kind_that_a_flavour_lacks_is_not_zero_of_it() -> None:
    available = Quantities({"memory_bytes": 0})

    assert Selector(quantities=(("memory_bytes", NumberFilter(max=5)),)).matches_available(available)
    assert not Selector(quantities=(("storage_bytes", NumberFilter(max=5)),)).matches_available(available)
    assert not Selector(quantities=(("storage_bytes", NumberFilter(min=0)),)).matches_available(available)


@pytest.mark.parametrize(
    ("total", "matches"),
    [
        (Money("EUR", 100), True),
        (Money("EUR", 101), False),
        (Money("USD", 1), False),
        (None, False),
    ],
)
def test_a_price_is_known_in_that_currency_and_not_above(total: Money | None, matches: bool) -> None:
    assert Selector(max_price=Money("EUR", 100)).matches_price(total) is matches


def test_without_a_maximum_any_price_will_do() -> None:
    assert Selector().matches_price(None)
    assert Selector().matches_price(Money("EUR", 10**30))


def test_distances_are_along_the_great_circle() -> None:
    assert distance_metres(LEIPZIG, LEIPZIG) == 0
    assert distance_metres(LEIPZIG, BERLIN) == pytest.approx(149_000, abs=1_000)
    assert distance_metres((0, 179.5), (0, -179.5)) == pytest.approx(111_195, abs=10)
    assert distance_metres((90, 0), (-90, 77)) == pytest.approx(20_015_115, abs=10)


class TestOrder:
    def flavour(self, properties: Properties = BARE.properties, price: Price = BARE.price, units: int = 0) -> Flavour:
        terms = replace(BARE, properties=properties, price=price, owner=Owner())
        offer = Offer("m-1", "", Quantities(), (), Instant(0))
        return Flavour(offer, terms, "m", tuple(Unit("gpu", str(number)) for number in range(units)))

    def in_order(self, order: FlavourOrder, flavours: list[tuple[Flavour, Quantities]]) -> bool:
        keys = [SORT_KEYS[order](*each) for each in flavours]
        return keys == sorted(keys) and len(set(keys)) == len(keys)

    def test_what_is_not_known_comes_last(self) -> None:
        some = Quantities({"cpu_millicores": 1_000})
        fast = self.flavour(Properties(latency=Duration(0)))
        slow = self.flavour(Properties(latency=Duration(9)))
        clean, dirty = (self.flavour(Properties(carbon_grams_per_hour=grams)) for grams in (0, 9))
        cheap, dear = (
            self.flavour(price=Price((PriceComponent("", Money("EUR", nanos), 1, HOUR),))) for nanos in (0, 10**9)
        )

        assert self.in_order(FlavourOrder.LATENCY, [(each, some) for each in (fast, slow, self.flavour())])
        assert self.in_order(FlavourOrder.CARBON, [(each, some) for each in (clean, dirty, self.flavour())])
        assert self.in_order(FlavourOrder.PRICE, [(each, some) for each in (cheap, dear, self.flavour())])

    def test_the_tightest_has_the_fewest_devices_then_the_least_of_each_kind(self) -> None:
        small, large = (Quantities({"cpu_millicores": cpus}) for cpus in (1_000, 2_000))

        assert self.in_order(
            FlavourOrder.TIGHTEST,
            [(self.flavour(), small), (self.flavour(), large), (self.flavour(units=1), small)],
        )


def test_a_selector_can_be_kept_and_compared() -> None:
    one = Selector(partition=Demand(Quantities({"pods": 1})), tags=(("a", exactly("b")),))

    assert one == replace(one)
    assert hash(one) == hash(replace(one))
