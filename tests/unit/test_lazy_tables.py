"""What a start reads when it is asked for is what it would have read at once: for any history, and any way to ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rear.domain import allocation as allocations
from rear.domain import contract as contracts
from rear.domain import pool as pools
from rear.domain import purchase as purchases
from rear.domain import reservation
from rear.domain.allocation import Peering
from rear.domain.contract import Contract, VerbCommand
from rear.domain.demand import Demand
from rear.domain.events import AnyEvent, Cause, ContractActivated, LedgerOpened, WriterChanged
from rear.domain.lifecycle import ContractState
from rear.domain.quantities import Quantities
from rear.domain.rating import UNKNOWN
from rear.domain.refusals import CapacityExceeded
from rear.domain.request_events import (
    CandidateChosen,
    ComponentEnded,
    ComponentPlanned,
    IntentAccepted,
    OperationDeleted,
    RequestFailed,
)
from rear.domain.reservation import Promises
from rear.domain.source import Elsewhere
from rear.domain.state import State
from rear.domain.units import UnitRequest
from rear.domain.window import HOUR, MINUTE, AskedWindow, Duration, Instant, after
from rear.ledger.chain import GENESIS
from rear.ledger.commit import Committed, Identity
from rear.ledger.sealing import seal
from rear.ledger.sources import RandomIds
from rear.managers.consumer.ratings import RatingBook
from rear.projections.lazy import Lazily, LazyHolds
from rear.projections.rebuild import Replayed
from rear.projections.tables import Tables
from tests.examples import COPY, INTENT, ORDER
from tests.seller import BUYER, T0, divisible, gpus, wish

PROMISES = Promises(default_lease=Duration(6 * HOUR), maximum_ttp=Duration(2 * HOUR))


class History:
    """A random ledger, event by event, and the state after it that was never anywhere but in memory."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.state = State()
        self.now = T0
        self.requests = 0
        self.hash = GENESIS
        self.sequence = 0
        self.batch: list[Committed] = []
        cause = self.cause()
        self.add([LedgerOpened("n1", 1, cause, "log"), WriterChanged("n1", 2, cause, 1, "here")])
        for pool_id in ("a", "b", "c"):
            terms = divisible()
            self.add([pools.register(pool_id, terms, Quantities({"cpu_millicores": 8_000}), gpus("T4", "A100"), cause)])

    def cause(self) -> Cause:
        return Cause(self.now, self.now, BUYER, f"r{self.requests}")

    def add(self, events: Sequence[AnyEvent]) -> None:
        for event in events:
            message = seal(event, Identity("n1", "spiffe://a/b"), RandomIds(), self.hash)
            self.hash, self.sequence = message.hash, self.sequence + 1
            step = self.state.apply(event)
            self.batch.append(Committed(self.sequence, message.hash, message.payload, step))

    def go_on(self, commands: int) -> list[Committed]:
        """What some more commands committed."""
        for _ in range(commands):
            self.requests += 1
            self.now = after(self.now, self.random.randrange(90 * MINUTE))
            verbs = (self.reserve, self.reserve, self.reserve, self.cancel, self.buy, self.resize, self.peer, self.fail)
            command = self.random.choice((*verbs, self.order, self.see, self.see, self.submit, self.run, self.run))
            command()
            if self.random.random() < 0.7:
                for contract in [*self.state.contracts.values()]:
                    self.pass_time(contract)
        done, self.batch = self.batch, []
        return done

    def live(self) -> Contract | None:
        live = [contract for contract in self.state.contracts.values() if contract.live]
        return self.random.choice(live) if live else None

    def reserve(self) -> None:
        pool_id = self.random.choice("ab")
        asked = Demand(
            Quantities({"cpu_millicores": self.random.choice([1_000, 2_500, 4_000])}),
            (UnitRequest("gpu", 1, self.random.choice([100, 700])),) if self.random.random() < 0.5 else (),
        )
        start = self.random.choice([None, Instant(self.now + self.random.randrange(5 * HOUR))])
        window = AskedWindow(start, duration=Duration(1 + self.random.randrange(4 * HOUR)))
        command = wish(f"r{self.requests}", asked, f"{pool_id}-1", window, confirm=self.random.random() < 0.4)
        try:
            events = reservation.reserve(
                self.state.pools[pool_id], self.state.calendar(pool_id), command, PROMISES, self.cause()
            )
        except CapacityExceeded:
            return
        self.add(events)

    def buy(self) -> None:
        found = self.live()
        if found is None or found.state is not ContractState.RESERVED or contracts.pass_time(found, self.now):
            return
        command = VerbCommand(f"buy{self.requests}", b"buy", found.version)
        bought = contracts.purchase(found, command, Cause(self.now, self.now, BUYER, command.request_id))
        assert bought is not None
        self.add([bought])

    def cancel(self) -> None:
        found = self.live()
        if found is not None:
            command = VerbCommand(f"end{self.requests}", b"end", None)
            cause = Cause(self.now, self.now, BUYER, command.request_id)
            ending = contracts.cancel(found, command, "why not", cause)
            assert ending is not None
            self.end(found, ending, cause)

    def peer(self) -> None:
        found = self.live()
        if found is not None:
            stands = self.state.allocations[found.allocation_id]
            peering = Peering(BUYER, "embedded", self.random.choice(["", "10.0.0.7:7000"]))
            peered = allocations.peer(stands, peering, self.cause())
            if peered is not None:
                after_it = allocations.evolve(stands, peered)
                activated = allocations.activate_if_due(after_it, found.state, self.cause())
                self.add([peered] if activated is None else [peered, activated])

    def fail(self) -> None:
        found = self.live()
        if found is not None and self.random.random() < 0.3:
            failed = allocations.fail(self.state.allocations[found.allocation_id], "no fabric", self.cause())
            if failed is not None:
                self.add([failed])

    def submit(self) -> None:
        cause = Cause(self.now, self.now, BUYER, f"i{self.requests}")
        self.add([IntentAccepted(f"s{self.requests}", 1, cause, INTENT, b"")])

    def run(self) -> None:
        """What may become of a service request, and of one that was forgotten."""
        if not self.state.requests:
            return
        found, cause = self.random.choice([*self.state.requests.values()]), self.cause()
        version = found.version + 1
        if not found.open:
            if not found.operation_deleted:
                self.add([OperationDeleted(found.id, version, cause)])
            return
        match self.random.randrange(4):
            case 0:
                self.add([ComponentPlanned(found.id, version, cause, "web", Elsewhere(), None)])
            case 1:
                self.add([CandidateChosen(found.id, version, cause, "web", "c", "p", "f-1", 1, "")])
            case 2:
                self.add([ComponentEnded(found.id, version, cause, "web", "over")])
            case _ if found.live:
                self.add([RequestFailed(found.id, version, cause, "NOTHING_FITS", "")])

    def order(self) -> None:
        key = f"p{self.requests}"
        asked = purchases.request_reserve(None, key, key, ORDER, "request-1", "web", self.cause())
        assert asked is not None
        self.add([asked])

    def see(self) -> None:
        """What a seller may do and say of a purchase, and what may be asked of it next."""
        known = [purchase for purchase in self.state.purchases.values() if purchase.open]
        if not known:
            return
        found, cause = self.random.choice(known), self.cause()
        revision = found.copy.revision + 1 if found.copy else 1
        states = (ContractState.RESERVED, ContractState.RESERVED, ContractState.CONFIRMED, ContractState.REVOKED)
        copy = replace(COPY, id=found.id, revision=revision, state=self.random.choice(states))
        events: list[AnyEvent | None]
        match self.random.randrange(4):
            case 0:
                events = [purchases.undo(found, "CAPACITY_EXCEEDED", "no room", cause)]
            case 1:
                events = [purchases.request_cancel(found, f"c{self.requests}", "why", cause)]
            case 2 if found.pending is None and found.state is ContractState.RESERVED:
                events = [purchases.request_purchase(found, f"b{self.requests}", cause)]
            case _:
                events = [*purchases.observe(found, copy, cause)]
        self.add([event for event in events if event is not None])

    def resize(self) -> None:
        pool = self.state.pools[self.random.choice("ab")]
        capacity = Quantities({"cpu_millicores": self.random.choice([8_000, 16_000])})
        changed = pools.change_capacity(pool, capacity, gpus("T4", "A100"), PROMISES.default_lease, self.cause())
        if changed is not None:
            self.add([changed])

    def pass_time(self, contract: Contract) -> None:
        event = contracts.pass_time(contract, self.now)
        if isinstance(event, ContractActivated):
            stands = self.state.allocations[contract.allocation_id]
            activated = allocations.activate_if_due(stands, ContractState.ACTIVE, event.cause)
            self.add([event] if activated is None else [event, activated])
        elif event is not None:
            self.end(contract, event, Cause(self.now, self.now))

    def end(self, contract: Contract, ending: AnyEvent, cause: Cause) -> None:
        pool, calendar = self.state.pools[contract.pool_id], self.state.calendar(contract.pool_id)
        stands = self.state.allocations[contract.allocation_id]
        self.add(reservation.end(contract, pool, calendar, stands, ending, "over", PROMISES, cause))

    def forget(self) -> None:
        """Drops what has ended, as a service does."""
        for contract in [*self.state.contracts.values()]:
            self.state.forget(contract)
        for allocation in [*self.state.allocations.values()]:
            self.state.forget(allocation)
        for purchase in [*self.state.purchases.values()]:
            self.state.forget(purchase)
        for request in [*self.state.requests.values()]:
            self.state.forget(request)


@contextmanager
def new_tables() -> Iterator[Tables]:
    with TemporaryDirectory() as directory:
        tables = Tables(Path(directory) / "tables.sqlite")
        yield tables
        tables.close()


def touch(state: State, random: Random) -> None:
    """Asks for a part of it, in any order."""
    for key in random.sample(sorted(state.contracts), random.randint(0, len(state.contracts))):
        assert state.contracts.get(key) is state.contracts[key]
    for key in random.sample(sorted(state.allocations), random.randint(0, len(state.allocations))):
        assert state.allocations[key].id == key
    for key in random.sample(sorted(state.purchases), random.randint(0, len(state.purchases))):
        assert state.purchases[key].id == key
    for key in random.sample(sorted(state.requests), random.randint(0, len(state.requests))):
        assert state.requests[key].id == key
    for key in random.sample(sorted(state.pools), random.randint(0, len(state.pools))):
        assert len(state.calendar(key).units) == 2


@given(seed=st.integers(0, 2**32), before=st.integers(0, 30), after_it=st.integers(0, 15))
def test_a_state_that_is_read_late_is_the_state_that_was_never_written(seed: int, before: int, after_it: int) -> None:
    history = History(Random(seed))
    with new_tables() as tables:
        first = history.go_on(before)
        tables.write(first, history.state.service)
        history.forget()
        loaded, keys = tables.load(), (set(history.state.contracts), set(history.state.allocations))

        assert (set(loaded.contracts), set(loaded.allocations)) == keys
        assert (len(loaded.contracts), len(loaded.allocations)) == (len(keys[0]), len(keys[1]))
        assert set(loaded.purchases) == set(history.state.purchases)
        assert set(loaded.requests) == set(history.state.requests)
        assert tables.due() == sorted(
            (due, each.id) for each in history.state.contracts.values() if (due := contracts.next_due(each)) is not None
        )
        touch(loaded, history.random)
        known = State(
            dict(history.state.pools),
            dict(history.state.contracts),
            dict(history.state.allocations),
            history.state.service,
            history.state.last_recorded,
            dict(history.state.purchases),
            requests=dict(history.state.requests),
        )

        second = history.go_on(after_it)
        steps = [loaded.apply(item.step.event) for item in second]
        touch(loaded, history.random)
        assert loaded.last_recorded == history.state.last_recorded
        assert loaded.pools == history.state.pools
        assert loaded.contracts == history.state.contracts
        assert loaded.allocations == history.state.allocations
        assert loaded.purchases == history.state.purchases
        assert loaded.requests == history.state.requests

        for step in reversed(steps):
            loaded.revert(step)
        assert loaded.pools == known.pools
        assert loaded.contracts == known.contracts
        assert loaded.allocations == known.allocations
        assert loaded.purchases == known.purchases
        assert loaded.requests == known.requests


@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_tables_that_are_written_from_a_state_that_is_read_late_are_those_of_a_replay(
    seed: int, sizes: list[int]
) -> None:
    history = History(Random(seed))
    with new_tables() as late, new_tables() as once, new_tables() as bulk:
        every: list[Committed] = []
        for size in sizes:
            batch = history.go_on(size)
            if not batch:
                continue
            every += batch
            loaded = late.load()  # a start for each batch
            steps = [Committed(item.sequence, item.hash, item.payload, loaded.apply(item.step.event)) for item in batch]
            Replayed(late, loaded)(steps)
        eager = State()
        Replayed(once, eager)(
            [Committed(each.sequence, each.hash, each.payload, eager.apply(each.step.event)) for each in every]
        )

        with bulk.filled_anew() as filling:
            for begin in range(0, len(every), 7):
                filling.take(every[begin : begin + 7])
            filling.stand(eager.service)

        assert late.digest() == once.digest()
        assert bulk.digest() == once.digest()
        for key in [*history.state.purchases]:
            assert late.purchase(key) == history.state.purchases[key]  # those that have ended too
            assert late.load().purchases.get(key) == eager.purchases.get(key)
        for key in [*history.state.requests]:
            assert late.service_request(key) == history.state.requests[key]
            assert late.load().requests.get(key) == eager.requests.get(key)
        assert late.load().contracts == eager.contracts
        assert late.load().allocations == eager.allocations
        assert late.load().pools == eager.pools
        book = RatingBook({})
        book.committed(every)
        assert late.ratings().get(ORDER.provider_id, UNKNOWN) == book.of(ORDER.provider_id)


def test_a_start_reads_no_contract_and_no_hold_before_it_is_asked_for() -> None:
    history = History(Random(9))
    with new_tables() as tables:
        tables.write(history.go_on(60), history.state.service)
        loaded = tables.load()
        assert isinstance(loaded.contracts, Lazily)
        assert isinstance(loaded.allocations, Lazily)
        key = next(iter(loaded.contracts))
        assert (len(loaded.contracts), loaded.contracts.unread) == (len(loaded.contracts), len(loaded.contracts))

        pool_id = loaded.contracts[key].pool_id

        assert loaded.contracts.unread == len(loaded.contracts) - 1
        assert "nobody's" not in loaded.contracts
        assert loaded.contracts.get("nobody's") is None
        with pytest.raises(KeyError):
            loaded.contracts["nobody's"]
        holds = loaded.pools[pool_id].holds
        assert isinstance(holds, LazyHolds)
        assert key in holds
