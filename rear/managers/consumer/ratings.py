"""The ratings of providers, at hand for choosing among them (workflow 1, steps 6 and 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rear.domain.rating import UNKNOWN, Rating, rated
from rear.ledger.commit import Committed


class RatingBook:
    """A writer's listener. Begins with what the table `ratings` has, and goes on from the commits."""

    def __init__(self, ratings: Mapping[str, Rating]) -> None:
        """`ratings` are those at the position from which commits will be told."""
        self._ratings = dict(ratings)

    def score(self, provider_id: str) -> float:
        """How far a provider is to be relied on, in (0, 1); as `Rating.score` has it."""
        return self.of(provider_id).score

    def of(self, provider_id: str) -> Rating:
        """All that is known of a provider."""
        return self._ratings.get(provider_id, UNKNOWN)

    def committed(self, batch: Sequence[Committed]) -> None:
        """Adds what a batch says."""
        for item in batch:
            for provider_id, more in rated(item.step.event, item.step.before):
                self._ratings[provider_id] = self.of(provider_id).plus(more)
