"""Bugs of the kinds that a service like this one has had, to be planted in a node that a test starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from rear.domain import contract as contracts
from rear.domain.calendar import PoolCalendar
from rear.domain.contract import Contract
from rear.domain.demand import Demand
from rear.domain.hold import Hold
from rear.domain.refusals import ContractNotFound
from rear.domain.units import UnitShare
from rear.domain.window import Instant, Window
from rear.ledger.commit import Decision
from rear.ledger.writer import Writer
from rear.managers.provider.contracts import Answered, ContractManager


def answers_before_durable() -> None:
    """Callers are answered as soon as a batch is decided, before it is sent."""
    commit, answer = Writer._commit, Writer._answer

    async def hasty(self: Writer, batch: list[Any]) -> None:
        sequence = self.position.sequence
        for command in batch:
            sequence += len(command.messages)
            answer(self, command, sequence)
        await asyncio.sleep(0.01)
        await commit(self, batch)

    def once(self: Writer, command: Any, sequence: int) -> None:
        if not command.future.done():
            answer(self, command, sequence)

    Writer._commit, Writer._answer = hasty, once  # type: ignore[method-assign]


def looks_at_the_start_only() -> None:
    """Whether something fits is decided by what is held when its window starts."""
    place = PoolCalendar.place

    def short_sighted(self: PoolCalendar, demand: Demand, window: Window) -> tuple[UnitShare, ...] | None:
        return place(self, demand, Window(window.start, Instant(window.start + 1)))

    PoolCalendar.place = short_sighted  # type: ignore[method-assign]


def gives_back_twice() -> None:
    """What ends gives its capacity back twice."""
    vacate = PoolCalendar.vacate

    def twice(self: PoolCalendar, hold: Hold) -> None:
        vacate(self, hold)
        vacate(self, hold)

    PoolCalendar.vacate = twice  # type: ignore[method-assign]


def refuses_at_once() -> None:
    """A refusal does not wait for what it rests on."""
    decide = Writer._decide

    def hasty(self: Writer, command: Any) -> None:
        decide(self, command)
        if command.refusal is not None and not command.future.done():
            command.future.set_exception(command.refusal)

    answer = Writer._answer

    def once(self: Writer, command: Any, sequence: int) -> None:
        if not command.future.done():
            answer(self, command, sequence)

    Writer._decide, Writer._answer = hasty, once  # type: ignore[method-assign]


def reads_stale_tables() -> None:
    """A contract is read from the tables, which are behind, and said to be of now."""

    async def stale(self: ContractManager, key: str, *, owner: str | None) -> Answered:
        found = self._provider.archive.contract(key)

        def decide(now: Instant) -> Decision[tuple[Contract, Instant]]:
            if found is None:
                raise ContractNotFound(f"there is no contract {key}", {"contract_id": key})
            return Decision((), (found, now))

        outcome = await self._provider.writer.submit(decide)
        return Answered(*outcome.answer, str(outcome.position))

    ContractManager.get = stale  # type: ignore[method-assign]


def forgets_requests() -> None:
    """A purchase that is repeated is not known again; nor is that it was of another body."""
    contracts.is_retry = lambda *_: False


BUGS: Final[dict[str, Callable[[], None]]] = {
    plant.__name__: plant
    for plant in (
        answers_before_durable,
        looks_at_the_start_only,
        gives_back_twice,
        refuses_at_once,
        reads_stale_tables,
        forgets_requests,
    )
}
