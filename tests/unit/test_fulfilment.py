"""What is to be done next for a service request: in any order of events it comes to an end, and nothing stays held."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.orchestration.deciding import Found
from rear.domain import purchase as purchases
from rear.domain.allocation import AllocationState
from rear.domain.counter_offer import CounterOffer
from rear.domain.fulfilment import NOTHING_FITS, PATIENCE, RESOURCES_LOST, UNANSWERED, WINDOW_PASSED, nothing_fits
from rear.domain.intent import Agreement, Constraints
from rear.domain.lifecycle import ContractState
from rear.domain.link import LinkVerb
from rear.domain.moves import Search, Wait
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.request_events import CandidateChosen, ComponentPlanned, PurchaseDecided
from rear.domain.service_request import RequestState
from rear.domain.source import Elsewhere, LocalSource
from rear.domain.window import DAY, HOUR, Window, after
from tests.fulfilling import REQUEST, Chance, World, asked, candidate, component
from tests.seller import T0, cpus


def test_what_fits_here_is_held_and_ready_in_one_commit() -> None:
    world = World()
    world.submit(component("web", 3_000), component("store", 3_000))

    decision = world.deciding.go_on(world.state.requests[next(iter(world.state.requests))].id, world.now)

    world.add(*decision.events)
    assert world.reached == "READY"
    assert {type(run.source) for run in world.request.components} == {LocalSource}
    assert len(world.local_holds()) == 2
    assert {run.source.pool_id for run in world.request.components if isinstance(run.source, LocalSource)} == {"a", "b"}


def test_nothing_is_purchased_before_every_component_is_held() -> None:
    world = World()
    world.submit(component("web", 3_000), component("big", 40_000), component("huge", 50_000))
    world.found(candidate("far"))
    first, second = world.purchases
    world.see(first, ContractState.RESERVED)
    world.go_on()
    assert not any(isinstance(event, PurchaseDecided) for event in world.events)

    world.see(world.state.purchases[second.id], ContractState.RESERVED)
    world.go_on()

    pending = [purchase.pending.verb for purchase in world.purchases if purchase.pending]
    assert pending == [LinkVerb.PURCHASE, LinkVerb.PURCHASE]


def test_what_somebody_cancels_meanwhile_is_not_held() -> None:
    world = World()
    world.submit(component("big", 40_000), component("huge", 50_000))
    world.found(candidate("far"))
    first, second = world.purchases
    world.see(first, ContractState.RESERVED)
    asked = purchases.request_cancel(world.state.purchases[first.id], "by-hand", "", world.cause)
    assert asked is not None
    world.add(asked)
    world.see(second, ContractState.RESERVED)

    world.go_on()

    assert not world.request.purchasing


def test_agreed_at_once_there_is_nothing_to_purchase() -> None:
    world = World()
    world.submit(component("big", 40_000), agreement=Agreement.DIRECT)
    world.found(candidate("far"))
    (purchase,) = world.purchases
    assert purchase.order.confirm

    world.see(purchase, ContractState.CONFIRMED)
    world.see(world.purchases[0], ContractState.ACTIVE)
    world.go_on()
    world.peer(world.purchases[0])
    world.go_on()

    assert world.reached == "READY"


def test_the_next_offer_is_taken_where_the_best_is_refused() -> None:
    world = World()
    world.submit(component("big", 40_000))
    world.found(candidate("best"), candidate("next"))
    world.refuse(world.purchases[0])

    assert isinstance(world.found(candidate("best"), candidate("next")), Wait)

    assert [attempt.flavour_id for attempt in world.request.components[0].attempts] == ["best-1", "next-1"]


def test_a_provider_that_does_not_answer_is_given_up_and_its_reservation_cancelled() -> None:
    world = World()
    world.submit(component("big", 40_000))
    assert world.found(candidate("silent")) == Wait(after(T0, PATIENCE))
    world.now = after(world.now, PATIENCE)

    assert isinstance(world.go_on(), Search)

    assert world.request.components[0].refusals[0].reason == UNANSWERED
    assert world.purchases[0].cancelling


def test_a_counter_offer_is_taken_once_nobody_has_everything() -> None:
    world = World()
    world.submit(component("big", 40_000, minimum=Quantities({"cpu_millicores": 20_000})))
    world.found(candidate("less"))
    window = world.window(world.purchases[0].order)
    less = CounterOffer("less-2", cpus(30_000), window, None, True, T0)
    world.refuse(world.purchases[0], less)

    world.found()

    order = world.purchases[-1].order
    assert (order.flavour_id, order.partition) == ("less-2", cpus(30_000))


@pytest.mark.parametrize(("hours", "taken"), [(2, True), (3, False)])
def test_a_later_window_is_taken_where_it_is_not_too_late(hours: int, taken: bool) -> None:
    world = World()
    world.submit(component("big", 40_000, window=asked(1), latest_start=after(T0, 3 * HOUR)))
    world.found(candidate("later"))
    start = after(T0, hours * HOUR + HOUR // 2)
    later = CounterOffer("later-2", None, Window(T0, T0), Window(start, after(start, HOUR)), True, T0)
    world.refuse(world.purchases[0], later)

    world.found()

    assert (world.request.state is RequestState.IN_PROGRESS) is taken
    if taken:
        assert world.purchases[-1].order.window.start == start


def test_where_nobody_has_it_the_request_fails_and_gives_back_what_it_has() -> None:
    world = World()
    world.submit(component("web", 3_000), component("big", 40_000))
    world.go_on()
    assert len(world.local_holds()) == 1

    world.found()

    assert world.request.failure is not None
    assert world.request.failure.reason == NOTHING_FITS
    assert not world.request.open
    assert world.local_holds() == []


def test_silent_providers_are_asked_again_before_it_is_given_up() -> None:
    world = World()
    world.submit(component("big", 40_000))
    assert isinstance(world.found(final=False), Search)
    assert world.request.live


def test_what_is_revoked_after_the_purchase_ends_the_request() -> None:
    world = ready()

    world.see(world.purchases[0], ContractState.REVOKED)
    world.go_on()

    assert world.request.failure is not None
    assert world.request.failure.reason == RESOURCES_LOST
    assert not world.request.open
    assert world.local_holds() == []


def test_a_request_completes_when_all_windows_have_ended() -> None:
    world = ready()
    assert world.reached == "READY"
    world.now = after(T0, 7 * HOUR)
    world.go_on()
    assert world.reached == "READY"  # the seller decides when its contract ends

    world.see(world.purchases[0], ContractState.COMPLETED)
    world.go_on()

    assert world.reached == "COMPLETED"
    assert not world.request.open
    assert world.local_holds() == []


def test_a_cancelled_request_is_open_until_its_provider_has_acknowledged() -> None:
    world = ready()
    world.cancel()
    world.go_on()
    assert world.local_holds() == []
    assert world.purchases[0].cancelling
    assert world.request.open

    world.see(world.purchases[0], ContractState.CANCELLED)
    world.go_on()

    assert not world.request.open


def test_a_window_that_passes_while_nobody_looks_ends_the_request() -> None:
    world = World()
    world.submit(component("big", 40_000, window=asked(1)))
    world.now = after(T0, 2 * HOUR)

    world.go_on()

    assert world.request.failure is not None
    assert world.request.failure.reason == WINDOW_PASSED


def test_what_was_held_here_through_a_window_that_nobody_watched_was_there() -> None:
    world = World()
    world.submit(component("web", 3_000, window=asked(1)))
    world.go_on()
    assert world.reached == "IN_PROGRESS"
    world.now = after(T0, DAY)

    world.go_on()

    assert world.reached == "COMPLETED"
    assert world.local_holds() == []


def test_ninety_components_are_planned_in_several_commits() -> None:
    world = World()
    world.submit(*[component(f"c{at}", 80) for at in range(90)])

    world.go_on()

    assert world.reached == "READY"
    assert len(world.local_holds()) == 90


def ready() -> World:
    """One component here and one with a provider, all active."""
    world = World()
    world.submit(component("web", 3_000), component("big", 40_000))
    world.found(candidate("far"))
    for state in (ContractState.RESERVED, ContractState.CONFIRMED, ContractState.ACTIVE):
        world.see(world.purchases[0], state)
        world.go_on()
    world.peer(world.purchases[0])
    world.go_on()
    assert world.reached == "READY"
    return world


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.sampled_from([500, 3_000, 5_000, 40_000]), min_size=1, max_size=4),
    agreement=st.sampled_from(Agreement),
    lenient=st.booleans(),
)
def test_whatever_happens_it_comes_to_an_end_and_then_nothing_is_held(
    seed: int, sizes: list[int], agreement: Agreement, lenient: bool
) -> None:
    world, random = World(), Random(seed)
    chance = Chance(world, random)
    more = {"minimum": Quantities({"cpu_millicores": 500}), "latest_start": after(T0, 2 * DAY)} if lenient else {}
    world.submit(*[component(f"c{at}", size, **more) for at, size in enumerate(sizes)], agreement=agreement)
    for _ in range(600):
        move = world.go_on()
        check(world)
        if not world.request.open:
            break
        if random.random() < 0.01 and world.request.live:
            world.cancel()
        elif isinstance(move, Search):
            chance.search(move)
        else:
            chance.happen()
    assert not world.request.open, f"seed {seed}: {world.request}"
    assert world.local_holds() == []
    assert not any(purchase.open for purchase in world.purchases)
    assert not any(allocation.stands for allocation in world.state.allocations.values())


def check(world: World) -> None:
    """What holds at any moment."""
    request = world.request
    for run in request.components:
        live = [world.tables.purchases[one.contract_id] for one in run.attempts]
        assert sum(one.open and not one.cancelling for one in live) <= 1, "two reservations for one component"
        if request.state is RequestState.READY and run.ended is None and isinstance(run.source, Elsewhere):
            allocation = world.state.allocations[f"{run.attempts[-1].contract_id}-consumer"]
            assert allocation.state is AllocationState.ACTIVE
    chosen = [event.contract_id for event in world.events if isinstance(event, CandidateChosen)]
    assert len(chosen) == len(set(chosen))
    planned = [event.component for event in world.events if isinstance(event, ComponentPlanned)]
    assert len(planned) == len(set(planned))


def test_what_runs_out_while_the_last_component_is_looked_for_is_reserved_again() -> None:
    world = World()
    world.submit(component("big", 40_000), component("huge", 48_000))
    world.found(candidate("p1"), final=False, names=("big",))
    world.see(world.purchases[0], ContractState.RESERVED)
    world.see(world.purchases[0], ContractState.EXPIRED)

    move = world.found(candidate("p1"))

    assert isinstance(move, Wait)
    assert [run.attempt is not None for run in world.request.components] == [True, True]


def test_a_search_serves_a_component_although_another_one_has_moved_on_meanwhile() -> None:
    world = World()
    world.submit(component("big", 40_000), component("huge", 48_000))
    world.found(candidate("p1"), final=False, names=("big",))
    world.refuse(world.purchases[0])

    heard = {"huge": Found((candidate("p2"),), (), True)}
    world.add(*world.deciding.take(REQUEST, heard, world.now).events)

    assert world.request.run("huge").attempt is not None


def test_who_finds_nothing_says_which_constraints_might_be_loosened() -> None:
    wanted = component("big", 40_000)
    strict = replace(wanted, constraints=Constraints(architectures=("arm64",), max_price=Money("USD", 5)))

    assert nothing_fits(wanted, (), ())[1].startswith("nobody has what component big needs;")
    assert nothing_fits(strict, (), ())[1].startswith(
        "nobody has what component big needs under its constraints (architectures, max_price);"
    )
