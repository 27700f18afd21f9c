"""The REAR Manager, provider side: which pools there are, and what of them is offered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from rear.domain import pool as pools
from rear.domain.events import AnyEvent, Cause
from rear.domain.flavour import PoolTerms
from rear.domain.pool import Pool
from rear.domain.quantities import Quantities
from rear.domain.units import Unit
from rear.domain.window import Instant
from rear.ledger.commit import Decision
from rear.managers.provider.provider import Provider

log = structlog.get_logger(__name__)

AT_ONCE: Final = 500
"""Pools that are registered side by side."""


class PoolDescription(Protocol):
    """A pool as an inventory describes it."""

    @property
    def pool_id(self) -> str:
        """The pool's id."""
        ...

    @property
    def terms(self) -> PoolTerms:
        """What its flavours have in common."""
        ...

    @property
    def capacity(self) -> Quantities:
        """The whole capacity."""
        ...

    @property
    def units(self) -> tuple[Unit, ...]:
        """All devices."""
        ...


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What an inventory changed: numbers of pools, and the ids of those that could not follow it."""

    registered: int
    changed: int
    retired: int
    refused: tuple[str, ...]


class RearManager:
    """Registers pools, and advertises what is left of them."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def reconcile(
        self, inventory: Sequence[PoolDescription], progress: Callable[[int], None] = lambda _: None
    ) -> Reconciled:
        """Makes the pools what `inventory` says: new ones, new terms, other capacity; others are retired.

        A capacity below what is sold is not taken over: the pool stays as it was, and is named.
        """
        registered = changed = 0
        refused: list[str] = []
        for begin in range(0, len(inventory), AT_ONCE):
            part = inventory[begin : begin + AT_ONCE]
            for wanted, outcome in zip(part, await asyncio.gather(*map(self._take, part)), strict=True):
                registered += outcome == "registered"
                changed += outcome == "changed"
                if outcome == "refused":
                    refused.append(wanted.pool_id)
                    log.error(
                        "capacity not taken over: more than that is sold; cancel contracts or restore it",
                        pool=wanted.pool_id,
                    )
            progress(begin + len(part))
        known = {wanted.pool_id for wanted in inventory}
        gone = [key for key, pool in self._provider.state.pools.items() if key not in known and pool.offer]
        await asyncio.gather(*map(self._retire, gone))
        return Reconciled(registered, changed, len(gone), tuple(refused))

    async def _take(self, wanted: PoolDescription) -> str:
        lease = self._provider.promises.default_lease

        def decide(now: Instant) -> Decision[str]:
            cause = Cause(now, now)
            pool = self._provider.state.pools.get(wanted.pool_id)
            if pool is None:
                new = pools.register(wanted.pool_id, wanted.terms, wanted.capacity, wanted.units, cause)
                return Decision((new,), "registered")
            events: list[AnyEvent] = []
            outcome = "unchanged"
            if (pool.capacity, pool.units) != (wanted.capacity, wanted.units):
                resized = pools.change_capacity(pool, wanted.capacity, wanted.units, lease, cause)
                outcome = "changed" if resized is not None else "refused"
                if resized is not None:
                    events.append(resized)
                    pool = pools.evolve(pool, resized)
            if pool.terms != wanted.terms or pool.offer is None:
                events.append(pools.change_terms(pool, pool.calendar(), wanted.terms, lease, cause))
                outcome = "changed" if outcome == "unchanged" else outcome
            return Decision(events, outcome)

        return (await self._provider.writer.submit(decide)).answer

    async def _retire(self, pool_id: str) -> None:
        def decide(now: Instant) -> Decision[None]:
            pool: Pool = self._provider.state.pools[pool_id]
            return Decision((pools.retire(pool, "it is no longer in the inventory", Cause(now, now)),), None)

        await self._provider.writer.submit(decide)
