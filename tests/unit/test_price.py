"""Prices are exact, and rounded up once at the end."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from rear.domain.demand import Demand
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import NOTHING, Quantities
from rear.domain.units import UnitRequest
from rear.domain.window import HOUR, MINUTE, SECOND, Duration


def eur(nanos: int) -> Money:
    return Money("EUR", nanos)


def test_what_has_no_components_has_no_price() -> None:
    assert Price().total(Demand(Quantities({"cpu_millicores": 1})), HOUR) is None


def test_a_fixed_part_is_paid_once() -> None:
    price = Price((PriceComponent("", eur(500)),))

    assert price.total(Demand(NOTHING), HOUR) == eur(500)
    assert price.total(Demand(Quantities({"pods": 9})), Duration(1)) == eur(500)


def test_a_part_is_paid_by_amount_and_time() -> None:
    price = Price((PriceComponent("cpu_millicores", eur(20), 1_000, HOUR),))

    assert price.total(Demand(Quantities({"cpu_millicores": 4_000})), Duration(3 * HOUR)) == eur(240)
    assert price.total(Demand(Quantities({"cpu_millicores": 500})), HOUR) == eur(10)


def test_a_kind_that_is_not_asked_for_costs_nothing() -> None:
    price = Price((PriceComponent("memory_bytes", eur(7), 1, HOUR),))

    assert price.total(Demand(Quantities({"cpu_millicores": 1})), HOUR) == eur(0)


def test_units_are_counted_in_millis_of_all_devices() -> None:
    price = Price((PriceComponent("gpu", eur(100), 1_000, HOUR),))
    demand = Demand(NOTHING, (UnitRequest("gpu", 3, 500), UnitRequest("gpu", 1, 1_000), UnitRequest("nic", 5)))

    assert price.total(demand, HOUR) == eur(250)


def test_it_is_rounded_up_once_and_not_part_by_part() -> None:
    thirds = PriceComponent("pods", eur(1), 3)

    assert Price((thirds, thirds, thirds)).total(Demand(Quantities({"pods": 1})), HOUR) == eur(1)
    assert Price((thirds, thirds)).total(Demand(Quantities({"pods": 2})), HOUR) == eur(2)


def test_a_nano_too_many_is_a_whole_nano() -> None:
    price = Price((PriceComponent("pods", eur(1), 1, HOUR),))

    assert price.total(Demand(Quantities({"pods": 1})), Duration(HOUR + 1)) == eur(2)
    assert price.total(Demand(Quantities({"pods": 1})), Duration(1)) == eur(1)


def test_large_amounts_lose_nothing() -> None:
    price = Price((PriceComponent("memory_bytes", eur(3), 1, SECOND),))
    year = Duration(365 * 24 * 60 * MINUTE)

    assert price.total(Demand(Quantities({"memory_bytes": 2**62})), year) == eur(3 * 2**62 * 365 * 86_400)


components = st.builds(
    PriceComponent,
    st.sampled_from(["", "pods", "gpu", "cpu_millicores"]),
    st.builds(Money, st.just("EUR"), st.integers(0, 10**12)),
    st.integers(1, 10**6),
    st.none() | st.sampled_from([SECOND, HOUR]),
)


@given(
    parts=st.lists(components, min_size=1, max_size=4),
    pods=st.integers(0, 10**6),
    millis=st.integers(1, 1_000),
    seconds=st.integers(1, 10**7),
)
def test_the_total_is_what_the_parts_add_up_to(
    parts: list[PriceComponent], pods: int, millis: int, seconds: int
) -> None:
    demand = Demand(Quantities({"pods": pods}), (UnitRequest("gpu", 2, millis),))
    duration = Duration(seconds * SECOND)
    amounts = {"": 1, "pods": pods, "gpu": 2 * millis, "cpu_millicores": 0}
    exact = sum(
        (
            Fraction(part.amount.nanos, part.per_amount)
            * amounts[part.kind]
            * (Fraction(duration, part.per_duration) if part.per_duration else 1)
            for part in parts
        ),
        Fraction(0),
    )

    assert Price(tuple(parts)).total(demand, duration) == eur(ceil(exact))
