"""Where a component finds its resources on the node itself: in its pools, on virtual nodes, and where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rear.domain import pool as pools
from rear.domain import reservation
from rear.domain.allocation import Allocation, AllocationState
from rear.domain.demand import Demand
from rear.domain.events import AllocationSide, ContractExpired
from rear.domain.hold import HoldKind
from rear.domain.intent import Component, Constraints
from rear.domain.lifecycle import ContractState
from rear.domain.own_resources import Guest, asked_window, place_on
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.request_events import IntentAccepted
from rear.domain.selector import LocationFilter, TextFilter
from rear.domain.source import Elsewhere, LocalSource, VirtualNodeSource, local_hold_id
from rear.domain.units import UnitRequest, UnitShare
from rear.domain.window import HOUR, MINUTE, SECOND, AskedWindow, Duration, Instant, Window, after
from tests.fulfilling import PROMISES, REQUEST, WORKLOAD, World, asked, candidate, component
from tests.seller import T0, cpus, gpus, wish

HOURS = Window(T0, after(T0, 2 * HOUR))
NODE = Allocation(
    "c-consumer",
    2,
    "c",
    AllocationSide.CONSUMER,
    "",
    HOURS,
    Quantities({"cpu_millicores": 8_000}),
    (UnitShare("gpu", "gpu-0", 1_000), UnitShare("gpu", "gpu-1", 500)),
    AllocationState.ACTIVE,
    T0,
)


def planned(world: World, name: str = "web") -> LocalSource | VirtualNodeSource | Elsewhere | None:
    world.go_on()
    return world.request.run(name).source


def test_the_smallest_pool_that_fits_comes_first() -> None:
    world = World()
    world.add(pools.register("large", world.state.pools["a"].terms, cpus(64_000).quantities, (), world.cause))
    world.add(pools.register("small", world.state.pools["a"].terms, cpus(1_000).quantities, (), world.cause))
    world.submit(component("web", 800), component("store", 30_000))

    assert planned(world) == LocalSource("small", local_hold_id(REQUEST, "web"))
    assert planned(world, "store") == LocalSource("large", local_hold_id(REQUEST, "store"))


def test_a_hold_here_reduces_what_is_offered_and_is_not_bound_by_its_terms() -> None:
    world = World()
    world.submit(component("web", 1_234, constraints=Constraints(max_price=Money("EUR", 0), max_latency=Duration(1))))
    source = planned(world)
    assert isinstance(source, LocalSource)

    pool = world.state.pools[source.pool_id]

    assert pool.offer is not None
    assert pool.offer.quantities.of("cpu_millicores") == 4_000 - 1_234
    assert [hold.kind for hold in pool.holds.values()] == [HoldKind.LOCAL]


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(architectures=("riscv",)),
        Constraints(gpu_models=("H100",)),
        Constraints(location=LocationFilter(country=TextFilter(exact="IS"))),
        Constraints(security_standards=("none-such",)),
        Constraints(tags=(("tier", "lead"),)),
    ],
)
def test_a_constraint_that_no_pool_meets_sends_elsewhere(constraints: Constraints) -> None:
    world = World()
    world.submit(component("web", 800, constraints=constraints))
    assert planned(world) == Elsewhere()


def test_of_several_models_any_device_will_do_but_no_other() -> None:
    world = World()
    world.add(
        pools.register("mixed", world.state.pools["a"].terms, cpus(4_000).quantities, gpus("A100", "H100"), world.cause)
    )
    wanted = Demand(cpus(500).quantities, (UnitRequest("gpu", 1),))
    world.submit(Component("web", wanted, WORKLOAD, constraints=Constraints(gpu_models=("H200", "H100"))))

    source = planned(world)

    assert isinstance(source, LocalSource)
    hold = world.state.pools["mixed"].holds[source.hold_id]
    assert hold.units == (UnitShare("gpu", "gpu-1", 1_000),)


def test_a_retired_pool_is_not_used() -> None:
    world = World()
    for name in ("a", "b"):
        world.add(pools.retire(world.state.pools[name], "gone", world.cause))
    world.submit(component("web", 800))
    assert planned(world) == Elsewhere()


def test_a_window_in_the_future_takes_nothing_now() -> None:
    world = World()
    world.submit(component("web", 4_000, window=asked(10)), component("store", 4_000, window=asked(12)))
    assert isinstance(planned(world), LocalSource)
    run, other = world.request.components
    assert (run.source, run.window) != (other.source, other.window)
    assert isinstance(other.source, LocalSource)
    assert isinstance(run.source, LocalSource)
    assert run.source.pool_id == other.source.pool_id  # one after the other


def test_a_start_that_has_come_is_now_and_the_end_stays() -> None:
    wanted = component("web", 1, window=AskedWindow(T0, None, HOUR))
    late = after(T0, 10 * SECOND)
    assert asked_window(wanted, late) == AskedWindow(None, after(T0, HOUR))
    assert asked_window(wanted, Instant(T0 - HOUR)) == wanted.window


def test_what_may_begin_later_is_as_long_as_it_was_meant_to_be() -> None:
    wanted = component("web", 1, window=AskedWindow(T0, None, HOUR), latest_start=after(T0, HOUR))
    assert asked_window(wanted, after(T0, 10 * MINUTE)) == AskedWindow(None, None, HOUR)


def test_a_virtual_node_has_room_beside_the_component_that_it_was_bought_for() -> None:
    owner, first = component("owner", 4_000), Guest(cpus(4_000), HOURS)
    hour = Window(T0, after(T0, HOUR))

    assert place_on(NODE, owner, [first], component("web", 4_000), hour) == ()
    assert place_on(NODE, owner, [first], component("web", 4_001), hour) is None
    assert place_on(NODE, owner, [first, Guest(cpus(1_000), hour, ())], component("web", 4_000), hour) is None
    assert place_on(NODE, owner, [first], component("web", 1), Window(T0, after(T0, 3 * HOUR))) is None


def test_devices_of_a_virtual_node_are_never_given_twice() -> None:
    half = Demand(cpus(500).quantities, (UnitRequest("gpu", 1, 500),))
    owner = Component("owner", half, WORKLOAD)
    wanted = Component("web", half, WORKLOAD)
    first = Guest(half, HOURS)

    second = place_on(NODE, owner, [first], wanted, HOURS)
    assert second == (UnitShare("gpu", "gpu-0", 500),)  # gpu-1, the fuller one, is the owner's
    third = place_on(NODE, owner, [first, Guest(half, HOURS, second)], wanted, HOURS)
    assert third == (UnitShare("gpu", "gpu-0", 500),)
    taken = [first, Guest(half, HOURS, second), Guest(half, HOURS, third)]
    assert place_on(NODE, owner, taken, wanted, HOURS) is None


def test_of_a_virtual_node_only_what_it_was_bought_for_is_known() -> None:
    owner = component("owner", 1_000, constraints=Constraints(architectures=("arm64",), max_latency=Duration(5)))
    for met in (Constraints(), Constraints(architectures=("arm64", "amd64")), Constraints(max_latency=Duration(9))):
        assert place_on(NODE, owner, [], component("web", 1, constraints=met), HOURS) == ()
    for unknown in (
        Constraints(gpu_models=("T4",)),
        Constraints(tags=(("a", "b"),)),
        Constraints(max_latency=Duration(1)),
    ):
        assert place_on(NODE, owner, [], component("web", 1, constraints=unknown), HOURS) is None


def with_virtual_node() -> World:
    """A request with 40 cores on a virtual node that has 8 more, and a second request that is placed there."""
    world = World()
    world.submit(component("big", 40_000))
    world.found(candidate("far"))
    (purchase,) = world.purchases
    world.state.purchases[purchase.id] = replace(purchase, order=replace(purchase.order, partition=cpus(48_000)))
    for state in (ContractState.RESERVED, ContractState.CONFIRMED, ContractState.ACTIVE):
        world.see(world.purchases[0], state)
        world.go_on()
    world.peer(world.purchases[0])
    world.go_on()
    world.state.purchases[purchase.id] = replace(world.purchases[0], order=purchase.order)
    return world


TEN_MINUTES = AskedWindow(None, None, Duration(10 * MINUTE))
SECOND_REQUEST = "1c5c2f7e-94b1-5a0e-8f3b-6d2e7a1c9b41"


def second(world: World, *components: Component) -> None:
    for name in ("a", "b"):
        if world.state.pools[name].offer is not None:
            world.add(pools.retire(world.state.pools[name], "full", world.cause))
    first = world.tables.requests[REQUEST]
    intent = replace(first.intent, components=components)
    world.add(IntentAccepted(SECOND_REQUEST, 1, world.cause, intent, b""))
    world.add(*world.deciding.go_on(SECOND_REQUEST, world.now).events)


def test_a_shared_virtual_node_is_given_back_by_the_last_that_uses_it() -> None:
    world = with_virtual_node()
    second(world, component("web", 8_000, window=AskedWindow(None, None, Duration(HOUR // 2))))
    run = world.tables.requests[SECOND_REQUEST].components[0]
    assert run.source == VirtualNodeSource(f"{world.purchases[0].id}-consumer")
    assert run.ready

    world.cancel()
    world.go_on()
    assert not world.request.open
    assert not world.purchases[0].cancelling

    world.now = after(world.now, HOUR // 2)
    world.add(*world.deciding.go_on(SECOND_REQUEST, world.now).events)
    assert not world.tables.requests[SECOND_REQUEST].open
    assert world.purchases[0].cancelling


def test_who_is_placed_on_a_virtual_node_that_is_lost_fails() -> None:
    world = with_virtual_node()
    second(world, component("web", 8_000, window=AskedWindow(None, None, Duration(HOUR // 2))))

    world.see(world.purchases[0], ContractState.REVOKED)
    world.add(*world.deciding.go_on(SECOND_REQUEST, world.now).events)

    failure = world.tables.requests[SECOND_REQUEST].failure
    assert failure is not None
    assert failure.reason == "RESOURCES_LOST"


def test_nobody_is_placed_on_a_virtual_node_whose_contract_is_being_cancelled() -> None:
    world = with_virtual_node()
    world.cancel()
    world.go_on()
    assert world.purchases[0].cancelling

    second(world, half_an_hour("web", 8_000))

    assert world.tables.requests[SECOND_REQUEST].run("web").source == Elsewhere()


def test_room_that_only_overdue_reservations_take_is_used() -> None:
    world = World()
    for name in ("a", "b"):
        reserved = wish(f"r-{name}", cpus(4_000), f"{name}-1", ttp=Duration(SECOND))
        pool, calendar = world.state.pools[name], world.state.calendar(name)
        world.add(*reservation.reserve(pool, calendar, reserved, PROMISES, world.cause))
    world.submit(component("web", 800))
    world.now = after(world.now, 2 * SECOND)

    assert isinstance(planned(world), LocalSource)
    assert sum(isinstance(event, ContractExpired) for event in world.events) == 2


def half_an_hour(name: str, millicores: int) -> Component:
    return component(name, millicores, window=AskedWindow(None, None, Duration(HOUR // 2)))


def test_the_component_that_a_virtual_node_was_bought_for_keeps_its_room() -> None:
    world = with_virtual_node()
    second(world, half_an_hour("web", 8_001))
    assert world.tables.requests[SECOND_REQUEST].run("web").source == Elsewhere()


def test_one_of_two_guests_that_goes_leaves_its_room_and_the_virtual_node() -> None:
    world = with_virtual_node()
    second(world, half_an_hour("web", 6_000), component("store", 2_000, window=TEN_MINUTES))
    world.now = after(world.now, 10 * MINUTE)
    world.add(*world.deciding.go_on(SECOND_REQUEST, world.now).events)
    assert world.tables.requests[SECOND_REQUEST].run("store").ended
    assert not world.purchases[0].cancelling

    third = "2c5c2f7e-94b1-5a0e-8f3b-6d2e7a1c9b42"
    room = replace(world.request.intent, components=(component("late", 2_000, window=TEN_MINUTES),))
    world.add(IntentAccepted(third, 1, world.cause, room, b""))
    world.add(*world.deciding.go_on(third, world.now).events)
    assert isinstance(world.tables.requests[third].run("late").source, VirtualNodeSource)

    world.cancel()
    world.go_on()
    world.now = after(world.now, 10 * MINUTE)
    world.add(*world.deciding.go_on(third, world.now).events)
    assert not world.tables.requests[third].open
    assert not world.purchases[0].cancelling  # `web` is still there
