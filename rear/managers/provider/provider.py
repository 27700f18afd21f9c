"""What the managers of a provider share: the writer, the state behind it, and what has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from rear.domain.contract import Contract
from rear.domain.lifecycle import ContractState
from rear.domain.refusals import WrongProvider
from rear.domain.reservation import Promises
from rear.domain.state import State
from rear.ledger.commit import Committed
from rear.ledger.writer import Writer
from rear.managers.provider.timers import Timers
from rear.projections.tables import ContractRows


class ContractArchive(Protocol):
    """The contracts' table: all of them, also those that are no longer in memory."""

    def contract(self, contract_id: str) -> Contract | None:
        """A contract by its id; None where there is none."""
        ...

    async def at_least(self, sequence: int) -> None:
        """Waits until the table stands at `sequence` or later."""
        ...

    async def contracts(
        self, *, buyer_id: str | None, states: Sequence[ContractState], pool_id: str, after: int, limit: int
    ) -> ContractRows:
        """A buyer's contracts, or everybody's, oldest first, that began after a sequence."""
        ...

    async def contracts_of(self, contract_ids: Sequence[str], *, buyer_id: str | None) -> Sequence[Contract]:
        """The contracts with these ids, those that are there and are the buyer's, or anybody's."""
        ...


SPARE_TIMERS: Final = 1_000
"""Timers beyond four for each live contract that are kept, though their contracts may be gone."""


@dataclass(slots=True)
class Provider:
    """One provider: its identity, its promises, its ledger's writer, and its timers."""

    provider_id: str
    promises: Promises
    writer: Writer
    archive: ContractArchive
    timers: Timers
    timers_moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> State:
        """The newest state, also what is not durable yet."""
        return self.writer.state

    def check_meant(self, provider_id: str) -> None:
        """Refuses a request that names another provider."""
        if provider_id and provider_id != self.provider_id:
            raise WrongProvider(
                f"this is {self.provider_id}, not {provider_id}; ask that one",
                {"provider_id": self.provider_id},
            )

    def find_contract(self, contract_id: str) -> Contract | None:
        """A contract in memory or in the archive."""
        return self.state.contracts.get(contract_id) or self.archive.contract(contract_id)

    def committed(self, batch: Sequence[Committed]) -> None:
        """Sets timers for contracts that moved on."""
        for item in batch:
            after = item.step.after
            if isinstance(after, Contract) and self.timers.watch(after):
                self.timers_moved.set()
        live = self.state.contracts
        if len(self.timers) > 4 * len(live) + SPARE_TIMERS:
            self.timers.shrink(live)
