"""The consumer's search: who is asked, whose answers count, and when nobody need be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rear import failpoints
from rear.domain.candidate import expected_window
from rear.domain.choosing import choose
from rear.domain.demand import Demand
from rear.domain.intent import Component, Constraints, Intent, Objective
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.ranking import UNRATED
from rear.domain.refusals import PermissionDenied
from rear.domain.selection import covers, selector_of, selects
from rear.domain.selector import Selector, TextFilter
from rear.domain.service_request import ComponentRun
from rear.domain.units import Unit, UnitRequest, UnitShare
from rear.domain.window import HOUR, MINUTE, SECOND, AskedWindow, Duration, Instant
from rear.ledger.connection import Connection, Endpoint
from rear.ledger.offers import OffersStream
from rear.managers.consumer.candidates import PeeringCandidates
from rear.managers.consumer.discovery import DiscoveryManager
from rear.managers.consumer.neighbours import Neighbour, Neighbours
from rear.managers.consumer.peers import Listing, Question, Unanswered
from rear.managers.consumer.rear import ConsumerRear, Search
from rear.projections.candidates import CandidatesTable
from tests.examples import NOW
from tests.market import COMPONENT, OWN_ID, Market, Time, neighbour, offer, provider

SLACK = Duration(10 * SECOND)


class Consumer:
    """One that keeps its candidates in memory: stream and table are never opened."""

    def __init__(self, market: Market, folder: Path, *, at_a_time: int = 64) -> None:
        self.time = Time()
        nowhere = Connection(lambda: Endpoint("nats://127.0.0.1:1"), name="nowhere")
        self.candidates = PeeringCandidates(
            OWN_ID, OffersStream(nowhere, "me"), lambda: CandidatesTable(folder / "candidates.sqlite")
        )
        self.discovery = DiscoveryManager(
            OWN_ID, market, market, self.candidates, self.time, deadline=0.5, at_a_time=at_a_time
        )
        self.rear = ConsumerRear(self.candidates, self.discovery, UNRATED, self.time)

    async def search(self, component: Component = COMPONENT, *excluded: str, fresh: bool = False) -> Search:
        return await self.rear.search(component, excluded=frozenset(excluded), fresh=fresh)


@pytest.fixture
def market() -> Market:
    return Market({1: [offer(1, hourly=3)], 2: [offer(2, hourly=1)], 3: [offer(3, hourly=2)]})


@pytest.fixture
def consumer(market: Market, tmp_path: Path) -> Consumer:
    return Consumer(market, tmp_path)


def names(search: Search) -> list[str]:
    return [each.provider_id[-2:] for each in search.candidates]


def codes(search: Search) -> dict[str, int]:
    return {answer.provider_id[-2:]: answer.code for answer in search.answers}


# Asking


async def test_all_neighbours_are_asked_and_the_best_offer_comes_first(consumer: Consumer) -> None:
    search = await consumer.search()

    assert names(search) == ["p2", "p3", "p1"]
    assert [(answer.provider_id, answer.endpoint, answer.code, answer.flavours) for answer in search.answers] == [
        (provider(number), f"127.0.0.1:{number}", 0, 1) for number in (1, 2, 3)
    ]
    assert search.candidates[0].total_price == Money("EUR", 2)


async def test_they_are_asked_for_what_the_component_needs(market: Market, consumer: Consumer) -> None:
    limits = Constraints(("amd64",), ("T4",), None, Money("EUR", 9), Duration(5), ("iso27001",), (("tier", "gold"),))
    await consumer.search(replace(COMPONENT, constraints=limits, objective=Objective.CARBON))

    selector = market.asked[0].selector
    assert selector.partition == COMPONENT.partition
    assert selector.window == AskedWindow(duration=HOUR)
    assert selector.architecture == TextFilter(any_of=frozenset({"amd64"}))
    assert selector.gpu_model == TextFilter(any_of=frozenset({"T4"}))
    assert (selector.max_price, selector.max_latency) == (Money("EUR", 9), 5)
    assert selector.security_standards is not None
    assert selector.security_standards.all_of == {"iso27001"}
    assert selector.tags == (("tier", TextFilter("gold")),)
    assert market.asked[0].order.value == "CARBON"


async def hangs(_: Question) -> Listing:
    raise Unanswered(4, "did not answer within 0.5 s")


async def refuses(_: Question) -> Listing:
    raise PermissionDenied("not you")


async def is_another(_: Question) -> Listing:
    raise Unanswered(16, "is another", "WRONG_SERVICE")


async def breaks(_: Question) -> Listing:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [(hangs, 4), (refuses, 7), (is_another, 16), (breaks, 13)],
    ids=["hangs", "refuses", "is another", "breaks"],
)
async def test_one_that_fails_is_named_and_the_others_count(
    market: Market, consumer: Consumer, behaviour: Callable[[Question], object], code: int
) -> None:
    market.behaviours[2] = behaviour  # type: ignore[assignment]

    search = await consumer.search()

    assert names(search) == ["p3", "p1"]
    assert codes(search) == {"p1": 0, "p2": code, "p3": 0}


async def test_nobody_is_left_out_for_being_slow(market: Market, consumer: Consumer) -> None:
    async def slow(_: Question) -> Listing:
        await asyncio.sleep(0.05)
        return Listing((offer(2, hourly=1),))

    market.behaviours[2] = slow

    assert names(await consumer.search()) == ["p2", "p3", "p1"]


async def test_only_so_many_are_asked_at_the_same_time(tmp_path: Path) -> None:
    market = Market({number: [offer(number)] for number in range(1, 10)})

    await Consumer(market, tmp_path, at_a_time=3).search()

    assert len(market.asked) == 9
    assert market.most_at_once == 3


async def test_nobody_is_asked_before_it_is_known_who_is_there(
    market: Market, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Neighbours(OWN_ID, "127.0.0.1:9")
    known.expect(0.2)
    for name in ("all", "settled"):
        monkeypatch.setattr(market, name, getattr(known, name))
    asyncio.get_running_loop().call_later(0.05, lambda: known.announced("127.0.0.1:2", provider(2), 5.0))

    assert names(await consumer.search()) == ["p2"]


async def test_the_node_itself_is_no_candidate(market: Market, consumer: Consumer) -> None:
    me = replace(offer(4), provider_id=OWN_ID)
    market.offers[4] = [me]

    search = await consumer.search()

    assert names(search) == ["p2", "p3", "p1"]
    assert search.answers[3].message == "it is this node itself"


async def test_the_node_does_not_ask_itself(
    market: Market, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market, "all", lambda: [neighbour(1), Neighbour("127.0.0.1:2", OWN_ID)])

    search = await consumer.search()

    assert [answer.provider_id for answer in search.answers] == [provider(1)]


async def test_what_is_excluded_is_not_found_again(consumer: Consumer) -> None:
    first = await consumer.search()

    second = await consumer.search(COMPONENT, first.candidates[0].pool, fresh=True)

    assert names(second) == ["p3", "p1"]


async def test_offers_that_make_no_sense_are_counted(market: Market, consumer: Consumer) -> None:
    async def odd(_: Question) -> Listing:
        return Listing((), 2, complaint="its type is 99")

    market.behaviours[1] = odd

    search = await consumer.search()

    assert search.answers[0].message == "2 of its offers cannot be used; the first: its type is 99"
    assert search.answers[0].ok


# Not asking


async def test_the_same_question_is_not_put_again_while_the_answers_are_fresh(
    market: Market, consumer: Consumer
) -> None:
    first = await consumer.search()
    consumer.time.passes(9 * SECOND)

    second = await consumer.search()

    assert (names(second), second.answers, second.asked) == (names(first), first.answers, False)
    assert len(market.asked) == 3


async def test_what_is_older_than_it_may_be_is_asked_for_again(market: Market, consumer: Consumer) -> None:
    await consumer.search()
    consumer.time.passes(11 * SECOND)

    assert (await consumer.search()).asked
    assert len(market.asked) == 6


async def test_age_counts_from_the_origin(market: Market, consumer: Consumer) -> None:
    aged = offer(1)
    market.offers = {1: [replace(aged, routes=(replace(aged.route, age=Duration(8 * SECOND)),))]}
    await consumer.search()
    consumer.time.passes(3 * SECOND)

    assert (await consumer.search()).asked


async def test_fresh_asks_in_any_case(market: Market, consumer: Consumer) -> None:
    await consumer.search()

    assert (await consumer.search(fresh=True)).asked


async def test_another_question_is_put(market: Market, consumer: Consumer) -> None:
    await consumer.search(replace(COMPONENT, constraints=Constraints(tags=(("rack", "r7"),))))

    assert (await consumer.search()).asked, "offers without that tag may be better"


async def test_a_part_of_a_question_need_not_be_put(market: Market, consumer: Consumer) -> None:
    await consumer.search()

    search = await consumer.search(replace(COMPONENT, constraints=Constraints(max_price=Money("EUR", 4))))

    assert (search.asked, names(search)) == (False, ["p2", "p3"])


async def test_a_part_of_a_question_is_put_where_not_all_was_told(market: Market, consumer: Consumer) -> None:
    async def cut(_: Question) -> Listing:
        return Listing((offer(1),), truncated=True)

    market.behaviours[1] = cut
    await consumer.search()

    assert (await consumer.search(replace(COMPONENT, constraints=Constraints(max_price=Money("EUR", 4))))).asked
    assert not (await consumer.search()).asked


async def test_a_longer_window_is_asked_for(consumer: Consumer) -> None:
    await consumer.search()

    assert (await consumer.search(replace(COMPONENT, window=AskedWindow(duration=Duration(2 * HOUR))))).asked


async def test_a_new_neighbour_is_asked(market: Market, consumer: Consumer) -> None:
    await consumer.search()
    market.offers[4] = [offer(4, hourly=0)]

    assert names(await consumer.search())[0] == "p4"


async def test_one_that_did_not_answer_is_asked_again_soon(market: Market, consumer: Consumer) -> None:
    market.behaviours[2] = hangs
    await consumer.search()
    consumer.time.passes(SECOND)
    assert not (await consumer.search()).asked
    del market.behaviours[2]
    consumer.time.passes(2 * SECOND)

    assert names(await consumer.search()) == ["p2", "p3", "p1"]


async def test_when_all_that_is_known_is_excluded_others_are_asked_for(market: Market, consumer: Consumer) -> None:
    first = await consumer.search()

    assert (await consumer.search(COMPONENT, *(each.pool for each in first.candidates))).asked


async def test_a_search_for_another_window_does_not_hide_what_was_known(market: Market, consumer: Consumer) -> None:
    await consumer.search()
    later = AskedWindow(Instant(NOW + 100 * HOUR), duration=HOUR)
    await consumer.search(replace(COMPONENT, window=later))

    search = await consumer.search()

    assert names(search) == ["p2", "p3", "p1"]
    assert search.asked, "what is known now is of another window"


# Where nobody has all of it


LARGE = replace(COMPONENT, partition=Demand(Quantities({"cpu_millicores": 9_000})))
"""More than anybody has."""


def only_where_it_fits(market: Market) -> None:
    """Lets neighbours list what a real one would."""

    def listing(number: int) -> Callable[[Question], Awaitable[Listing]]:
        async def answer(question: Question) -> Listing:
            known = [replace(each, window=expected_window(question.selector.window, NOW)) for each in offers[number]]
            return Listing(tuple(each for each in known if selects(question.selector, each, NOW, slack=SLACK)))

        return answer

    offers = market.offers
    market.behaviours = {number: listing(number) for number in offers}


async def test_those_that_have_enough_are_found_where_nobody_has_all(market: Market, consumer: Consumer) -> None:
    only_where_it_fits(market)
    market.offers[2] = [offer(2, cpu=5_000)]

    nobody = await consumer.search(LARGE)
    enough = await consumer.search(replace(LARGE, minimum=Quantities({"cpu_millicores": 6_000})))

    assert (names(nobody), names(enough)) == ([], ["p3", "p1"])
    assert len(enough.answers) == 3


async def test_less_is_not_looked_for_where_somebody_has_all(market: Market, consumer: Consumer) -> None:
    only_where_it_fits(market)
    market.offers[1] = [offer(1, hourly=9, cpu=10_000)]

    search = await consumer.search(replace(LARGE, minimum=Quantities({"cpu_millicores": 6_000})))

    assert (names(search), len(market.asked)) == (["p1"], 3)


async def test_a_later_window_is_looked_for_where_it_will_do(market: Market, consumer: Consumer) -> None:
    start = Instant(NOW + 5 * HOUR)
    asked_at: list[Instant | None] = []

    async def free_later(question: Question) -> Listing:
        asked_at.append(question.selector.window.start)
        return Listing((offer(1),) if question.selector.window == AskedWindow(start, duration=HOUR) else ())

    market.offers, market.behaviours = {}, {1: free_later}

    search = await consumer.search(replace(COMPONENT, latest_start=start))

    assert (names(search), asked_at) == (["p1"], [None, start])


async def test_one_that_did_not_answer_is_not_asked_for_less(market: Market, consumer: Consumer) -> None:
    only_where_it_fits(market)
    market.behaviours[2] = hangs

    await consumer.search(replace(LARGE, minimum=Quantities({"cpu_millicores": 6_000})))

    assert len(market.asked) == 5


async def test_counter_offers_are_asked_of_a_few_only(market: Market, consumer: Consumer) -> None:
    only_where_it_fits(market)
    market.offers[1] = [offer(1, f"pool-{number}") for number in range(9)]
    wanted = replace(LARGE, minimum=Quantities({"cpu_millicores": 6_000}))

    first = await consumer.search(wanted)
    after_five = await consumer.search(wanted, *(each.pool for each in first.candidates))

    assert (len(first.candidates), len(after_five.candidates)) == (5, 0)


# What is withdrawn


async def test_what_a_provider_offers_no_more_is_withdrawn(market: Market, consumer: Consumer) -> None:
    market.offers[1].append(offer(1, "second"))
    await consumer.search()
    assert len(consumer.candidates) == 4
    market.offers[1].pop()

    await consumer.search(fresh=True)

    assert len(consumer.candidates) == 3


async def test_what_was_not_asked_for_is_not_withdrawn(market: Market, consumer: Consumer) -> None:
    await consumer.search()
    market.offers = {number: [] for number in market.offers}

    await consumer.search(replace(COMPONENT, partition=Demand(Quantities({"cpu_millicores": 9_000}))), fresh=True)

    assert len(consumer.candidates) == 3, "none of them has so much"


async def test_one_that_does_not_answer_keeps_its_offers(market: Market, consumer: Consumer) -> None:
    await consumer.search()
    market.behaviours[1] = hangs

    await consumer.search(fresh=True)

    assert len(consumer.candidates) == 3


async def test_a_cut_answer_withdraws_nothing(market: Market, consumer: Consumer) -> None:
    await consumer.search()

    async def cut(_: Question) -> Listing:
        return Listing((offer(1, "other"),), truncated=True)

    market.behaviours[1] = cut
    await consumer.search(fresh=True)

    assert len(consumer.candidates) == 4


async def test_there_are_never_more_than_so_many(market: Market, consumer: Consumer) -> None:
    consumer.candidates._most = 3
    market.offers[2] += [offer(2, f"more-{number}") for number in range(5)]

    await consumer.search()

    assert len(consumer.candidates) == 3


# Which candidates answer a question


def test_what_is_asked_for_is_what_will_be_ordered_also_where_the_start_has_passed() -> None:
    started = replace(COMPONENT, window=AskedWindow(Instant(NOW - MINUTE), duration=HOUR))
    to_come = replace(COMPONENT, window=AskedWindow(Instant(NOW + MINUTE), duration=HOUR))

    for component in (started, to_come):
        choice = choose(Intent("shop", (component,)), component, ComponentRun("web"), [offer()], NOW)
        assert choice is not None
        assert selector_of(component, NOW).window == choice.order.window
    assert selector_of(started, NOW).window == AskedWindow(None, Instant(NOW - MINUTE + HOUR))


@pytest.mark.parametrize(
    ("cpu", "selected"), [(8_000, True), (8_250, False), (2_000, True), (2_001, False), (250, False)]
)
def test_a_candidate_answers_where_so_much_is_free_and_may_be_asked_for(cpu: int, selected: bool) -> None:
    selector = Selector(partition=Demand(Quantities({"cpu_millicores": cpu})), window=COMPONENT.window)

    assert selects(selector, offer(), NOW, slack=SLACK) is selected, "at least 500, by 250"


def test_devices_are_counted_one_by_one() -> None:
    units = (Unit("gpu", "a", (("model", "T4"),)), Unit("gpu", "b", (("model", "A100"),)))
    made = offer()
    having = replace(
        made,
        flavour=replace(made.flavour, pool_units=units),
        available_units=(UnitShare("gpu", "a", 500), UnitShare("gpu", "b", 1_000)),
    )

    def answers(*requests: UnitRequest) -> bool | None:
        selector = Selector(partition=Demand(units=requests), window=COMPONENT.window)
        return selects(selector, having, NOW, slack=SLACK)

    assert answers(UnitRequest("gpu", 1, 1_000))
    assert answers(UnitRequest("gpu", 2, 500))
    assert answers(UnitRequest("gpu", 1, 500, (("model", "T4"),)), UnitRequest("gpu", 1, 1_000))
    assert not answers(UnitRequest("gpu", 2, 600))
    assert not answers(UnitRequest("gpu", 1, 600, (("model", "T4"),)))


def test_nothing_is_known_of_another_window() -> None:
    selector = Selector(partition=COMPONENT.partition, window=AskedWindow(duration=Duration(HOUR + 11 * SECOND)))

    assert selects(selector, offer(), NOW, slack=SLACK) is None
    assert selects(replace(selector, provider_ids=frozenset({provider(9)})), offer(), NOW, slack=SLACK) is False


def test_a_question_covers_the_same_one_with_more_filters() -> None:
    wide, narrow = (
        Selector(partition=COMPONENT.partition),
        Selector(partition=COMPONENT.partition, tags=(("a", TextFilter("b")),)),
    )

    assert covers(wide, wide)
    assert covers(wide, narrow)
    assert not covers(narrow, wide)
    assert covers(Selector(), wide)
    assert not covers(wide, Selector(partition=Demand(Quantities({"cpu_millicores": 4_000}))))


# Points


class Cable:
    def __init__(self) -> None:
        self.times_cut = 0
        failpoints.can_be_cut(self)

    def cut(self) -> None:
        self.times_cut += 1


@pytest.mark.parametrize("point", ["discovery.before_asking", "candidates.written"])
async def test_a_search_comes_to_its_points(consumer: Consumer, point: str) -> None:
    cable = Cable()
    failpoints.switch_on({failpoints.VARIABLE: f"{point}=cut"})
    try:
        await consumer.search()
    finally:
        failpoints.switch_on({})

    assert cable.times_cut == 1
