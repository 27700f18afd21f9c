"""Which candidate is taken first, held against the slowest way to find out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rear.domain.candidate import Candidate, Route
from rear.domain.demand import Demand
from rear.domain.flavour import Flavour, Offer, PoolTerms, Properties
from rear.domain.intent import Component, Constraints, Objective, Workload
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import Quantities
from rear.domain.ranking import UNRATED, rank
from rear.domain.window import HOUR, SECOND, AskedWindow, Duration, Instant
from tests.examples import HOUR_FROM_NOW, NOW, TERMS

COMPONENT = Component(
    "web", Demand(Quantities({"cpu_millicores": 2_000})), Workload(("true",)), window=AskedWindow(duration=HOUR)
)


@dataclass
class Scores:
    of: Mapping[str, float]

    def score(self, provider_id: str) -> float:
        return self.of.get(provider_id, 0.5)


def provider(number: int) -> str:
    return f"spiffe://d.example/node/p{number}"


def candidate(
    number: int = 1,
    *,
    hourly: int | None = 1,
    latency: int | None = None,
    carbon: int | None = None,
    age: int = 0,
    pool: str = "pool",
    currency: str = "EUR",
) -> Candidate:
    """Of one provider; `hourly` is the price of a thousand millicores, in nanos."""
    price = (
        Price() if hourly is None else Price((PriceComponent("cpu_millicores", Money(currency, hourly), 1_000, HOUR),))
    )
    facts = Properties(latency=None if latency is None else Duration(latency), carbon_grams_per_hour=carbon)
    terms: PoolTerms = replace(TERMS, properties=facts, price=price)
    quantities = Quantities({"cpu_millicores": 64_000})
    offer = Offer(f"{pool}-1", "", quantities, (), NOW)
    return Candidate(
        provider(number),
        Flavour(offer, terms, pool, ()),
        (Route(provider(number), "h:1", price, age=Duration(age)),),
        quantities,
        (),
        HOUR_FROM_NOW,
        NOW,
        NOW,
    )


def names(ranked: Sequence[Candidate]) -> list[str]:
    return [each.provider_id[-2:] for each in ranked]


small = st.integers(0, 2)
candidates = st.lists(
    st.builds(
        candidate,
        st.integers(1, 3),
        hourly=st.none() | small,
        latency=st.none() | small,
        carbon=st.none() | small,
        age=small,
        pool=st.sampled_from(["a", "b", "c", "d"]),
        currency=st.sampled_from(["EUR", "EUR", "USD"]),
    ),
    max_size=7,
    unique_by=lambda each: each.pool,
)
scores = st.dictionaries(st.integers(1, 3).map(provider), st.sampled_from([0.0, 0.25, 1.0])).map(Scores)
limits = st.none() | st.builds(Money, st.sampled_from(["EUR", "USD"]), st.integers(0, 5))


def worth(each: Candidate, objective: Objective, ratings: Scores, prices_in: str) -> list[float]:
    """All that counts, less is better; what is not known is infinite."""
    facts, total = each.flavour.terms.properties, each.total_price
    unknown = float("inf")
    price = total.nanos if total is not None and total.currency == prices_in else unknown
    rating = -ratings.score(each.provider_id)
    first = {
        Objective.PRICE: price,
        Objective.LATENCY: unknown if facts.latency is None else facts.latency,
        Objective.CARBON: unknown if facts.carbon_grams_per_hour is None else facts.carbon_grams_per_hour,
        Objective.RATING: rating,
    }[objective]
    return [first, rating, price, each.route.age]


@given(candidates, st.sampled_from(Objective), scores, limits)
def test_nobody_comes_before_somebody_better(
    offered: list[Candidate], objective: Objective, ratings: Scores, limit: Money | None
) -> None:
    component = replace(COMPONENT, objective=objective, constraints=Constraints(max_price=limit))

    ranked = rank(offered, component, ratings, NOW)

    kept = set()
    for each in offered:
        price = each.route.price.components
        total = Money(price[0].amount.currency, 2 * price[0].amount.nanos) if price else None
        if limit is None or (total is not None and total.currency == limit.currency and total.nanos <= limit.nanos):
            kept.add((each.pool, total))
    assert {(each.pool, each.total_price) for each in ranked} == kept
    assert len(ranked) == len(kept)
    currencies = [each.total_price.currency for each in ranked if each.total_price is not None]
    usual = max(sorted(set(currencies)), key=currencies.count, default="")
    for one, other in itertools.pairwise(ranked):
        better, worse = (worth(each, objective, ratings, usual) for each in (one, other))
        assert (better, one.pool) < (worse, other.pool)


@given(st.permutations([candidate(1, pool="a"), candidate(1, pool="b"), candidate(2, pool="a"), candidate(3)]))
def test_the_order_in_which_they_were_heard_of_counts_for_nothing(offered: list[Candidate]) -> None:
    ranked = rank(offered, COMPONENT, UNRATED, NOW)

    assert [each.pool for each in ranked] == sorted(each.pool for each in offered)


@pytest.mark.parametrize(
    ("objective", "best_first"),
    [
        (Objective.PRICE, ["p1", "p2", "p3", "p4"]),
        (Objective.LATENCY, ["p2", "p3", "p1", "p4"]),
        (Objective.CARBON, ["p3", "p1", "p2", "p4"]),
        (Objective.RATING, ["p4", "p2", "p1", "p3"]),
    ],
)
def test_each_objective_has_its_own_best(objective: Objective, best_first: list[str]) -> None:
    offered = [
        candidate(4, hourly=None),
        candidate(1, hourly=1, latency=9, carbon=5),
        candidate(2, hourly=2, latency=1, carbon=9),
        candidate(3, hourly=3, latency=5, carbon=0),
    ]
    ratings = Scores({provider(4): 1.0, provider(2): 0.9, provider(1): 0.8, provider(3): 0.1})

    assert names(rank(offered, replace(COMPONENT, objective=objective), ratings, NOW)) == best_first


def test_a_rating_decides_between_equals_only() -> None:
    offered = [candidate(1, hourly=2), candidate(2, hourly=2), candidate(3, hourly=1)]

    assert names(rank(offered, COMPONENT, Scores({provider(2): 0.9, provider(3): 0.0}), NOW)) == ["p3", "p2", "p1"]


def test_the_price_is_that_of_the_whole_contract() -> None:
    once = candidate(1)
    cheap_later = replace(once, routes=(replace(once.route, price=Price((PriceComponent("", Money("EUR", 10)),))),))
    hourly = candidate(2, hourly=1)

    short = rank([cheap_later, hourly], COMPONENT, UNRATED, NOW)
    long = rank(
        [cheap_later, hourly], replace(COMPONENT, window=AskedWindow(duration=Duration(9 * HOUR))), UNRATED, NOW
    )

    assert (names(short), names(long)) == (["p2", "p1"], ["p1", "p2"])
    assert [each.total_price for each in long] == [Money("EUR", 10), Money("EUR", 18)]


def test_of_equals_the_younger_is_taken() -> None:
    old = replace(candidate(1), heard_at=Instant(NOW - 5 * SECOND))

    assert names(rank([old, candidate(2)], COMPONENT, UNRATED, NOW)) == ["p2", "p1"]


def test_a_price_that_nobody_could_be_told_is_too_dear() -> None:
    absurd = candidate(1, hourly=10**30)

    assert rank([absurd], COMPONENT, UNRATED, NOW) == ()
    assert names(rank([absurd, candidate(2, hourly=None)], COMPONENT, UNRATED, NOW)) == ["p2"]
