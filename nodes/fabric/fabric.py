"""A node's virtual fabric: the driver that it speaks, and what brings it to what the state says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nodes.fabric.embedded import EmbeddedFabric
from nodes.fabric.granting import Granting
from nodes.fabric.key import load_key
from nodes.fabric.manager import VirtualFabricManager
from rear.domain.events import AllocationSide
from rear.domain.state import State
from rear.domain.virtual_node import virtual_node_id
from rear.ledger.commit import Committed
from rear.ledger.writer import Writer
from rear.managers.consumer.peers import FabricPeers
from rear.projections.tables import Tables


class VirtualFabric:
    """Both sides of it: `granting` for what was sold, and a manager for what was bought. A listener of commits."""

    def __init__(self, key: Path, endpoint: str, writer: Writer, tables: Tables, peers: FabricPeers) -> None:
        """`key` is the file of the node's secret, which is made where there is none."""
        self._driver = EmbeddedFabric(load_key(key), endpoint)
        self._writer = writer
        self._tables = tables
        self.granting = Granting(writer, self._driver)
        self.manager = VirtualFabricManager(writer, peers, self._driver)

    @property
    def trouble(self) -> str | None:
        """Why the fabric is not what the state says; None where that is not our fault."""
        return self.granting.trouble or self.manager.trouble

    def committed(self, batch: Sequence[Committed]) -> None:
        """Looks at what moved on."""
        self.granting.committed(batch)
        self.manager.committed(batch)

    async def start(self) -> None:
        """Brings the fabric to what the state says, from now on."""
        standing = await self._driver.standing()
        self.granting.start(standing.granted, self._tables.peered(AllocationSide.PROVIDER))
        self.manager.start(standing, bought(self._writer.state))

    async def stop(self) -> None:
        """Leaves everything as it stands."""
        await self.manager.stop()
        await self.granting.stop()


def bought(state: State) -> dict[str, str | None]:
    """The contracts with an allocation here, and the peers of those that are peered."""
    found = {key: state.allocations.get(virtual_node_id(key)) for key in state.purchases}
    return {
        key: None if stands.peered is None else stands.peered.peer_id
        for key, stands in found.items()
        if stands is not None
    }
