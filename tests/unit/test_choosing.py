"""Which offer is taken: the best that was not tried, then what was offered instead, and never without end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rear.domain.answers import HeardRefusal
from rear.domain.candidate import Candidate
from rear.domain.choosing import (
    MOST_ATTEMPTS,
    OF_THE_PROVIDER,
    TRIES,
    choose,
    choose_counter_offer,
    enough,
    excluded,
    link_request_id,
)
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.intent import Agreement, Component, Constraints, Intent
from rear.domain.link import Order
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.service_request import Attempt, ComponentRun
from rear.domain.units import UnitRequest
from rear.domain.window import HOUR, MINUTE, SECOND, AskedWindow, Instant, Window, after
from tests.fulfilling import PROVIDER, WORKLOAD, asked, candidate, component
from tests.seller import T0, cpus, gpus

OTHER = "spiffe://campus.example/node/other"
WEB = component("web", 8_000, constraints=Constraints(max_price=Money("EUR", 5)))
HOUR_FROM_NOW = Window(T0, after(T0, HOUR))


def tried(*attempts: tuple[str, str], provider_id: str = PROVIDER) -> ComponentRun:
    """A run of refused attempts: flavours with the reasons that were heard."""
    return ComponentRun(
        "web",
        attempts=tuple(
            [Attempt(f"c{at}", provider_id, flavour, T0, refused=True) for at, (flavour, _) in enumerate(attempts)]
        ),
        refusals=tuple([HeardRefusal(provider_id, flavour, reason, "no") for flavour, reason in attempts]),
    )


def chosen(run: ComponentRun, *candidates: Candidate) -> str | None:
    choice = choose(Intent("shop", (WEB,)), WEB, run, candidates, T0)
    return None if choice is None else choice.order.flavour_id


def test_the_first_is_ordered_as_the_intent_says() -> None:
    intent = Intent("shop", (WEB,), Agreement.DIRECT, priority=7)
    choice = choose(intent, WEB, ComponentRun("web"), [candidate("a"), candidate("b")], T0)
    assert choice is not None
    assert choice.order == Order(
        PROVIDER,
        "10.0.0.7:7000",
        "a-1",
        cpus(8_000),
        AskedWindow(),
        confirm=True,
        max_price=Money("EUR", 5),
        priority=7,
    )
    assert (choice.considered, choice.reason) == (2, "the best of 2 offers by PRICE")


@pytest.mark.parametrize(
    ("window", "most"),
    [
        (AskedWindow(duration=HOUR), Money("EUR", 3)),
        (AskedWindow(after(T0, HOUR), after(T0, 2 * HOUR)), Money("EUR", 3)),
        (AskedWindow(end=after(T0, HOUR)), Money("EUR", 5)),
        (AskedWindow(), Money("EUR", 5)),
        (AskedWindow(after(T0, HOUR)), Money("EUR", 5)),
    ],
    ids=[
        "so long",
        "from then until then",
        "until then by the provider's clock",
        "the provider's default",
        "from then for the provider's default",
    ],
)
def test_no_more_is_paid_than_was_listed_where_the_window_says_how_long(window: AskedWindow, most: Money) -> None:
    web = replace(WEB, window=window)
    best = replace(candidate("a"), total_price=Money("EUR", 3))

    choice = choose(Intent("shop", (web,)), web, ComponentRun("web"), [best], T0)

    assert choice is not None
    assert choice.order.max_price == most


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        (tried(("a-1", "CAPACITY_EXCEEDED")), "b-1"),
        (tried(("a-1", "CAPACITY_EXCEEDED"), ("b-1", "PRICE_ABOVE_MAXIMUM")), None),
        (tried(("a-7", "FLAVOUR_CHANGED")), "a-1"),
        (tried(("a-1", "FLAVOUR_CHANGED")), "b-1"),
        (tried(*[(f"a-{at + 2}", "FLAVOUR_CHANGED") for at in range(TRIES)]), "b-1"),
        (tried(("a-1", "X"), provider_id=OTHER), "a-1"),
        (tried(*[(f"p{at}-1", "X") for at in range(MOST_ATTEMPTS)]), None),
        *[(tried(("z-1", reason)), None) for reason in sorted(OF_THE_PROVIDER)],
    ],
)
def test_what_was_refused_is_not_asked_for_again(run: ComponentRun, wanted: str | None) -> None:
    assert chosen(run, candidate("a"), candidate("b")) == wanted


def test_what_is_out_need_not_be_found_again() -> None:
    assert excluded(tried(("a-1", "X"), ("b-1", "FLAVOUR_CHANGED"))) == {f"{PROVIDER}/a"}


def test_of_models_that_will_do_one_that_is_there_is_ordered() -> None:
    wanted = Demand(cpus(1_000).quantities, (UnitRequest("gpu", 1),))
    picky = Component("web", wanted, WORKLOAD, constraints=Constraints(gpu_models=("H100", "A100")))
    offered = candidate("a")
    offered = replace(offered, flavour=replace(offered.flavour, pool_units=gpus("T4", "A100")))

    choice = choose(Intent("shop", (picky,)), picky, ComponentRun("web"), [offered], T0)

    assert choice is not None
    assert choice.order.partition.units == (UnitRequest("gpu", 1, attributes=(("model", "A100"),)),)


def countered(*offers: CounterOffer, wanted: Component, provider_id: str = PROVIDER, now: Instant = T0) -> Order | None:
    """What is ordered where each pool that was tried has offered something else."""
    pools = [offer.flavour_id.rpartition("-")[0] for offer in offers]
    run = replace(
        tried(*[(f"{pool}-1", "CAPACITY_EXCEEDED") for pool in pools]),
        refusals=tuple(
            [
                HeardRefusal(provider_id, f"{pool}-1", "CAPACITY_EXCEEDED", "no", offer)
                for pool, offer in zip(pools, offers, strict=True)
            ]
        ),
    )

    def order_of(attempt: Attempt) -> Order:
        return Order(provider_id, "e:1", attempt.flavour_id, wanted.partition, wanted.window)

    choice = choose_counter_offer(wanted, run, order_of, now)
    return None if choice is None else choice.order


def less(name: str, millicores: int) -> CounterOffer:
    return CounterOffer(f"{name}-9", cpus(millicores), HOUR_FROM_NOW, None, True, T0)


def later(name: str, hours: int) -> CounterOffer:
    start = after(T0, hours * HOUR)
    return CounterOffer(f"{name}-9", None, HOUR_FROM_NOW, Window(start, after(start, HOUR)), True, T0)


LENIENT = component(
    "web", 8_000, minimum=Quantities({"cpu_millicores": 2_000}), window=asked(1), latest_start=after(T0, 4 * HOUR)
)


@pytest.mark.parametrize(
    ("offers", "flavour"),
    [
        ([less("a", 3_000), less("b", 4_000)], "b-9"),
        ([less("a", 1_999)], None),
        ([later("a", 3), later("b", 2)], "b-9"),
        ([later("a", 5)], None),
        ([later("a", 2), less("b", 2_000)], "b-9"),
    ],
)
def test_of_counter_offers_the_largest_in_time_comes_first_then_the_earliest(
    offers: list[CounterOffer], flavour: str | None
) -> None:
    order = countered(*offers, wanted=LENIENT)
    assert (None if order is None else order.flavour_id) == flavour


def test_who_takes_no_less_and_no_later_takes_no_counter_offer() -> None:
    assert countered(less("a", 7_999), later("b", 1), wanted=component("web", 8_000)) is None


def test_a_later_window_is_asked_for_by_both_its_ends() -> None:
    order = countered(later("a", 2), wanted=LENIENT)
    assert order is not None
    assert order.window == AskedWindow(after(T0, 2 * HOUR), after(T0, 3 * HOUR))
    assert order.partition == LENIENT.partition


@pytest.mark.parametrize("most", [cpus(8_001), Demand(Quantities({"cpu_millicores": 4_000, "memory_bytes": 1}))])
def test_more_than_was_asked_for_is_no_counter_offer(most: Demand) -> None:
    offer = CounterOffer("a-9", most, HOUR_FROM_NOW, None, True, T0)
    assert countered(offer, wanted=LENIENT) is None


@pytest.mark.parametrize(("minutes", "taken"), [(1, None), (59, None), (61, 60), (60 * 24 * 365, 60)])
def test_a_later_window_is_as_long_as_the_one_that_was_asked_for(minutes: int, taken: int | None) -> None:
    start = after(T0, 2 * HOUR)
    offer = CounterOffer("a-9", None, HOUR_FROM_NOW, Window(start, after(start, minutes * MINUTE)), True, T0)
    order = countered(offer, wanted=LENIENT)
    assert (order and order.window) == (taken and AskedWindow(start, after(start, taken * MINUTE)))


def test_a_later_window_for_one_from_now_on_is_as_long_as_that_was_when_it_was_asked_for() -> None:
    until = replace(LENIENT, window=AskedWindow(None, after(T0, HOUR)))
    order = countered(later("a", 2), wanted=until, now=after(T0, 30 * SECOND))
    assert order is not None
    assert order.window == AskedWindow(after(T0, 2 * HOUR), after(T0, 3 * HOUR))


def test_a_reservation_that_ran_out_may_be_made_again_but_not_for_ever() -> None:
    assert chosen(tried(("a-1", "EXPIRED")), candidate("a")) == "a-1"
    assert chosen(tried(*[("a-1", "EXPIRED")] * TRIES), candidate("a")) is None
    assert not excluded(tried(("a-1", "EXPIRED")))


def test_a_pool_that_keeps_offering_something_else_is_left_in_the_end() -> None:
    run = tried(*[("a-1", "CAPACITY_EXCEEDED")] * TRIES)
    run = replace(run, refusals=tuple([replace(one, counter_offer=less("a", 3_000)) for one in run.refusals]))
    order = Order(PROVIDER, "e:1", "a-1", LENIENT.partition, LENIENT.window)
    assert choose_counter_offer(LENIENT, run, lambda _: order, T0) is None


def test_devices_are_all_needed() -> None:
    wanted = Component("web", Demand(cpus(1_000).quantities, (UnitRequest("gpu", 2),)), WORKLOAD)
    assert enough(wanted, Demand(cpus(1_000).quantities, (UnitRequest("gpu", 1), UnitRequest("gpu", 1))))
    assert not enough(wanted, Demand(cpus(1_000).quantities, (UnitRequest("gpu", 1),)))


def test_requests_to_providers_have_the_same_ids_after_a_restart() -> None:
    key = "0c5c2f7e-94b1-5a0e-8f3b-6d2e7a1c9b40"
    assert link_request_id(key, "web", 0, "RESERVE") == link_request_id(key, "web", 0, "RESERVE")
    assert len({link_request_id(key, name, at, verb) for name in "ab" for at in (0, 1) for verb in ("R", "P")}) == 8
