"""Contracts and the node's own components take from the same pools: never more than there is, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from rear.domain import contract as contracts
from rear.domain import pool as pools
from rear.domain import reservation
from rear.domain.demand import Demand
from rear.domain.event import Cause
from rear.domain.events import AnyEvent
from rear.domain.flavour import Offer, parse_flavour_id
from rear.domain.hold import Hold, HoldKind
from rear.domain.intent import Component, Intent
from rear.domain.pool import Pool
from rear.domain.refusals import CapacityExceeded, InvalidField
from rear.domain.request_events import IntentAccepted, RequestCancelled
from rear.domain.source import LocalSource
from rear.domain.units import UnitRequest
from rear.domain.window import HOUR, MINUTE, AskedWindow, Duration, Instant, after
from rear.managers.provider import endings
from tests.fulfilling import PROMISES, WORKLOAD, World
from tests.seller import BUYER, cpus, gpus, verb, wish

TIMES = (0, 20, 30, 60, 90)
"""Minutes: so few that windows begin and end together."""


class Mixed(World):
    """A node that others buy from, and that places its own intents."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.requests: list[str] = []

    def demand(self) -> Demand:
        units = (UnitRequest("gpu", 1, self.random.choice((300, 500, 1_000))),) if self.random.random() < 0.3 else ()
        return replace(cpus(self.random.choice((500, 1_000, 1_500, 4_000))), units=units)

    def asked(self) -> AskedWindow:
        start = self.random.choice(TIMES)
        length = Duration(self.random.choice(TIMES[1:]) * MINUTE)
        return AskedWindow(after(self.now, start * MINUTE) if start else None, None, length)

    def happen(self) -> None:
        """One thing; what is refused changes nothing."""
        doing = (
            self.sell,
            self.sell,
            self.want,
            self.want,
            self.end_a_contract,
            self.give_up,
            self.pass_time,
            self.resize,
        )
        self.random.choice(doing)()

    def sell(self) -> None:
        name = self.random.choice(("a", "b"))
        pool, ttp = self.state.pools[name], self.random.choice((None, Duration(10 * MINUTE)))
        assert pool.offer is not None
        wanted = wish(str(uuid4()), self.demand(), pool.offer.flavour_id, self.asked(), ttp=ttp, confirm=ttp is None)
        try:
            self.add(*reservation.reserve(pool, self.state.calendar(name), wanted, PROMISES, self.cause))
        except InvalidField:
            assert not pool.units, "only devices that the pool has no more are no good question"
        except CapacityExceeded:
            assert not pool.calendar().fits(
                wanted.partition, reservation.resolve_window(wanted.window, PROMISES, self.now)
            )

    def want(self) -> None:
        names = [f"c{at}" for at in range(self.random.randint(1, 3))]
        components = tuple([Component(name, self.demand(), WORKLOAD, window=self.asked()) for name in names])
        key = str(uuid4())
        self.requests.append(key)
        self.add(IntentAccepted(key, 1, Cause(self.now, self.now, BUYER, key), Intent("shop", components), b""))
        self.bring_on()

    def end_a_contract(self) -> None:
        live = [one for one in self.state.contracts.values() if one.live]
        if live:
            found = self.random.choice(live)
            cancelled = contracts.cancel(found, verb(str(uuid4())), "enough", Cause(self.now, self.now, BUYER))
            assert cancelled is not None
            self.add(*endings.ended(self.provider, found, cancelled, "enough", self.cause))

    def give_up(self) -> None:
        live = [key for key in self.requests if self.tables.requests[key].live]
        if live:
            found = self.tables.requests[self.random.choice(live)]
            self.add(RequestCancelled(found.id, found.version + 1, self.cause, BUYER, "", b""))
            self.bring_on()

    def pass_time(self) -> None:
        self.now = after(self.now, self.random.choice((1, 10, 20)) * MINUTE)
        if self.random.random() < 0.5:  # else what is overdue stays so for a while
            for found in [*self.state.contracts.values()]:
                while self.state.contracts[found.id].live and (
                    due := endings.by_time(self.provider, self.state.contracts[found.id], self.now)
                ):
                    self.add(*due)
        self.bring_on()

    def resize(self) -> None:
        pool = self.state.pools[self.random.choice(("a", "b"))]
        cores = self.random.choice((2_000, 3_000, 4_000, 6_000))
        units = gpus(*["T4"] * self.random.choice((0, 1, 2)))
        changed = pools.change_capacity(pool, cpus(cores).quantities, units, PROMISES.default_lease, self.cause)
        if changed is not None:
            self.add(changed)

    def bring_on(self) -> None:
        for key in self.requests:
            while self.tables.requests[key].open and (events := self.deciding.go_on(key, self.now).events):
                self.add(*events)


def peaks(pool: Pool, now: Instant) -> None:
    """By the slow way: at each instant from now on at which something begins, all that is held then."""
    holds: Sequence[Hold] = [hold for hold in pool.holds.values() if hold.window.end > now]
    for at in {max(hold.window.start, now) for hold in holds}:
        held = [hold for hold in holds if hold.window.start <= at < hold.window.end]
        for kind, amount in pool.capacity.items():
            assert sum(hold.quantities.of(kind) for hold in held) <= amount
        taken: dict[tuple[str, str], int] = {}
        for share in [share for hold in held for share in hold.units]:
            name = (share.unit_class, share.name)
            taken[name] = taken.get(name, 0) + share.millis
            assert taken[name] <= 1_000
            assert name in {(unit.unit_class, unit.name) for unit in pool.units}


def lineage(events: Sequence[AnyEvent], pool_id: str) -> None:
    """Each flavour of a pool retires the one before it."""
    made = [getattr(event, "offer", None) for event in events if event.originator_id == pool_id]
    offers = [offer for offer in made if isinstance(offer, Offer)]
    assert [parse_flavour_id(offer.flavour_id) for offer in offers] == [
        (pool_id, at) for at in range(1, len(offers) + 1)
    ]
    assert [offer.parent_id for offer in offers] == ["", *[offer.flavour_id for offer in offers[:-1]]]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_contracts_and_own_components_never_take_more_than_there_is(seed: int) -> None:
    world = Mixed(Random(seed))
    for _ in range(80):
        world.happen()
        for pool in world.state.pools.values():
            peaks(pool, world.now)
    for pool in world.state.pools.values():
        lineage(world.events, pool.id)
        held = {hold.id for hold in pool.holds.values() if hold.kind is HoldKind.LOCAL}
        runs = [run for key in world.requests for run in world.tables.requests[key].components if run.ended is None]
        assert held == {
            run.source.hold_id for run in runs if isinstance(run.source, LocalSource) and run.source.pool_id == pool.id
        }
    for key in world.requests:
        found = world.tables.requests[key]
        if found.live:
            world.add(RequestCancelled(key, found.version + 1, world.cause, BUYER, "", b""))
    world.now = after(world.now, 10 * HOUR)
    world.pass_time()
    assert world.local_holds() == []
