"""What a node needs to buy, put together: the consumer's Contract Manager, and what follows its sellers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rear.ledger.commit import Committed
from rear.ledger.writer import Writer
from rear.managers.consumer.contracts import ConsumerContractManager
from rear.managers.consumer.following import SellerFollower
from rear.projections.feed import TablesFeed
from rear.rpc.peers import RpcPeers
from rear.rpc.sellers import RpcSellers


class Purchasing:
    """A writer's listener: the consumer's side of contracts while a process is its ledger's writer."""

    def __init__(self, writer: Writer, feed: TablesFeed, peers: RpcPeers) -> None:
        self.sellers = RpcSellers(peers)
        self.contracts = ConsumerContractManager(writer, feed, self.sellers)
        self._follower = SellerFollower(self.contracts, self.sellers)

    @property
    def trouble(self) -> str | None:
        """Why some purchases do not come on; None while all is well."""
        return self.contracts.trouble or self._follower.trouble

    def committed(self, batch: Sequence[Committed]) -> None:
        """Takes notice of purchases that have changed."""
        self.contracts.committed(batch)

    async def start(self) -> None:
        """Goes on with what is open."""
        await self.contracts.start()

    async def stop(self) -> None:
        """Ends what is under way, wherever it stands."""
        await asyncio.gather(self.contracts.stop(), self._follower.stop())
