"""What is counted of providers' behaviour, and the score that it comes to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rear.domain import purchase as purchases
from rear.domain.answers import ProviderAnswer
from rear.domain.event import Cause
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.link import ContractCopy, LinkVerb
from rear.domain.link_events import LinkEvent, LinkObserved, LinkRequested, LinkUndone
from rear.domain.purchase import Purchase
from rear.domain.rating import LONGEST, UNKNOWN, Rating, rated
from rear.domain.request_events import IntentAccepted, ProvidersAsked
from rear.domain.service_request import evolve
from rear.domain.window import MILLISECOND, SECOND, Duration, Instant, after
from tests.examples import CONTRACT, COPY, EVENTS, NOW, ORDER

SELLER = ORDER.provider_id
FAST = Duration(12 * MILLISECOND)


def seen(version: int, state: ContractState, elapsed: Duration | None = None) -> LinkObserved:
    ending = None if state is not ContractState.COMPLETED else Ending("somebody", "somehow")
    copy: ContractCopy = replace(COPY, state=state, revision=version, ending=ending)
    return LinkObserved(CONTRACT, version, at(version), copy, elapsed)


def asks(version: int, verb: LinkVerb, when: Instant = NOW) -> LinkRequested:
    order = ORDER if verb is LinkVerb.RESERVE else None
    return LinkRequested(CONTRACT, version, Cause(when, when), verb, f"r{version}", order)


def at(version: int) -> Cause:
    return Cause(Instant(NOW + version), Instant(NOW + version))


def rating_of(*events: LinkEvent) -> Rating:
    purchase: Purchase | None = None
    total = UNKNOWN
    for event in events:
        for provider_id, more in rated(event, purchase):
            assert provider_id == SELLER
            total = total.plus(more)
        purchase = purchases.evolve(purchase, event)
    return total


RESERVED = (asks(1, LinkVerb.RESERVE), seen(2, ContractState.RESERVED, FAST))
BOUGHT = (*RESERVED, asks(3, LinkVerb.PURCHASE), seen(4, ContractState.CONFIRMED, FAST))


def test_a_reservation_that_is_granted_counts_once_and_each_answer_for_its_time() -> None:
    assert rating_of(*RESERVED) == Rating(granted=1, answers=1, elapsed=FAST, slowest=FAST)
    bought = rating_of(*BOUGHT)
    assert (bought.granted, bought.answers, bought.elapsed) == (1, 2, 2 * FAST)


def test_what_is_heard_without_asking_has_no_time() -> None:
    assert rating_of(*BOUGHT, seen(5, ContractState.ACTIVE)) == rating_of(*BOUGHT)


@pytest.mark.parametrize(
    ("state", "more"),
    [
        (ContractState.COMPLETED, Rating(kept=1)),
        (ContractState.REVOKED, Rating(revoked=1)),
        (ContractState.CANCELLED, UNKNOWN),
        (ContractState.EXPIRED, UNKNOWN),
    ],
)
def test_how_a_contract_ends(state: ContractState, more: Rating) -> None:
    active = (*BOUGHT, seen(5, ContractState.ACTIVE))
    assert rating_of(*active, seen(6, state)) == rating_of(*active).plus(more)


def test_a_refusal_counts_and_is_an_answer() -> None:
    undone = LinkUndone(CONTRACT, 2, at(2), "CAPACITY_EXCEEDED", "no room", None, FAST)
    assert rating_of(asks(1, LinkVerb.RESERVE), undone) == Rating(refused=1, answers=1, elapsed=FAST, slowest=FAST)


def test_one_that_was_given_up_for_its_silence_counts_as_unanswered_and_no_more() -> None:
    given_up = asks(2, LinkVerb.CANCEL, after(NOW, Duration(10 * SECOND)))
    silent = (asks(1, LinkVerb.RESERVE), given_up)
    assert rating_of(*silent) == Rating(unanswered=1)
    found_late = rating_of(*silent, seen(3, ContractState.RESERVED))
    assert found_late == Rating(unanswered=1)
    assert rating_of(*silent, LinkUndone(CONTRACT, 3, at(3), "CONTRACT_NOT_FOUND", "")) == Rating(unanswered=1)


def test_one_that_was_cancelled_at_once_says_nothing() -> None:
    assert rating_of(asks(1, LinkVerb.RESERVE), asks(2, LinkVerb.CANCEL)) == UNKNOWN


def test_questions_count_by_who_answered_and_in_what_time() -> None:
    answers = (
        ProviderAnswer("a", "h:1", 0, "", FAST, 3),
        ProviderAnswer("b", "h:2", 4, "it did not answer in 2 s", Duration(2 * SECOND)),
        ProviderAnswer("c", "h:3", 7, "you may not list", FAST),
        ProviderAnswer("", "h:4", 14, "nobody is there", FAST),
        ProviderAnswer("e", "h:5", 16, "its certificate is of another", FAST),
    )
    assert rated(ProvidersAsked("request", 3, Cause(NOW, NOW), "web", answers), None) == [
        ("a", Rating(answers=1, elapsed=FAST, slowest=FAST)),
        ("b", Rating(unanswered=1)),
        ("c", Rating(answers=1, elapsed=FAST, slowest=FAST)),
    ]


def test_who_stays_silent_while_a_component_is_looked_for_was_silent_once() -> None:
    def asked(version: int, *codes: int) -> ProvidersAsked:
        answers = tuple(ProviderAnswer(f"p{index}", "h:1", code, "", FAST) for index, code in enumerate(codes))
        return ProvidersAsked(accepted.originator_id, version, at(version), component, answers)

    accepted = next(event for event in EVENTS if isinstance(event, IntentAccepted))
    component = accepted.intent.components[0].name
    request = evolve(None, accepted)
    counted: Counter[str] = Counter()
    for version, codes in enumerate([(4, 4), (4, 0), (14, 4), (4, 4)], 2):
        event = asked(version, *codes)
        counted.update(provider_id for provider_id, rating in rated(event, request) if rating.unanswered)
        request = evolve(request, event)
    assert counted == {"p0": 1, "p1": 2}


def test_answers_that_were_known_before_count_only_once() -> None:
    answers = (ProviderAnswer("a", "h:1", 14, "silent", Duration(5)),)

    assert rated(ProvidersAsked("request", 3, Cause(NOW, NOW), "web", answers, known_before=True), None) == []


def test_a_time_is_bounded_whatever_the_ledger_says() -> None:
    events = (asks(1, LinkVerb.RESERVE), seen(2, ContractState.RESERVED, Duration(2**62)))
    assert rating_of(*events).elapsed == LONGEST


counts = st.integers(0, 1_000_000)
ratings = st.builds(Rating, counts, counts, counts, counts, counts)


def test_nothing_is_known_of_a_provider_at_first() -> None:
    assert UNKNOWN.score == 0.5


@given(ratings)
def test_good_deeds_raise_a_score_and_bad_ones_lower_it(rating: Rating) -> None:
    assert 0 < rating.score < 1
    for good in (Rating(granted=1), Rating(kept=1)):
        assert rating.plus(good).score > rating.score
    for bad in (Rating(refused=1), Rating(unanswered=1), Rating(revoked=1)):
        assert rating.plus(bad).score < rating.score
    assert rating.plus(Rating(revoked=1)).score < rating.plus(Rating(refused=1)).score
