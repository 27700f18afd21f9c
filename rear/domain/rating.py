"""How providers behaved towards this node, counted from its own ledger."""

from __future__ import annotations

from typing import Final

from rear.domain.event import Event
from rear.domain.lifecycle import ContractState
from rear.domain.link import LinkVerb
from rear.domain.link_events import LinkObserved, LinkRequested, LinkUndone
from rear.domain.purchase import Purchase
from rear.domain.request_events import ProvidersAsked
from rear.domain.service_request import ServiceRequest
from rear.domain.value import value
from rear.domain.window import HOUR, SECOND, Duration

PATIENT: Final = SECOND
"""A reservation that is given up before it was waited for so long says nothing of its provider."""

LONGEST: Final = HOUR
"""No answer counts as slower than this."""

UNPROVEN: Final = 16
"""UNAUTHENTICATED: whoever answered is not the provider that was meant, and says nothing of it."""

WORTH_OF_A_KEPT_ONE: Final = 3
COST_OF_SILENCE: Final = 2
COST_OF_A_REVOKED_ONE: Final = 6

PRIOR: Final = 2
"""Reservations granted, and as many refused, that every provider is taken to begin with."""


@value
class Rating:
    """What a provider did so far; added up, what it did in a stretch of time.

    Reservations were `granted` or `refused`, or questions of any kind `unanswered`; contracts were `kept` to the end of
    their windows, or `revoked`. There were `answers`, which took `elapsed` together, and the slowest of them `slowest`.
    """

    granted: int = 0
    refused: int = 0
    unanswered: int = 0
    kept: int = 0
    revoked: int = 0
    answers: int = 0
    elapsed: Duration = Duration(0)
    slowest: Duration = Duration(0)

    def plus(self, more: Rating) -> Rating:
        """Both together."""
        return Rating(
            self.granted + more.granted,
            self.refused + more.refused,
            self.unanswered + more.unanswered,
            self.kept + more.kept,
            self.revoked + more.revoked,
            self.answers + more.answers,
            Duration(self.elapsed + more.elapsed),
            max(self.slowest, more.slowest),
        )

    @property
    def score(self) -> float:
        """How far it is to be relied on, in (0, 1): 0.5 for one that nothing is known of.

        `good / (good + bad)`, where good is 2 + granted + 3 kept, and bad is 2 + refused + 2 unanswered + 6 revoked. A
        refusal costs no more than a grant is worth, because it may be nobody's fault; a contract that was revoked took
        back what was sold.
        """
        good = PRIOR + self.granted + WORTH_OF_A_KEPT_ONE * self.kept
        bad = PRIOR + self.refused + COST_OF_SILENCE * self.unanswered + COST_OF_A_REVOKED_ONE * self.revoked
        return good / (good + bad)


UNKNOWN: Final = Rating()
"""Of a provider that nothing is known of."""

GRANTED: Final = Rating(granted=1)
REFUSED: Final = Rating(refused=1)
UNANSWERED: Final = Rating(unanswered=1)
KEPT: Final = Rating(kept=1)
REVOKED: Final = Rating(revoked=1)


def rated(event: Event, before: object) -> list[tuple[str, Rating]]:
    """What an event says of providers, by their ids. `before` is the aggregate before it."""
    if isinstance(event, ProvidersAsked):
        # Answers that were known before count where they were given.
        return [] if event.known_before else _of_answers(event, before)
    if not isinstance(before, Purchase):
        return []
    found: list[Rating] = []
    match event:
        case LinkRequested(verb=LinkVerb.CANCEL):
            if _unheard(before) and event.cause.at - before.requested_at >= PATIENT:
                found.append(UNANSWERED)
        case LinkUndone():
            if _unheard(before):
                found.append(REFUSED)
            found.append(_answered(event.elapsed))
        case LinkObserved(contract=copy):
            if _unheard(before):
                found.append(GRANTED)
            if before.copy is None or before.copy.state is not copy.state:
                found += [KEPT] if copy.state is ContractState.COMPLETED else []
                found += [REVOKED] if copy.state is ContractState.REVOKED else []
            found.append(_answered(event.elapsed))
    return [(before.order.provider_id, each) for each in found if each != UNKNOWN]


def _of_answers(event: ProvidersAsked, before: object) -> list[tuple[str, Rating]]:
    """A provider that stays silent while a component is looked for again and again was silent once."""
    runs = before.components if isinstance(before, ServiceRequest) else ()
    earlier = [answer for run in runs if run.name == event.component for answer in run.answers]
    silent = {answer.provider_id for answer in earlier if answer.silent}
    found: list[tuple[str, Rating]] = []
    for answer in event.answers:
        if not answer.provider_id or answer.code == UNPROVEN:
            continue
        if not answer.silent:
            found.append((answer.provider_id, _answered(answer.elapsed)))
        elif answer.provider_id not in silent:
            found.append((answer.provider_id, UNANSWERED))
    return found


def _unheard(purchase: Purchase) -> bool:
    """Whether its reservation was asked for, and nothing heard of it."""
    return purchase.pending is not None and purchase.pending.verb is LinkVerb.RESERVE and purchase.copy is None


def _answered(elapsed: Duration | None) -> Rating:
    if elapsed is None:
        return UNKNOWN
    took = Duration(min(max(elapsed, 0), LONGEST))
    return Rating(answers=1, elapsed=took, slowest=took)
