"""Keeps the tables up with the ledger: takes committed batches and writes them in slices, on the loop.

Not on a thread of its own: each of its rows would have to take the interpreter's lock from a busy loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from rear.domain.contract import Contract
from rear.domain.lifecycle import ContractState
from rear.domain.purchase import Purchase
from rear.domain.refusals import TryAgain
from rear.domain.request_decisions import RequestFilter
from rear.domain.service_request import ServiceRequest
from rear.domain.state import State
from rear.domain.window import SECOND
from rear.ledger.commit import Committed
from rear.projections.histories import RequestRows
from rear.projections.tables import STEPS_TO_CHECKPOINT, ContractRows, Tables

log = structlog.get_logger(__name__)

MOST_AT_ONCE: Final = 5_000
"""Steps in one transaction."""

PACE: Final = 0.5
"""Seconds between transactions, unless somebody waits for one: few large ones cost less than many small ones."""


class TablesFeed:
    """A writer's listener. `written` is told of each batch that the tables hold."""

    def __init__(self, tables: Tables, state: State, written: Callable[[Sequence[Committed]], None]) -> None:
        self.tables = tables
        self._state = state
        self._written = written
        self._waiting: list[Committed] = []
        self._sequence = tables.standing().sequence
        self._moved = asyncio.Event()
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._learner: asyncio.Task[None] | None = None
        self._broken: Exception | None = None
        self._closing = False

    @property
    def sequence(self) -> int:
        """The sequence that the tables stand at."""
        return self._sequence

    @property
    def trouble(self) -> str | None:
        """Why the tables do not keep up, or cannot be read; None while all is well."""
        if self.tables.damage is not None:
            return str(self.tables.damage)
        if self._task is not None and self._task.done() and not self._closing:
            return "the tables are no longer written"
        return f"the tables cannot be written: {self._broken}" if self._broken else None

    def committed(self, batch: Sequence[Committed]) -> None:
        """Takes a batch that has become durable."""
        self._waiting.extend(batch)
        self._wake.set()
        if len(self._waiting) >= MOST_AT_ONCE:  # else they would be taken in more slowly than they can come
            self._hurry.set()

    async def at_least(self, sequence: int) -> None:
        """Waits until the tables stand at `sequence` or later."""
        while self._sequence < sequence:
            if self._broken is not None:
                raise TryAgain("the tables do not keep up just now", SECOND, because=str(self._broken))
            self._hurry.set()
            self._moved.clear()
            await self._moved.wait()

    def contract(self, contract_id: str) -> Contract | None:
        """A contract by its id, as the tables have it; None where they have none."""
        return self.tables.contract(contract_id)

    def purchase(self, contract_id: str) -> Purchase | None:
        """A purchase by its id, also one that has ended, as the tables have it; None where they have none."""
        return self.tables.purchase(contract_id)

    def service_request(self, request_id: str) -> ServiceRequest | None:
        """A service request by its id, also one that has ended, as the tables have it; None where they have none."""
        return self.tables.service_request(request_id)

    async def service_requests(self, wanted: RequestFilter, after: int, limit: int) -> RequestRows:
        """Service requests, oldest first, that began after the sequence `after`; fewer where they are large."""
        return await asyncio.to_thread(self.tables.service_requests, wanted, after, limit)

    async def contracts(
        self, *, buyer_id: str | None, states: Sequence[ContractState], pool_id: str, after: int, limit: int
    ) -> ContractRows:
        """A buyer's contracts (None: everybody's), oldest first, that began after the sequence `after`."""
        return await asyncio.to_thread(
            self.tables.contracts, buyer_id=buyer_id, states=states, pool_id=pool_id, after=after, limit=limit
        )

    async def contracts_of(self, contract_ids: Sequence[str], *, buyer_id: str | None) -> Sequence[Contract]:
        """The contracts with these ids, those that are in the tables and are the buyer's (None: anybody's)."""
        return await asyncio.to_thread(self.tables.contracts_of, contract_ids, buyer_id=buyer_id)

    def start(self) -> None:
        """Begins to write."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="tables-feed")
        self._learner = loop.create_task(self._learn(), name="tables-learner")

    async def close(self) -> None:
        """Writes what is waiting, and ends."""
        self._closing = True
        self._wake.set()
        self._hurry.set()
        if self._task is not None and self._learner is not None:
            self._learner.cancel()
            await asyncio.gather(self._task, asyncio.wait([self._learner]))

    async def _learn(self) -> None:
        """Learns in the background which contracts have a row. Where it cannot, each one is looked for."""
        try:
            for _ in self.tables.learning():
                await asyncio.sleep(0)
        except sqlite3.Error as error:
            log.warning("contracts are looked for one by one", error=str(error))

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and not (self._closing and self._broken):
                try:
                    await self._write()
                    await self._checkpoint()
                except Exception as error:
                    if self._broken is None:
                        log.exception("the tables cannot be written")
                    self._broken = error
                    self._moved.set()
                    await asyncio.sleep(1.0)
                else:
                    self._broken = None
                    await self._pause()

    async def _checkpoint(self) -> None:
        """Brings the write-ahead log into the file now and then. Where that fails the rows stand as they are."""
        if self.tables.unmerged >= STEPS_TO_CHECKPOINT:
            try:
                await asyncio.to_thread(self.tables.checkpoint)  # it waits for the disk
            except sqlite3.Error as error:
                log.warning("the tables' write-ahead log cannot be merged yet", error=str(error))

    async def _pause(self) -> None:
        """Lets steps gather until there are enough, the pace allows the next transaction, or somebody waits for it."""
        if not self._closing and len(self._waiting) < MOST_AT_ONCE:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PACE):
                    await self._hurry.wait()

    async def _write(self) -> None:
        self._hurry.clear()
        batch = self._waiting[:MOST_AT_ONCE]
        for _ in self.tables.writing(batch, self._state.service):
            await asyncio.sleep(0)
        del self._waiting[: len(batch)]
        self._sequence = batch[-1].sequence
        self._written(batch)
        self._moved.set()
