"""The REAR Manager, consumer side: finds candidates for a component, best first (workflow 1, steps 8 to 14)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from rear import failpoints, tracing
from rear.domain.answers import ProviderAnswer
from rear.domain.candidate import Candidate
from rear.domain.intent import Component
from rear.domain.ranking import Ratings, rank
from rear.domain.selection import ORDERS, covers, near_selectors, selector_of
from rear.domain.value import value
from rear.domain.window import SECOND, Duration, Instant
from rear.ledger.sources import Clock
from rear.managers.consumer.candidates import PeeringCandidates
from rear.managers.consumer.discovery import DEADLINE, DiscoveryManager, Heard
from rear.managers.consumer.peers import Question

FRESH: Final = Duration(10 * SECOND)
"""Candidates that are older than this are asked for again. What counts is the time since their provider stated them."""

SILENT_FOR: Final = Duration(2 * SECOND)
"""For so long a neighbour that did not answer is not asked again."""


@value
class SearchSettings:
    """How neighbours are asked: `deadline` in seconds for each, `fresh` is how old a candidate may be that is used
    without asking.
    """

    deadline: float = DEADLINE
    fresh: Duration = FRESH


LIMIT: Final = 20
"""Flavours that each provider is asked for, besides those that are excluded."""

MOST_ASKED: Final = 1_000
"""What a provider may be asked for at the most."""

MOST_NEAR: Final = 5
"""Providers that are asked for a counter-offer where nobody has all of it."""

REMEMBERED: Final = 64
"""Questions whose answers may serve another search."""


@value
class Search:
    """What a search found: candidates, best first, and how each provider that was asked answered.

    Where nobody has all that is wanted, these may have as much as will do: their counter-offers will tell.
    `asked` is false where all of it was known already; then the answers are those of the question that was put before.
    """

    candidates: tuple[Candidate, ...]
    answers: tuple[ProviderAnswer, ...]
    asked: bool = True


class ConsumerRear:
    """Finds candidates."""

    def __init__(
        self,
        candidates: PeeringCandidates,
        discovery: DiscoveryManager,
        ratings: Ratings,
        clock: Clock,
        *,
        fresh: Duration = FRESH,
    ) -> None:
        """`fresh` is how old a candidate may be that is used without asking for it."""
        self._candidates = candidates
        self._discovery = discovery
        self._ratings = ratings
        self._clock = clock
        self._fresh = fresh
        self._heard: deque[Heard] = deque(maxlen=REMEMBERED)

    async def search(
        self, component: Component, *, excluded: frozenset[str] = frozenset(), fresh: bool = False
    ) -> Search:
        """Candidates that have all of a component's partition for its window, where its constraints hold.

        `excluded` are pools that are of no use any more, as `Candidate.pool` names them. With `fresh` the neighbours
        are asked whatever is known. Without it they are asked unless they were asked at most so long ago that what
        they said holds, for something that this question is a part of: so nothing better is overlooked.
        """
        with tracing.span("find candidates", component=component.name):
            now = self._clock.now()
            question = self._question(component, excluded, now)
            failpoints.reach("candidates.selected")
            if not fresh and (known := await self._known(question, component, excluded, now)) is not None:
                return known
            failpoints.reach("candidates.looked")
            heard = await self._discovery.ask(question)
            self._heard.appendleft(heard)
            ranked = self._ranked(heard.candidates, component, excluded)
            if not ranked and (near := await self._near(component, excluded, heard)):
                return Search(near, heard.answers)
            return Search(ranked, heard.answers)

    async def _near(self, component: Component, excluded: frozenset[str], heard: Heard) -> tuple[Candidate, ...]:
        """Of those that have just answered, a few that may have enough."""
        if len(excluded) >= MOST_NEAR:
            return ()
        answered = [each for each, answer in zip(heard.neighbours, heard.answers, strict=True) if answer.ok]
        for selector in near_selectors(component, self._clock.now()):
            near = await self._discovery.ask(replace(heard.question, selector=selector), answered)
            if ranked := self._ranked(near.candidates, component, excluded):
                return ranked[:MOST_NEAR]
        return ()

    def _question(self, component: Component, excluded: frozenset[str], now: Instant) -> Question:
        limit = min(LIMIT + len(excluded), MOST_ASKED)
        return Question(selector_of(component, now), ORDERS[component.objective], limit)

    async def _known(
        self, question: Question, component: Component, excluded: frozenset[str], now: Instant
    ) -> Search | None:
        for heard in self._heard:
            if not self._serves(heard, question, now):
                continue
            providers = {answer.provider_id for answer in heard.answers if answer.ok}
            found = await self._candidates.find(question.selector, providers, now, at_most=self._fresh)
            if found and (ranked := self._ranked(found, component, excluded)):
                return Search(ranked, heard.answers, asked=False)
        return None

    def _serves(self, heard: Heard, question: Question, now: Instant) -> bool:
        """Whether asking again could tell of nothing but what has changed since."""
        age = now - heard.asked_at
        return (
            0 <= age <= (self._fresh if heard.complete else min(self._fresh, SILENT_FOR))
            and heard.question.order is question.order
            and heard.question.limit >= question.limit
            and covers(heard.question.selector, question.selector)
            and (not heard.truncated or covers(question.selector, heard.question.selector))
            and set(self._discovery.neighbours()) <= set(heard.neighbours)
        )

    def _ranked(
        self, found: Iterable[Candidate], component: Component, excluded: frozenset[str]
    ) -> tuple[Candidate, ...]:
        now = self._clock.now()
        return rank((each for each in found if each.pool not in excluded), component, self._ratings, now)
