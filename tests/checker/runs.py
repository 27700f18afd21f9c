"""What a buyer's ledger says of service requests, of what was bought for them, and of what stands for that."""

from __future__ import annotations

from dataclasses import dataclass, field

from rear.event.v1.purchase_pb2 import Order
from rear.v1.contract_pb2 import Contract
from rear.v1.intent_pb2 import Intent
from tests.checker.lives import LIVE


@dataclass(slots=True)
class Bought:
    """A purchase: what was asked of a seller, and the newest copy of its contract."""

    contract_id: str
    service_request_id: str
    component: str
    order: Order
    requested_at: int
    verbs: list[str] = field(default_factory=list)
    copy: Contract | None = None
    undone: bool = False

    @property
    def live(self) -> bool:
        """Whether the seller may hold something for it, as far as the buyer knows."""
        return not self.undone if self.copy is None else self.copy.state in LIVE

    @property
    def counts(self) -> bool:
        """Whether it is live and not being given up."""
        return self.live and not self.undone and "LINK_VERB_CANCEL" not in self.verbs

    @property
    def held(self) -> bool:
        """Whether its seller said that it holds it."""
        return self.counts and self.copy is not None


@dataclass(slots=True)
class VirtualNode:
    """The consumer's allocation for a purchase."""

    contract_id: str
    state: str = "INACTIVE"


@dataclass(slots=True)
class Run:
    """A service request."""

    request_id: str
    intent: Intent
    holds: dict[str, str] = field(default_factory=dict)
    """Holds in own pools, by component."""
    places: dict[str, str] = field(default_factory=dict)
    """Virtual nodes that are shared, by component."""
    ready: set[str] = field(default_factory=set)
    all_ready: bool = False
    ended: str = ""
    """FAILED, CANCELLED or COMPLETED."""

    @property
    def components(self) -> list[str]:
        return [component.name for component in self.intent.components]
