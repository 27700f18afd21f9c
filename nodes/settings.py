"""What a node is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rear.domain.reservation import Promises
from rear.ledger.external import NatsServers
from rear.ledger.scrub import Pace
from rear.managers.consumer.neighbours import Neighbour
from rear.managers.consumer.rear import SearchSettings
from rear.rpc.announcing import Multicast
from rear.rpc.security import SecuritySettings


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """`host` and `port` are where it listens; port 0 takes a free one."""

    name: str
    domain: str
    state: Path
    host: str = "127.0.0.1"
    port: int = 0
    promises: Promises = field(default_factory=Promises)
    servers: NatsServers | None = None
    """Who keeps the ledger; None for an embedded server."""
    standby: bool = False
    """Whether it waits for the ledger's writer to go, and waits again after it was one."""
    take_over: bool = False
    """Whether it becomes the writer at once, also where another one lives."""
    security: SecuritySettings | None = None
    scrub: Pace = field(default_factory=Pace)
    neighbours: tuple[Neighbour, ...] = ()
    """The nodes of the domain that it was told of."""
    search: SearchSettings = field(default_factory=SearchSettings)
    """How the neighbours are asked."""
    announce: Multicast | None = None
    """Where it announces itself, and hears of others; None: nowhere."""

    @property
    def provider_id(self) -> str:
        """The node's identity."""
        return f"spiffe://{self.domain}/node/{self.name}"
