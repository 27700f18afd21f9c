"""What a node needs to find resources elsewhere, put together: candidates, Discovery and REAR Manager."""

from __future__ import annotations

from nodes.settings import NodeSettings
from rear.domain.ranking import Ratings
from rear.ledger.offers import OffersStream
from rear.ledger.sources import Clock
from rear.ledger.store import StateDirectory, Store
from rear.managers.consumer.candidates import PeeringCandidates
from rear.managers.consumer.discovery import DiscoveryManager, Known
from rear.managers.consumer.peers import Peers
from rear.managers.consumer.rear import ConsumerRear
from rear.projections.candidates import CandidatesTable

CANDIDATES = "candidates"
"""The condition that readiness warns of."""


class Searching:
    """The consumer's side of discovery while a process is its ledger's writer."""

    def __init__(
        self, settings: NodeSettings, store: Store, neighbours: Known, ratings: Ratings, peers: Peers, clock: Clock
    ) -> None:
        """`clock` is the ledger's, which never goes back."""
        own_id = settings.provider_id
        directory = StateDirectory(settings.state)
        stream = OffersStream(store.connection, settings.name, replicas=store.server.replicas, admit=store.server.admit)
        self.candidates = PeeringCandidates(own_id, stream, lambda: CandidatesTable(directory.candidates))
        discovery = DiscoveryManager(
            own_id, neighbours, peers, self.candidates, clock, deadline=settings.search.deadline
        )
        self.rear = ConsumerRear(self.candidates, discovery, ratings, clock, fresh=settings.search.fresh)

    async def close(self) -> None:
        """Ends what is under way."""
        await self.candidates.stop()
