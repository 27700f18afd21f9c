"""The state in memory goes on by events and back by steps, exactly: pools, calendars and all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rear.domain import allocation as allocations
from rear.domain import contract as contracts
from rear.domain import pool as pools
from rear.domain import reservation
from rear.domain.allocation import Allocation, AllocationState, Peering
from rear.domain.calendar import PoolCalendar
from rear.domain.contract import Contract, VerbCommand
from rear.domain.demand import Demand
from rear.domain.events import AnyEvent, Cause, ContractActivated, LedgerOpened, WriterChanged
from rear.domain.lifecycle import ContractState
from rear.domain.pool import Pool
from rear.domain.quantities import Quantities
from rear.domain.refusals import CapacityExceeded, FlavourChanged, FlavourNotFound, InvalidField
from rear.domain.reservation import Promises
from rear.domain.state import Service, State, Step
from rear.domain.units import UnitRequest, attributes
from rear.domain.window import FOREVER, HOUR, MINUTE, AskedWindow, Duration, Instant, Window, after
from tests.seller import BUYER, T0, divisible, gpus, wish

DEEP: Final = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
PROMISES: Final = Promises(default_lease=Duration(6 * HOUR), maximum_ttp=Duration(2 * HOUR))
KINDS: Final = ("cpu_millicores", "memory_bytes")
POOLS: Final = ("a", "b")

cpus = st.sampled_from([0, 1_000, 1_500, 2_000, 4_000, 8_000])
demands = st.builds(
    lambda millicores, memory, requests: Demand(
        Quantities({"cpu_millicores": millicores, "memory_bytes": memory}), tuple(requests)
    ),
    cpus,
    st.integers(0, 16),
    st.lists(
        st.builds(
            UnitRequest,
            st.just("gpu"),
            st.integers(1, 2),
            st.sampled_from([300, 500, 1_000]),
            st.sampled_from([(), attributes({"model": "T4"})]),
        ),
        max_size=2,
    ),
)
asked_windows = st.builds(
    lambda start, hours: (start, hours), st.none() | st.integers(0, 10), st.none() | st.integers(1, 8)
)


@dataclass(frozen=True)
class Snapshot:
    """All that a state is, in values that do not change."""

    pools: dict[str, Pool]
    contracts: dict[str, Contract]
    allocations: dict[str, Allocation]
    service: Service
    last_recorded: Instant
    calendars: dict[str, object]


def shape(calendar: PoolCalendar) -> object:
    """A calendar by everything that can be asked of it."""
    whole = Window(Instant(0), FOREVER)
    edges = [T0 + hour * HOUR for hour in range(0, 30, 2)]
    return (
        calendar.capacity,
        calendar.units,
        [calendar.usage_steps(kind, whole) for kind in KINDS],
        [
            (calendar.free(window), calendar.free_units(window))
            for start in edges
            for window in (
                Window(Instant(start), Instant(start + 1)),
                Window(Instant(start), Instant(start + 5 * HOUR)),
                Window(Instant(start - 1), FOREVER),
            )
        ],
    )


def snapshot(state: State) -> Snapshot:
    return Snapshot(
        dict(state.pools),
        dict(state.contracts),
        dict(state.allocations),
        state.service,
        state.last_recorded,
        {key: shape(state.calendar(key)) for key in state.pools},
    )


class StateMachine(RuleBasedStateMachine):
    """Commands as the managers decide them, and a way back over any number of their events."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.now = T0
        self.requests = 0
        self.steps: list[tuple[Snapshot, Step]] = []
        self.commits: list[tuple[int, Instant]] = []
        """For each commit the number of steps before it, and the time then."""

    # -- forwards ------------------------------------------------------------------------------------------

    def cause(self) -> Cause:
        return Cause(self.now, self.now, BUYER, f"r{self.requests}")

    def apply(self, events: Sequence[AnyEvent]) -> None:
        self.commits.append((len(self.steps), self.now))
        for event in events:
            before = snapshot(self.state)
            self.steps.append((before, self.state.apply(event)))

    @initialize()
    def open(self) -> None:
        self.apply([LedgerOpened("n1", 1, self.cause(), "log"), WriterChanged("n1", 2, self.cause(), 1, "here")])
        self.register("a", 8_000, 2)

    @rule(key=st.sampled_from(POOLS), millicores=st.sampled_from([4_000, 8_000]), devices=st.integers(0, 3))
    def register(self, key: str, millicores: int, devices: int) -> None:
        if key in self.state.pools:
            return
        capacity = Quantities({"cpu_millicores": millicores, "memory_bytes": 16})
        self.apply([pools.register(key, divisible(), capacity, gpus("T4", "A100", "T4")[:devices], self.cause())])

    @rule(by=st.sampled_from([1, 5 * MINUTE, HOUR, 7 * HOUR]))
    def time_passes(self, by: int) -> None:
        self.now = after(self.now, by)

    @rule(
        key=st.sampled_from(POOLS),
        old=st.integers(0, 3),
        demand=demands,
        asked=asked_windows,
        confirm=st.booleans(),
    )
    def reserve(self, key: str, old: int, demand: Demand, asked: tuple[int | None, int | None], confirm: bool) -> None:
        self.requests += 1
        pool = self.state.pools.get(key)
        number = max(1, (pool.offers if pool else 1) - old)
        start, hours = asked
        window = AskedWindow(
            None if start is None else after(self.now, start * HOUR),
            duration=None if hours is None else Duration(hours * HOUR),
        )
        command = wish(f"r{self.requests}", demand, f"{key}-{number}", window, confirm=confirm)
        try:
            found = reservation.find_pool(self.state.pools, command.flavour_id)
            events = reservation.reserve(found, self.state.calendar(key), command, PROMISES, self.cause())
        except (CapacityExceeded, FlavourChanged, FlavourNotFound, InvalidField):
            return
        self.apply(events)

    @precondition(lambda self: any(contract.live for contract in self.state.contracts.values()))
    @rule(data=st.data())
    def end_or_move_on(self, data: st.DataObject) -> None:
        live = sorted(key for key, contract in self.state.contracts.items() if contract.live)
        contract = self.state.contracts[data.draw(st.sampled_from(live))]
        self.requests += 1
        verb = VerbCommand(f"r{self.requests}", b"", contract.version)
        event: AnyEvent | None = contracts.pass_time(contract, self.now)
        if event is None and contract.state is ContractState.RESERVED and data.draw(st.booleans()):
            event = contracts.purchase(contract, verb, self.cause())
            assert event is not None
            self.apply([event])
            return
        if event is None:
            event = contracts.cancel(contract, verb, "", self.cause())
        assert event is not None
        stands = self.state.allocations[contract.allocation_id]
        if isinstance(event, ContractActivated):
            activated = allocations.activate_if_due(stands, ContractState.ACTIVE, event.cause)
            self.apply([event] if activated is None else [event, activated])
            return
        pool, calendar = self.state.pools[contract.pool_id], self.state.calendar(contract.pool_id)
        self.apply(reservation.end(contract, pool, calendar, stands, event, "", PROMISES, Cause(self.now, self.now)))

    @precondition(lambda self: any(contract.live for contract in self.state.contracts.values()))
    @rule(data=st.data(), endpoint=st.sampled_from(["", "10.0.0.7:7000"]), fails=st.booleans())
    def peer_or_fail(self, data: st.DataObject, endpoint: str, fails: bool) -> None:
        live = sorted(key for key, contract in self.state.contracts.items() if contract.live)
        contract = self.state.contracts[data.draw(st.sampled_from(live))]
        stands = self.state.allocations[contract.allocation_id]
        if fails:
            failed = allocations.fail(stands, "no fabric", self.cause())
            self.apply([] if failed is None else [failed])
            return
        peered = allocations.peer(stands, Peering(BUYER, "embedded", endpoint), self.cause())
        if peered is not None:
            after_it = allocations.evolve(stands, peered)
            activated = allocations.activate_if_due(after_it, contract.state, self.cause())
            self.apply([peered] if activated is None else [peered, activated])

    @rule(key=st.sampled_from(POOLS), millicores=cpus, devices=st.integers(0, 3))
    def change_capacity(self, key: str, millicores: int, devices: int) -> None:
        pool = self.state.pools.get(key)
        if pool is None:
            return
        capacity = Quantities({"cpu_millicores": millicores, "memory_bytes": 16})
        units = gpus("T4", "A100", "T4")[:devices]
        event = pools.change_capacity(pool, capacity, units, PROMISES.default_lease, self.cause())
        if event is not None:
            self.apply([event])

    @rule(key=st.sampled_from(POOLS), minimum=st.sampled_from([500, 1_000]))
    def change_terms(self, key: str, minimum: int) -> None:
        pool = self.state.pools.get(key)
        if pool is not None:
            calendar = self.state.calendar(key)
            terms = divisible(minimum)
            self.apply([pools.change_terms(pool, calendar, terms, PROMISES.default_lease, self.cause())])

    @rule(key=st.sampled_from(POOLS))
    def retire(self, key: str) -> None:
        pool = self.state.pools.get(key)
        if pool is not None and pool.offer is not None:
            self.apply([pools.retire(pool, "", self.cause())])

    # -- backwards -----------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def go_back(self, count: int) -> None:
        """By whole commits, and then on from there."""
        for _ in range(min(count, len(self.commits) - 1)):
            kept, self.now = self.commits.pop()
            while len(self.steps) > kept:
                before, step = self.steps.pop()
                self.state.revert(step)
                assert snapshot(self.state) == before

    @rule(count=st.integers(1, 12))
    def go_back_and_forth(self, count: int) -> None:
        """Over any suffix, also from within a commit."""
        now, undone = snapshot(self.state), self.steps[2:][-count:]
        for before, step in reversed(undone):
            self.state.revert(step)
            assert snapshot(self.state) == before
        again = [self.state.apply(step.event) for _, step in undone]
        assert snapshot(self.state) == now
        kept = len(self.steps) - len(undone)
        self.steps[kept:] = [(before, step) for (before, _), step in zip(undone, again, strict=True)]

    # -- always --------------------------------------------------------------------------------------------

    @invariant()
    def calendars_are_what_the_holds_say(self) -> None:
        for key, pool in self.state.pools.items():
            assert shape(self.state.calendar(key)) == shape(pool.calendar())

    @invariant()
    def live_contracts_and_nothing_else_are_held(self) -> None:
        live = {
            each.id: (each.window, each.partition.quantities, each.assigned_units)
            for each in self.state.contracts.values()
            if each.live
        }
        held = {
            each.id: (each.window, each.quantities, each.units)
            for pool in self.state.pools.values()
            for each in pool.holds.values()
        }
        assert held == live
        assert {
            each.contract_id for each in self.state.allocations.values() if each.state is not AllocationState.RELEASED
        } == live.keys()

    @invariant()
    def what_is_peered_is_active_while_its_contract_is(self) -> None:
        for each in self.state.allocations.values():
            if each.state in (AllocationState.INACTIVE, AllocationState.ACTIVE):
                active = self.state.contracts[each.contract_id].state is ContractState.ACTIVE
                assert (each.state is AllocationState.ACTIVE) == (active and each.peered is not None)

    @invariant()
    def nothing_is_oversold(self) -> None:
        for pool in self.state.pools.values():
            free = pool.calendar().free(Window(self.now, FOREVER))
            assert all(amount >= 0 for amount in free.values())
            shares = pool.calendar().free_units(Window(Instant(0), FOREVER))
            assert all(share.millis >= 0 for share in shares)


TestState = StateMachine.TestCase
TestState.settings = settings(
    max_examples=1_000 if DEEP else 100,
    stateful_step_count=50 if DEEP else 30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_what_has_ended_is_forgotten_and_what_lives_is_not() -> None:
    state = State()
    cause = Cause(T0, T0)
    state.apply(pools.register("a", divisible(), Quantities({"cpu_millicores": 8_000}), (), cause))
    command = wish("r", Demand(Quantities({"cpu_millicores": 1_000})), "a-1")
    for event in reservation.reserve(state.pools["a"], state.calendar("a"), command, PROMISES, cause):
        state.apply(event)
    contract = state.contracts[command.contract_id]
    stands = state.allocations[contract.allocation_id]

    state.forget(contract)
    state.forget(stands)
    assert (contract.id in state.contracts, stands.id in state.allocations) == (True, True)

    ending = contracts.cancel(contract, VerbCommand("c", b"", None), "", cause)
    assert ending is not None
    ended = state.apply(ending).after
    assert isinstance(ended, Contract)
    state.forget(replace(ended))  # an equal value of another moment
    assert contract.id in state.contracts
    state.forget(ended)

    assert contract.id not in state.contracts
    assert state.allocations[stands.id] is stands  # it stands until it is released itself
