"""Which of several candidates is taken first (workflow 1, step 14)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf
from typing import Final, Protocol

from rear.domain.candidate import Candidate, expected_window
from rear.domain.intent import Component, Objective
from rear.domain.price import MOST_NANOS, Money
from rear.domain.selector import Selector
from rear.domain.window import Instant


class Ratings(Protocol):
    """How well providers have kept their word so far."""

    def score(self, provider_id: str) -> float:
        """From 0 (never) to 1 (always)."""
        ...


class Unrated:
    """Nobody is better than anybody else."""

    def score(self, provider_id: str) -> float:
        """The same for all."""
        return 0.5


UNRATED: Final = Unrated()


def rank(
    candidates: Iterable[Candidate], component: Component, ratings: Ratings, now: Instant
) -> tuple[Candidate, ...]:
    """The candidates that are not too dear, best first, each with what the whole contract would cost.

    First counts the component's objective, then the rating, the price, the age, and last the name, so that the order is
    always the same. What is not known of a candidate comes last. Prices in different currencies cannot be compared:
    what is not in the one that most of them have counts as not known. With a maximum, what has no price in its
    currency is too dear.
    """
    duration = expected_window(component.window, now).duration
    limit = Selector(max_price=component.constraints.max_price)
    priced = [replace(each, total_price=each.price_of(component.partition, duration)) for each in candidates]
    affordable = [each for each in priced if limit.matches_price(each.total_price) and _can_be_said(each.total_price)]
    currency = _usual_currency(affordable)

    def price(candidate: Candidate) -> float:
        total = candidate.total_price
        return inf if total is None or total.currency != currency else total.nanos

    def objective(candidate: Candidate) -> float:
        facts = candidate.flavour.terms.properties
        match component.objective:
            case Objective.PRICE:
                return price(candidate)
            case Objective.LATENCY:
                return inf if facts.latency is None else facts.latency
            case Objective.CARBON:
                return inf if facts.carbon_grams_per_hour is None else facts.carbon_grams_per_hour
            case Objective.RATING:
                return -ratings.score(candidate.provider_id)

    def key(candidate: Candidate) -> tuple[float, float, float, int, str]:
        rating = ratings.score(candidate.provider_id)
        return objective(candidate), -rating, price(candidate), candidate.age(now), candidate.pool

    return tuple(sorted(affordable, key=key))


def _can_be_said(price: Money | None) -> bool:
    return price is None or price.nanos <= MOST_NANOS


def _usual_currency(candidates: Sequence[Candidate]) -> str:
    """The currency that most prices are in; of several the first by name."""
    counted = Counter(each.total_price.currency for each in candidates if each.total_price is not None)
    return min(counted, key=lambda currency: (-counted[currency], currency), default="")
