"""The Contract Manager, provider side: reserve, purchase, cancel, and what time does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from rear.domain import contract as contracts
from rear.domain import reservation
from rear.domain.contract import Contract, VerbCommand
from rear.domain.events import AnyEvent, Cause, ContractCancelled, ContractReserved, ContractRevoked
from rear.domain.lifecycle import ContractState
from rear.domain.refusals import (
    CapacityExceeded,
    ClearingOverdue,
    ContractNotFound,
    InvalidField,
    RequestIdReused,
)
from rear.domain.reservation import ReserveCommand, find_pool
from rear.domain.trial import Trial
from rear.domain.value import value
from rear.domain.window import SECOND, Duration, Instant
from rear.ledger.commit import Decision, Outcome
from rear.managers.provider import endings
from rear.managers.provider.counter_offers import find_counter_offer
from rear.managers.provider.provider import Provider

log = structlog.get_logger(__name__)

Ending = tuple[ContractCancelled | ContractRevoked | None, str]
"""What ends a contract, None where it has ended already, and why its hold and its allocation are released."""

MOST_EXPIRED_BY_ONE: Final = 50
"""Overdue reservations that one reservation may expire to make room for itself."""


@value
class Answered:
    """A contract, the instant of the decision, and the position at which it is durable."""

    contract: Contract
    at: Instant
    position: str


@value
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
            found = self._find(key, caller)
            event = contracts.purchase(found, command, Cause(now, now, caller, command.request_id))
            if event is None:
                return Decision((), (found, now))
            return Decision(() if validate_only else (event,), (contracts.evolve(found, event), now))

        return _answered(await self._provider.writer.submit(decide))

    async def cancel(
        self, key: str, command: VerbCommand, reason: str, *, caller: str, owner: str | None, validate_only: bool
    ) -> Answered:
        """Ends a contract of `owner`'s (None: of anybody's). What time has ended by then stays ended by time."""

        def end(found: Contract, cause: Cause) -> Ending:
            return contracts.cancel(found, command, reason, cause), reason or _who_cancelled(found, caller)

        return await self._end(key, command, end, caller=caller, owner=owner, validate_only=validate_only)

    async def revoke(
        self, key: str, command: VerbCommand, reason: str, *, caller: str, owner: str | None, validate_only: bool
    ) -> Answered:
        """The same for the seller, who can no longer keep the contract."""

        def end(found: Contract, cause: Cause) -> Ending:
            return contracts.revoke(found, command, reason, cause), reason

        return await self._end(key, command, end, caller=caller, owner=owner, validate_only=validate_only)

    async def _end(
        self,
        key: str,
        command: VerbCommand,
        end: Callable[[Contract, Cause], Ending],
        *,
        caller: str,
        owner: str | None,
        validate_only: bool,
    ) -> Answered:
        """Whoever comes first ends it, also where time, buyer and seller cross; all others find it ended."""

        def decide(now: Instant) -> Decision[tuple[Contract, Instant]]:
            found = self._find(key, owner)
            due = contracts.pass_time(found, now)
            by_now = found if due is None else contracts.evolve(found, due)
            if found.live and not by_now.live:
                return Decision(() if validate_only else endings.by_time(self._provider, found, now), (by_now, now))
            cause = Cause(now, now, caller, command.request_id)
            event, because = end(found, cause)
            if event is None:
                return Decision((), (found, now))
            events = endings.ended(self._provider, found, event, because, cause)
            return Decision(() if validate_only else events, (contracts.evolve(found, event), now))

        return _answered(await self._provider.writer.submit(decide))

    async def get(self, key: str, *, owner: str | None) -> Answered:
        """A contract of `owner`'s; None: of anybody's."""

        def decide(now: Instant) -> Decision[tuple[Contract, Instant]]:
            return Decision((), (self._find(key, owner), now))

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
        found = await self._provider.archive.contracts(
            buyer_id=caller, states=states, pool_id=pool_id, after=after, limit=limit + 1
        )
        rows = found.rows
        more = len(rows) > limit
        return ContractPage(
            tuple(row.contract for row in rows[:limit]),
            rows[limit - 1].sequence if more else None,
            now,
            str(replace(position, sequence=found.sequence)),
        )

    # -- deciding ------------------------------------------------------------------------------------------

    def _reserve(self, command: ReserveCommand, cause: Cause) -> Sequence[AnyEvent]:
        """The reservation's events, after those that expire overdue reservations where it needs their room."""
        state, promises = self._provider.state, self._provider.promises
        pool = find_pool(state.pools, command.flavour_id)
        try:
            return reservation.reserve(pool, state.calendar(pool.id), command, promises, cause)
        except CapacityExceeded:
            overdue = endings.overdue(self._provider, cause.at, pool.id)
            if not overdue:
                raise
            return self._reserve_after(overdue, command, cause)

    def _reserve_after(self, overdue: Sequence[Contract], command: ReserveCommand, cause: Cause) -> Sequence[AnyEvent]:
        """Decides on the state as it is after the expiries, which come first."""
        state, promises = self._provider.state, self._provider.promises
        with Trial(state) as trial:
            for contract in overdue[:MOST_EXPIRED_BY_ONE]:
                trial.add(*endings.by_time(self._provider, contract, cause.at))
            try:
                pool = find_pool(state.pools, command.flavour_id)
                reserved = reservation.reserve(pool, state.calendar(pool.id), command, promises, cause)
            except CapacityExceeded:
                if len(overdue) > MOST_EXPIRED_BY_ONE:
                    raise ClearingOverdue(
                        f"{len(overdue)} reservations of the pool are overdue and being cleared; ask again",
                        Duration(SECOND // 5),
                    ) from None
                raise
            return (*trial.events, *reserved)

    def _find(self, key: str, owner: str | None) -> Contract:
        """The owner's contract, or anybody's. One of somebody else is not there, as far as a caller can tell."""
        if not key:
            raise InvalidField("contract_id", "is required")
        found = self._provider.find_contract(key)
        if found is None or (owner is not None and found.buyer_id != owner):
            of = "" if owner is None else f" of {owner}"
            raise ContractNotFound(f"there is no contract {key}{of}", {"contract_id": key})
        return found


def _who_cancelled(contract: Contract, caller: str) -> str:
    return "its buyer cancelled it" if caller == contract.buyer_id else "an administrator cancelled it"


def _check_same(known: Contract, command: ReserveCommand, request_id: str) -> None:
    if known.fingerprint != command.fingerprint:
        raise RequestIdReused(
            f"request_id {request_id!r} was used before, for another reservation; take a new one for a new attempt",
            {"request_id": request_id, "contract_id": known.id},
        )


def _answered(outcome: Outcome[tuple[Contract, Instant]]) -> Answered:
    contract, at = outcome.answer
    return Answered(contract, at, str(outcome.position))
