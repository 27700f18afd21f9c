"""Any history of reservations, purchases, cancellations, time, restarts and crashes keeps the rules that never bend.

The managers and the writer are the real ones, over a real server; what they answer is held against a slow model.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from rear.domain.contract import Contract
from rear.domain.demand import Demand
from rear.domain.events import ContractCancelled, ContractPurchased, ContractReserved, ContractRevoked, PoolReserved
from rear.domain.lifecycle import CONTRACT_LIFECYCLE, ContractState
from rear.domain.refusals import (
    CapacityExceeded,
    InvalidField,
    RequestIdReused,
    RevisionMismatch,
    TtpPassed,
    WrongState,
)
from rear.domain.reservation import ReserveCommand
from rear.domain.window import MINUTE, AskedWindow, Duration, Instant, Window, after
from rear.ledger.codec import decode
from rear.ledger.connection import Connection
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.store import stream_name, stream_subjects
from rear.ledger.stream import EventStream
from rear.managers.provider.contracts import Answered
from tests.capacity_model import BY_ID, STOCK, demands, fits, free_everywhere
from tests.seller import Seller, cpus, fingerprint, verb, wish

T = TypeVar("T")

DEEP: Final = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
starts = st.none() | st.sampled_from([0, 30, 60, 90])
lengths = st.sampled_from([30, 60, 120])


@dataclass
class World:
    """What all examples share: an event loop, a server, a connection and a directory."""

    loop: asyncio.AbstractEventLoop
    connection: Connection
    directory: Path
    examples: int = 0


@dataclass
class Made:
    """A reservation that was asked for: by which request, and what has been answered since."""

    request_id: str
    command: ReserveCommand
    known: Contract | None = None
    verbs: list[tuple[str, str, int | None]] = field(default_factory=list)
    """Verbs that were carried out: name, request id, revision."""


class SellerMachine(RuleBasedStateMachine):
    """One seller, its buyer, and what must hold after each step."""

    world: ClassVar[World]
    reservations: Bundle[Made] = Bundle("reservations")
    unanswered: Bundle[Made] = Bundle("unanswered")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.made: list[Made] = []
        self.world.examples += 1
        service = f"n{self.world.examples}"
        stream = EventStream(self.world.connection, stream_name(service), stream_subjects(service))
        self.run(stream.ensure())
        self.seller = Seller(stream, Path(tempfile.mkdtemp(dir=self.world.directory)), service=service)
        self.run(self.seller.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.world.loop.run_until_complete(work)

    @initialize()
    def take_stock(self) -> None:
        self.run(self.seller.pools.reconcile(STOCK))

    @property
    def now(self) -> Instant:
        return self.seller.clock.at

    # -- the model -----------------------------------------------------------------------------------------

    def holding(self, pool_id: str) -> list[Contract]:
        """Contracts that hold capacity of the pool, as the buyer may conclude from the answers and the time."""
        return [
            made.known
            for made in self.made
            if made.known is not None and made.known.pool_id == pool_id and self.should_be(made.known).live
        ]

    def should_be(self, known: Contract) -> Contract:
        """What time has made of a contract that was answered once."""
        state = known.state
        if state is ContractState.RESERVED and known.purchase_before is not None and self.now >= known.purchase_before:
            state = ContractState.EXPIRED
        elif state in (ContractState.CONFIRMED, ContractState.ACTIVE) and self.now >= known.window.end:
            state = ContractState.COMPLETED
        return replace(known, state=state)

    def learn(self, made: Made, answered: Answered) -> None:
        before, after_it = made.known, answered.contract
        assert after_it.id == made.command.contract_id
        if before is not None:
            assert after_it.version >= before.version
            assert (after_it.window, after_it.assigned_units) == (before.window, before.assigned_units)
        made.known = after_it

    # -- rules ---------------------------------------------------------------------------------------------

    @rule(
        target=reservations,
        pool_id=st.sampled_from(sorted(BY_ID)),
        millicores=st.sampled_from([1_000, 1_500]),
        start=starts,
        minutes=lengths,
        how=st.sampled_from(["reserve", "reserve", "purchase"]),
    )
    def reserve_a_little(self, pool_id: str, millicores: int, start: int | None, minutes: int, how: str) -> Any:
        """What often fits, so that there is something to go on with."""
        made = self.reserve(pool_id, cpus(millicores), start, minutes, None, confirm=False, old=0)
        if isinstance(made, Made) and how == "purchase":
            self.purchase(made, "known")
        return made

    @rule(
        target=reservations,
        pool_id=st.sampled_from(sorted(BY_ID)),
        partition=demands,
        start=starts,
        minutes=lengths,
        ttp=st.none() | st.sampled_from([5, 30]),
        confirm=st.sampled_from([False, False, True]),
        old=st.integers(0, 2),
    )
    def reserve(
        self,
        pool_id: str,
        partition: Demand,
        start: int | None,
        minutes: int,
        ttp: int | None,
        confirm: bool,
        old: int,
    ) -> Any:
        made = self.asked(pool_id, partition, start, minutes, ttp, confirm, old)
        window = Window(made.command.window.start or self.now, Instant(0))
        window = Window(window.start, after(window.start, minutes * MINUTE))
        expected = fits(BY_ID[pool_id], self.holding(pool_id), partition, window)
        try:
            answered = self.run(self.seller.reserve(made.request_id, made.command))
        except CapacityExceeded as refused:
            assert not expected
            offer = refused.counter_offer
            assert offer is not None
            assert offer.exhaustive
            if offer.most_in_window is not None:
                assert fits(BY_ID[pool_id], self.holding(pool_id), offer.most_in_window, window)
            if offer.earliest_window is not None:
                assert fits(BY_ID[pool_id], self.holding(pool_id), partition, offer.earliest_window)
            return multiple()
        assert expected
        assert answered.contract.window == window
        assert answered.contract.state is (ContractState.CONFIRMED if confirm else ContractState.RESERVED)
        self.made.append(made)
        self.learn(made, answered)
        return made

    def asked(
        self,
        pool_id: str,
        partition: Demand,
        start: int | None,
        minutes: int,
        ttp: int | None,
        confirm: bool,
        old: int,
    ) -> Made:
        self.count += 1
        request_id = f"r{self.count}"
        number = max(1, self.seller.state.pools[pool_id].offers - old)
        window = AskedWindow(
            None if start is None else after(self.now, start * MINUTE), duration=Duration(minutes * MINUTE)
        )
        command = wish(
            request_id,
            partition,
            f"{pool_id}-{number}",
            window,
            ttp=None if ttp is None or confirm else Duration(ttp * MINUTE),
            confirm=confirm,
        )
        return Made(request_id, command)

    @rule(made=reservations, other_body=st.booleans())
    def reserve_again(self, made: Made, other_body: bool) -> None:
        """The same request gives the contract, however it stands; another body under its id is refused."""
        command = replace(made.command, fingerprint=fingerprint("other")) if other_body else made.command
        tip = self.seller.writer.tip
        try:
            answered = self.run(self.seller.reserve(made.request_id, command))
        except RequestIdReused:
            assert other_body
        else:
            assert not other_body
            self.learn(made, answered)
        assert self.seller.writer.tip == tip

    @rule(made=reservations, revision=st.sampled_from(["known", "known", "known", "other"]))
    def purchase(self, made: Made, revision: str) -> None:
        assert made.known is not None
        self.count += 1
        number = made.known.version + (1 if revision == "other" else 0)
        before = self.seller_has(made)
        state = self.should_be(before).state
        try:
            answered = self.run(self.seller.purchase(made.known.id, verb(f"r{self.count}", number)))
        except RevisionMismatch:
            assert number != before.version
        except TtpPassed:
            assert state is ContractState.EXPIRED
        except WrongState:
            assert state not in (ContractState.RESERVED, ContractState.EXPIRED)
        else:
            assert (state, number) == (ContractState.RESERVED, before.version)
            assert answered.contract.state is ContractState.CONFIRMED
            self.learn(made, answered)
            made.verbs.append(("purchase", f"r{self.count}", number))

    @rule(made=reservations)
    def cancel(self, made: Made) -> None:
        assert made.known is not None
        self.count += 1
        state = self.should_be(self.seller_has(made)).state
        answered = self.run(self.seller.cancel(made.known.id, verb(f"r{self.count}")))
        live = state in (ContractState.RESERVED, ContractState.CONFIRMED, ContractState.ACTIVE)
        assert answered.contract.state is (ContractState.CANCELLED if live else state)
        self.learn(made, answered)
        if live:
            made.verbs.append(("cancel", f"r{self.count}", None))

    @rule(made=reservations)
    def revoke(self, made: Made) -> None:
        assert made.known is not None
        self.count += 1
        state = self.should_be(self.seller_has(made)).state
        answered = self.run(self.seller.revoke(made.known.id, verb(f"r{self.count}")))
        live = state in (ContractState.RESERVED, ContractState.CONFIRMED, ContractState.ACTIVE)
        assert answered.contract.state is (ContractState.REVOKED if live else state)
        self.learn(made, answered)
        if live:
            made.verbs.append(("revoke", f"r{self.count}", None))

    @rule(made=reservations, other_body=st.booleans())
    def repeat_a_verb(self, made: Made, other_body: bool) -> None:
        if not made.verbs:
            return
        assert made.known is not None
        name, request_id, revision = made.verbs[-1]
        command = verb(request_id, revision, "other") if other_body else verb(request_id, revision)
        calls = {"purchase": self.seller.purchase, "cancel": self.seller.cancel, "revoke": self.seller.revoke}
        try:
            answered = self.run(calls[name](made.known.id, command))
        except RequestIdReused:
            assert other_body
        else:
            assert not other_body
            self.learn(made, answered)

    @rule(minutes=st.sampled_from([1, 5, 10, 15, 30, 60, 180]), timers=st.booleans())
    def time_passes(self, minutes: int, timers: bool) -> None:
        self.seller.clock.advance(minutes * MINUTE)
        if not timers:
            return
        self.run(self.seller.timekeeper.work_off())
        for made in self.made:
            assert made.known is not None
            found = self.seller_has(made)
            state = self.should_be(made.known).state
            if state is ContractState.CONFIRMED and self.now >= found.window.start:
                state = ContractState.ACTIVE
            assert found.state is state

    @rule(target=reservations, made=reservations)
    def let_it_lapse_and_take_its_room(self, made: Made) -> Any:
        """No timer has run: the reservation that needs the room expires the other one."""
        known = self.seller_has(made)
        if known.state is not ContractState.RESERVED or known.purchase_before is None:
            return multiple()
        self.seller.clock.at = max(self.now, known.purchase_before)
        return self.reserve(known.pool_id, known.partition, None, 30, None, confirm=False, old=0)

    @rule(cleanly=st.booleans())
    def restart(self, cleanly: bool) -> None:
        if cleanly:
            self.close_and_open()
        else:
            self.run(self.seller.drop())
            self.run(self.seller.open())
        self.tables_follow_from_the_ledger()

    def close_and_open(self) -> None:
        before = self.seller.state
        kept = dict(before.pools), dict(before.contracts), dict(before.allocations)
        self.run(self.seller.close())
        self.run(self.seller.open())
        after_it = self.seller.state
        live = {key: each for key, each in kept[1].items() if each.live}
        assert after_it.pools == kept[0]
        assert after_it.contracts == live
        assert after_it.allocations == {each.allocation_id: kept[2][each.allocation_id] for each in live.values()}

    @rule(
        target=unanswered,
        pool_id=st.sampled_from(sorted(BY_ID)),
        partition=demands,
        start=starts,
        minutes=lengths,
        turns=st.integers(0, 12),
        at_once=st.integers(1, 3),
    )
    def crash_while_reserving(
        self, pool_id: str, partition: Demand, start: int | None, minutes: int, turns: int, at_once: int
    ) -> Any:
        """Whether the ledger took them is open; the next start finds out, and a repeated request gives the outcome."""
        asked = [self.asked(pool_id, partition, start, minutes, None, False, 0) for _ in range(at_once)]

        async def begin_and_die() -> list[Answered | BaseException]:
            tasks = [asyncio.create_task(self.seller.reserve(made.request_id, made.command)) for made in asked]
            for _ in range(turns):
                await asyncio.sleep(0)
            await self.seller.drop()
            for task in tasks:
                task.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        outcomes = self.run(begin_and_die())
        self.run(self.seller.open())
        self.tables_follow_from_the_ledger()
        for made, outcome in zip(asked, outcomes, strict=True):
            self.made.append(made)
            if isinstance(outcome, Answered):
                self.learn(made, outcome)
            elif self.run_find(made) is not None:
                made.known = self.run_find(made)
        self.made = [made for made in self.made if made.known is not None]
        return multiple(*asked)

    @rule(target=reservations, made=consumes(unanswered))
    def ask_again(self, made: Made) -> Any:
        """What landed is answered as it is; what did not is decided now."""
        landed = made.known is not None
        try:
            answered = self.run(self.seller.reserve(made.request_id, made.command))
        except CapacityExceeded:
            assert not landed
            return multiple()
        except InvalidField:  # of what did not land, the start may lie in the past by now
            assert not landed
            assert made.command.window.start is not None
            assert made.command.window.start < self.now
            return multiple()
        if not landed:
            self.made.append(made)
        self.learn(made, answered)
        return made

    def run_find(self, made: Made) -> Contract | None:
        return self.seller.provider.find_contract(made.command.contract_id)

    # -- always --------------------------------------------------------------------------------------------

    def seller_has(self, made: Made) -> Contract:
        found = self.run_find(made)
        assert found is not None
        return found

    @invariant()
    def never_oversold(self) -> None:
        """Rule 1."""
        live = [each for each in self.seller.state.contracts.values() if each.live]
        for pool_id, stock in BY_ID.items():
            holds = [each for each in live if each.pool_id == pool_id]
            for each in holds:
                kinds, devices = free_everywhere(stock, holds, each.window)
                assert all(amount >= 0 for amount in kinds.values())
                assert all(millis >= 0 for millis in devices.values())
                names = [share.name for share in each.assigned_units]
                assert len(set(names)) == len(names) == sum(request.count for request in each.partition.units)
            if pool_id in self.seller.state.pools:
                assert set(self.seller.state.pools[pool_id].holds) == {each.id for each in holds}

    @invariant()
    def what_was_answered_stands(self) -> None:
        """Rule 2: the seller has each contract as it was answered, or later."""
        for made in self.made:
            assert made.known is not None
            found = self.seller_has(made)
            assert found.version >= made.known.version
            if found.version == made.known.version:
                assert found == made.known
            else:
                assert found.state in reachable(made.known.state)

    @invariant()
    def memory_is_durable(self) -> None:
        assert not self.seller.writer.unacknowledged
        assert self.seller.writer.trouble is None

    def tables_follow_from_the_ledger(self) -> None:
        """Rule 5."""
        tables, rebuilt = self.run(self.seller.digests())
        assert tables == rebuilt

    def teardown(self) -> None:
        try:
            self.tables_follow_from_the_ledger()
            self.once()
        finally:
            self.run(self.seller.close())

    def once(self) -> None:
        """Rule 3: no request has two effects, and no version comes twice."""
        effects: Counter[tuple[str, ...]] = Counter()
        versions: dict[str, int] = {}

        async def read() -> None:
            async for page in self.seller.stream.pages(1):
                for message in page:
                    event = decode(message.payload).event
                    assert event.originator_version == versions.get(message.subject, 0) + 1
                    versions[message.subject] = event.originator_version
                    request = event.cause.request_id
                    if isinstance(event, ContractReserved | ContractPurchased | ContractCancelled | ContractRevoked):
                        effects[type(event).__name__, request] += 1
                    elif isinstance(event, PoolReserved):
                        effects["hold", event.hold.id] += 1

        self.run(read())
        assert all(count == 1 for count in effects.values()), effects


def reachable(state: ContractState) -> set[ContractState]:
    found = {state}
    while more := {to for (begun, _), to in CONTRACT_LIFECYCLE.items() if begun in found} - found:
        found |= more
    return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    loop = asyncio.new_event_loop()
    server = EmbeddedServer(tmp_path / "nats")
    loop.run_until_complete(server.__aenter__())
    connection = Connection(lambda: server.endpoint, name="machine")
    loop.run_until_complete(connection.open(10))
    yield World(loop, connection, tmp_path)
    loop.run_until_complete(connection.close())
    loop.run_until_complete(server.__aexit__(None, None, None))
    loop.close()


@pytest.mark.timeout(3_600 if DEEP else 300)
def test_the_rules_hold_whatever_happens(world: World) -> None:
    class Machine(SellerMachine):
        pass

    Machine.world = world
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=200 if DEEP else 20,
            stateful_step_count=60 if DEEP else 40,
            suppress_health_check=list(HealthCheck),
        ),
    )
