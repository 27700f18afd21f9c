"""The consumer's side of a node, put together: what finds, gets, peers and gives back resources of others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from nodes.fabric.fabric import VirtualFabric
from nodes.orchestration.orchestrator import Orchestrator
from nodes.purchasing import Purchasing
from nodes.searching import CANDIDATES, Searching
from nodes.settings import NodeSettings
from rear.domain.contract import Contract
from rear.domain.pool import Pool
from rear.domain.window import SECOND, Duration
from rear.ledger.commit import Committed
from rear.ledger.store import StateDirectory, Store
from rear.managers.consumer.neighbours import Neighbours
from rear.managers.consumer.ratings import RatingBook
from rear.managers.provider.provider import Provider
from rear.projections.feed import TablesFeed
from rear.projections.tables import Tables
from rear.readiness import Readiness
from rear.rpc.peers import RpcPeers

CONDITIONS: Final = (CANDIDATES, "purchases", "fabric", "service requests")
"""What readiness warns of."""

OF_SELLING: Final = frozenset({Pool, Contract})
"""What consumers have nothing to do with, and most of what happens is about."""


class Consumer:
    """A writer's listener: all of it, while a process is its ledger's writer."""

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        tables: Tables,
        provider: Provider,
        feed: TablesFeed,
        neighbours: Neighbours,
        endpoint: str,
    ) -> None:
        """`endpoint` is where the node listens."""
        writer = provider.writer
        self.ratings = RatingBook(tables.ratings())
        peers = self._peers = RpcPeers(None if settings.security is None else settings.security.tls, settings.domain)
        self._searching = Searching(settings, store, neighbours, self.ratings, peers, writer)
        self._purchasing = Purchasing(writer, feed, peers)
        self.fabric = VirtualFabric(StateDirectory(settings.state).fabric_key, endpoint, writer, tables, peers)
        self._orchestrator = Orchestrator(
            provider,
            feed,
            self._searching.rear,
            self.ratings,
            self._purchasing.sellers.contract_id,
            search_for=Duration(round(settings.search.deadline * SECOND)),
        )

    def committed(self, batch: Sequence[Committed]) -> None:
        """Takes notice of what has happened: first those whom nobody waits for."""
        ours = [item for item in batch if type(item.step.after) not in OF_SELLING]
        if ours:
            self.ratings.committed(ours)
            self._purchasing.committed(ours)
            self.fabric.committed(ours)
            self._orchestrator.committed(ours)

    async def start(self) -> None:
        """Goes on with everything that is open."""
        self._searching.candidates.start()
        await self._purchasing.start()
        await self.fabric.start()
        self._orchestrator.start()

    async def stop(self) -> None:
        """Does nothing of itself any more; what is open is gone on with after the next start."""
        await self._orchestrator.stop()
        await asyncio.gather(self._purchasing.stop(), self.fabric.stop())

    async def close(self) -> None:
        """Ends the rest, with all connections to others."""
        await self.stop()
        await self._searching.close()
        await self._peers.close()

    def add_conditions(self, readiness: Readiness) -> None:
        """Says what keeps resources of others from being got."""
        readiness.warn(CANDIDATES, lambda: self._searching.candidates.trouble)
        readiness.tell(CANDIDATES, lambda: len(self._searching.candidates))
        readiness.warn("purchases", lambda: self._purchasing.trouble)
        readiness.warn("fabric", lambda: self.fabric.trouble)
        readiness.warn("service requests", lambda: self._orchestrator.trouble)
