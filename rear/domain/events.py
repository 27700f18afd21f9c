"""Domain events: what happened, as immutable facts.

Each satisfies the `eventsourcing` library's `DomainEventProtocol` (`originator_id`, `originator_version`).
Their form on the log is `rear.event.v1`; `rear.ledger.codec` maps one to the other.
"""

from __future__ import annotations

from enum import Enum

from rear.domain.demand import Demand
from rear.domain.event import AggregateType as AggregateType
from rear.domain.event import Cause as Cause
from rear.domain.event import Event as Event
from rear.domain.flavour import Offer, PoolTerms
from rear.domain.hold import Hold
from rear.domain.lifecycle import ContractState
from rear.domain.link_events import LinkEvent
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.request_events import RequestEvent
from rear.domain.units import Unit, UnitShare
from rear.domain.value import value
from rear.domain.window import Instant, Window


@value
class PoolRegistered(Event):
    """A pool came into being with its first flavour."""

    terms: PoolTerms
    capacity: Quantities
    units: tuple[Unit, ...]
    offer: Offer


@value
class PoolTermsChanged(Event):
    """A pool's price, policies or properties changed; flavours from before are no longer sold."""

    terms: PoolTerms
    offer: Offer


@value
class CapacityChanged(Event):
    """A pool's capacity changed. `offer` is None where the offer stayed as it was."""

    capacity: Quantities
    units: tuple[Unit, ...]
    offer: Offer | None


@value
class PoolReserved(Event):
    """Capacity of a pool was held. `offer` is None where the offer stayed as it was."""

    hold: Hold
    offer: Offer | None


@value
class HoldReleased(Event):
    """Capacity of a pool was given back. `offer` is None where the offer stayed as it was."""

    hold_id: str
    offer: Offer | None


@value
class PoolRetired(Event):
    """A pool is no longer offered; its holds stay until they end."""

    reason: str
    retired_flavour_id: str


PoolEvent = PoolRegistered | PoolTermsChanged | CapacityChanged | PoolReserved | HoldReleased | PoolRetired


@value
class ContractReserved(Event):
    """A contract was reserved, or agreed at once (`state` CONFIRMED, no `purchase_before`)."""

    state: ContractState
    buyer_id: str
    flavour_id: str
    pool_id: str
    partition: Demand
    assigned_units: tuple[UnitShare, ...]
    window: Window
    purchase_before: Instant | None
    price: Money | None
    priority: int
    fingerprint: bytes
    allocation_id: str
    chain_id: str


@value
class ContractPurchased(Event):
    """A contract was purchased; `fingerprint` is over the request's body."""

    fingerprint: bytes


@value
class ContractActivated(Event):
    """A contract's window began."""


@value
class ContractCancelled(Event):
    """A contract was ended by its buyer."""

    actor: str
    reason: str
    fingerprint: bytes


@value
class ContractExpired(Event):
    """A contract was not purchased in time."""

    reason: str


@value
class ContractCompleted(Event):
    """A contract's window ended."""

    reason: str


@value
class ContractRevoked(Event):
    """A contract was ended by its seller, who could no longer keep it."""

    actor: str
    reason: str
    fingerprint: bytes


ContractEvent = (
    ContractReserved
    | ContractPurchased
    | ContractActivated
    | ContractCancelled
    | ContractExpired
    | ContractCompleted
    | ContractRevoked
)


class AllocationSide(Enum):
    """Whose side of a contract an allocation stands on: the provider's NODE or the consumer's VIRTUAL_NODE."""

    PROVIDER = "PROVIDER"
    CONSUMER = "CONSUMER"


@value
class AllocationCreated(Event):
    """An allocation came into being, inactive."""

    contract_id: str
    side: AllocationSide
    pool_id: str
    window: Window
    quantities: Quantities
    units: tuple[UnitShare, ...]


@value
class AllocationPeered(Event):
    """A fabric carries the allocation. `endpoint` is where it is reached, on the consumer's side."""

    peer_id: str
    fabric: str
    endpoint: str


@value
class AllocationActivated(Event):
    """An allocation became active: it is peered, and its contract is ACTIVE."""


@value
class AllocationFailed(Event):
    """No fabric can carry the allocation."""

    reason: str


@value
class AllocationReleased(Event):
    """An allocation was released."""

    reason: str


AllocationEvent = AllocationCreated | AllocationReleased | AllocationPeered | AllocationActivated | AllocationFailed


@value
class LedgerOpened(Event):
    """The ledger's first event; `log_id` identifies the ledger for ever."""

    log_id: str


@value
class WriterChanged(Event):
    """A process became the ledger's writer. Epochs count from 1."""

    epoch: int
    endpoint: str


@value
class LossAccepted(Event):
    """An operator accepted that the end of the ledger was lost or is different."""

    anchored_sequence: int
    anchored_hash: str
    found_sequence: int
    reason: str


ServiceEvent = LedgerOpened | WriterChanged | LossAccepted

AnyEvent = PoolEvent | ContractEvent | AllocationEvent | ServiceEvent | RequestEvent | LinkEvent
