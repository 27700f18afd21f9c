"""The Contract Manager, provider side: reserve, purchase, cancel, and what time does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from rear.domain import contract as contracts
from rear.domain import reservation
from rear.domain.contract import Contract, VerbCommand
from rear.domain.events import AnyEvent, Cause, ContractActivated, ContractReserved
from rear.domain.lifecycle import ContractState
from rear.domain.pool import Pool
from rear.domain.refusals import (
    CapacityExceeded,
    ClearingOverdue,
    ContractNotFound,
    InvalidField,
    Refusal,
    RequestIdReused,
)
from rear.domain.reservation import ReserveCommand, find_pool
from rear.domain.state import Step
from rear.domain.window import SECOND, Duration, Instant
from rear.ledger.commit import Decision, Outcome
from rear.managers.counter_offers import find_counter_offer
from rear.managers.provider import Provider

log = structlog.get_logger(__name__)

MOST_EXPIRED_BY_ONE: Final = 50
"""Overdue reservations that one reservation may expire to make room for itself."""

TIMERS_AT_ONCE: Final = 300
"""Due contracts that are worked off side by side."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A contract, the instant of the decision, and the position at which it is durable."""

    contract: Contract
    at: Instant
    position: str


@dataclass(frozen=True, slots=True)
class ContractPage:
    """Contracts, and the sequence to go on after; None after the last page."""

    contracts: tuple[Contract, ...]
    next_after: int | None
    at: Instant
    position: str


class ContractManager:
    """Keeps the seller's contracts. Every answer is durable."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._timer_task: asyncio.Task[None] | None = None

    # -- verbs ---------------------------------------------------------------------------------------------

    async def reserve(self, command: ReserveCommand, *, caller: str, request_id: str, validate_only: bool) -> Answered:
        """Holds a partition for a window. Raises a Refusal; CapacityExceeded comes with a counter-offer."""

        def decide(now: Instant) -> Decision[tuple[Contract, Instant]]:
            known = self._provider.find_contract(command.contract_id)
            if known is not None:
                _check_same(known, command, request_id)
                return Decision((), (known, now))
            cause = Cause(now, now, caller, request_id)
            events = self._reserve(command, cause)
            reserved = next(event for event in events if isinstance(event, ContractReserved))
            return Decision(() if validate_only else events, (contracts.evolve(None, reserved), now))

        try:
            return _answered(await self._provider.writer.submit(decide))
        except CapacityExceeded as refusal:
            refusal.counter_offer = await find_counter_offer(self._provider, command)
            raise

    async def purchase(self, key: str, command: VerbCommand, *, caller: str, validate_only: bool) -> Answered:
        """Buys what was reserved."""

        def decide(now: Instant) -> Decision[tuple[Contract, Instant]]:
            found = self._own(key, caller)
            event = contracts.purchase(found, command, Cause(now, now, caller, command.request_id))
            if event is None:
                return Decision((), (found, now))
            return Decision(() if validate_only else (event,), (contracts.evolve(found, event), now))

        return _answered(await self._provider.writer.submit(decide))

    async def cancel(
        self, key: str, command: VerbCommand, reason: str, *, caller: str, validate_only: bool
    ) -> Answered:
        """Ends a contract for its buyer. What time has ended by then stays ended by time."""

        def decide(now: Instant) -> Decision[tuple[Contract, Instant]]:
            found = self._own(key, caller)
            by_time = contracts.pass_time(found, now)
            if by_time is not None and not contracts.evolve(found, by_time).live:
                ended = contracts.evolve(found, by_time)
                return Decision(() if validate_only else self._pass_time(found, now), (ended, now))
            cause = Cause(now, now, caller, command.request_id)
            event = contracts.cancel(found, command, reason, cause)
            if event is None:
                return Decision((), (found, now))
            events = self._end(found, event, reason or "its buyer cancelled it", cause)
            return Decision(() if validate_only else events, (contracts.evolve(found, event), now))

        return _answered(await self._provider.writer.submit(decide))

    async def get(self, key: str, *, caller: str) -> Answered:
        """A contract of the caller's."""

        def decide(now: Instant) -> Decision[tuple[Contract, Instant]]:
            return Decision((), (self._own(key, caller), now))

        return _answered(await self._provider.writer.submit(decide))

    async def page(
        self, *, caller: str, states: Sequence[ContractState], pool_id: str, after: int, limit: int
    ) -> ContractPage:
        """A page of the caller's contracts, oldest first, after the one that began at the sequence `after`.

        From the tables, once they have what is durable now.
        """
        writer = self._provider.writer
        position, now = await writer.settled(), writer.now()
        await self._provider.archive.at_least(position.sequence)
        rows = self._provider.archive.contracts(
            buyer_id=caller, states=states, pool_id=pool_id, after=after, limit=limit + 1
        )
        more = len(rows) > limit
        return ContractPage(
            tuple(row.contract for row in rows[:limit]),
            rows[limit - 1].sequence if more else None,
            now,
            str(position),
        )

    # -- deciding ------------------------------------------------------------------------------------------

    def _reserve(self, command: ReserveCommand, cause: Cause) -> Sequence[AnyEvent]:
        """The reservation's events, after those that expire overdue reservations where it needs their room."""
        state, promises = self._provider.state, self._provider.promises
        pool = find_pool(state.pools, command.flavour_id)
        try:
            return reservation.reserve(pool, state.calendar(pool.id), command, promises, cause)
        except CapacityExceeded:
            overdue = self._overdue(pool, cause.at)
            if not overdue:
                raise
            return self._reserve_after(overdue, command, cause)

    def _reserve_after(self, overdue: Sequence[Contract], command: ReserveCommand, cause: Cause) -> Sequence[AnyEvent]:
        """Moves the state on by the expiries, decides, and goes back: the writer applies all of it again."""
        state, promises = self._provider.state, self._provider.promises
        steps: list[Step] = []
        events: list[AnyEvent] = []
        try:
            for contract in overdue[:MOST_EXPIRED_BY_ONE]:
                expiry = self._pass_time(contract, cause.at)
                steps += [state.apply(event) for event in expiry]
                events += expiry
            pool = find_pool(state.pools, command.flavour_id)
            calendar = state.calendar(pool.id)
            return (*events, *reservation.reserve(pool, calendar, command, promises, cause))
        except CapacityExceeded:
            if len(overdue) > MOST_EXPIRED_BY_ONE:
                raise ClearingOverdue(
                    f"{len(overdue)} reservations of the pool are overdue and being cleared; ask again",
                    Duration(SECOND // 5),
                ) from None
            raise
        finally:
            for step in reversed(steps):
                state.revert(step)

    def _overdue(self, pool: Pool, now: Instant) -> list[Contract]:
        """Live reservations of the pool whose time to purchase has passed, the longest overdue first."""
        live = self._provider.state.contracts
        found = (live.get(key) for key in dict.fromkeys(self._provider.timers.overdue(now)))
        return [
            contract
            for contract in found
            if contract is not None
            and contract.pool_id == pool.id
            and contract.state is ContractState.RESERVED
            and contracts.pass_time(contract, now) is not None
        ]

    def _pass_time(self, contract: Contract, now: Instant) -> Sequence[AnyEvent]:
        """What time has done to the contract by now, with all that follows from it."""
        event = contracts.pass_time(contract, now)
        if event is None:
            return ()
        if isinstance(event, ContractActivated):
            return (event,)
        return self._end(contract, event, event.reason, Cause(now, now))

    def _end(self, contract: Contract, event: AnyEvent, reason: str, cause: Cause) -> Sequence[AnyEvent]:
        state = self._provider.state
        return reservation.end(
            contract,
            state.pools[contract.pool_id],
            state.calendar(contract.pool_id),
            state.allocations[contract.allocation_id],
            event,
            reason,
            self._provider.promises,
            cause,
        )

    def _own(self, key: str, caller: str) -> Contract:
        """The caller's contract. One of somebody else is not there, as far as the caller can tell."""
        if not key:
            raise InvalidField("contract_id", "is required")
        found = self._provider.find_contract(key)
        if found is None or found.buyer_id != caller:
            raise ContractNotFound(f"there is no contract {key} of {caller}", {"contract_id": key})
        return found

    # -- time ----------------------------------------------------------------------------------------------

    async def work_off(self) -> int:
        """Does what is due now; returns how many contracts moved on. At a start this comes before serving."""
        done = 0
        while due := self._provider.timers.pop_due(self._provider.writer.now(), TIMERS_AT_ONCE):
            keys = list(dict.fromkeys(due))
            outcomes = await asyncio.gather(*map(self._due, keys), return_exceptions=True)
            failures = []
            for key, outcome in zip(keys, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    self._watch_again(key)  # the contract is still as it was
                    failures.append(outcome)
                else:
                    done += outcome
            if failures:
                raise failures[0]
        return done

    def start_timers(self) -> None:
        """Follows the timers from now on."""
        self._timer_task = asyncio.get_running_loop().create_task(self._run_timers(), name="timers")

    async def stop_timers(self) -> None:
        """Stops to follow them; what is due stays due."""
        if self._timer_task is not None:
            self._timer_task.cancel()
            await asyncio.gather(self._timer_task, return_exceptions=True)

    async def _due(self, key: str) -> int:
        def decide(now: Instant) -> Decision[int]:
            found = self._provider.state.contracts.get(key)
            events = self._pass_time(found, now) if found is not None else ()
            return Decision(events, 1 if events else 0)

        return (await self._provider.writer.submit(decide)).answer

    def _watch_again(self, key: str) -> None:
        contract = self._provider.state.contracts.get(key)
        if contract is not None:
            self._provider.timers.watch(contract)

    async def _run_timers(self) -> None:
        moved = self._provider.timers_moved
        while True:
            moved.clear()
            due = self._provider.timers.next_due()
            wait = None if due is None else max(0.0, (due - self._provider.writer.now()) / SECOND)
            try:
                async with asyncio.timeout(wait if wait is None else min(wait, 1.0)):
                    await moved.wait()
            except TimeoutError:
                pass
            try:
                await self.work_off()
            except Refusal as refusal:
                log.warning("timers wait for the ledger", because=refusal.message)
                await asyncio.sleep(0.2)


def _check_same(known: Contract, command: ReserveCommand, request_id: str) -> None:
    if known.fingerprint != command.fingerprint:
        raise RequestIdReused(
            f"request_id {request_id!r} was used before, for another reservation; take a new one for a new attempt",
            {"request_id": request_id, "contract_id": known.id},
        )


def _answered(outcome: Outcome[tuple[Contract, Instant]]) -> Answered:
    contract, at = outcome.answer
    return Answered(contract, at, str(outcome.position))
