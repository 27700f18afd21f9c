"""Event classes and the bodies of `rear.event.v1.Envelope`: one table.

A writer fills a body from its event. A reader takes a body and what every event has: the aggregate's id, the
version that the event makes, and its cause. It raises KeyError for an enum's number that this version does
not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from rear.domain.events import (
    AggregateType,
    AllocationActivated,
    AllocationCreated,
    AllocationFailed,
    AllocationPeered,
    AllocationReleased,
    AnyEvent,
    CapacityChanged,
    Cause,
    ContractActivated,
    ContractCancelled,
    ContractCompleted,
    ContractExpired,
    ContractPurchased,
    ContractReserved,
    ContractRevoked,
    Event,
    HoldReleased,
    LedgerOpened,
    LossAccepted,
    PoolRegistered,
    PoolReserved,
    PoolRetired,
    PoolTermsChanged,
    WriterChanged,
)
from rear.domain.link_events import LinkObserved, LinkRequested, LinkUndone
from rear.domain.request_events import (
    CandidateChosen,
    CandidateRefused,
    ComponentEnded,
    ComponentPlanned,
    ComponentReady,
    IntentAccepted,
    OperationDeleted,
    ProvidersAsked,
    PurchaseDecided,
    RequestCancelled,
    RequestCompleted,
    RequestFailed,
    RequestReady,
)
from rear.event.v1 import envelope_pb2, pool_pb2
from rear.wire.beginnings import read_created, read_reserved, write_created, write_reserved
from rear.wire.flavours import read_offer, write_offer
from rear.wire.holds import read_hold, write_hold
from rear.wire.links import (
    read_observed,
    read_requested,
    read_undone,
    write_observed,
    write_requested,
    write_undone,
)
from rear.wire.request_events import (
    read_accepted,
    read_asked,
    read_candidate_refused,
    read_planned,
    write_accepted,
    write_asked,
    write_candidate_refused,
    write_planned,
)
from rear.wire.terms import read_terms, write_terms
from rear.wire.values import read_quantities, read_units, write_quantities, write_units

SomeEvent = TypeVar("SomeEvent", bound=Event)
SomeBody = TypeVar("SomeBody", bound=Message)

Writer = Callable[[SomeBody, SomeEvent], None]
Reader = Callable[[SomeBody, str, int, Cause], SomeEvent]


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of event stands in an envelope.

    `body` is the member of the oneof; `schema` is the version that `write` writes and `read` reads.
    """

    event: type[Event]
    aggregate: AggregateType
    body: str
    write: Callable[[Any, Any], None]
    read: Callable[[Any, str, int, Cause], AnyEvent]
    schema: int = 1


def _write_pool_registered(body: pool_pb2.PoolRegistered, event: PoolRegistered) -> None:
    write_terms(body.terms, event.terms)
    write_quantities(body.capacity, event.capacity)
    write_units(body.units, event.units)
    write_offer(body.offer, event.offer)


def _read_pool_registered(body: pool_pb2.PoolRegistered, pool_id: str, version: int, cause: Cause) -> PoolRegistered:
    return PoolRegistered(
        pool_id,
        version,
        cause,
        read_terms(body.terms),
        read_quantities(body.capacity),
        read_units(body.units),
        read_offer(body.offer),
    )


def _write_pool_terms_changed(body: pool_pb2.PoolTermsChanged, event: PoolTermsChanged) -> None:
    write_terms(body.terms, event.terms)
    body.retired_flavour_id = event.offer.parent_id
    write_offer(body.offer, event.offer)


def _read_pool_terms_changed(
    body: pool_pb2.PoolTermsChanged, pool_id: str, version: int, cause: Cause
) -> PoolTermsChanged:
    return PoolTermsChanged(pool_id, version, cause, read_terms(body.terms), read_offer(body.offer))


def _write_capacity_changed(body: pool_pb2.CapacityChanged, event: CapacityChanged) -> None:
    write_quantities(body.capacity, event.capacity)
    write_units(body.units, event.units)
    if event.offer is not None:
        body.retired_flavour_id = event.offer.parent_id
        write_offer(body.offer, event.offer)


def _read_capacity_changed(body: pool_pb2.CapacityChanged, pool_id: str, version: int, cause: Cause) -> CapacityChanged:
    return CapacityChanged(
        pool_id,
        version,
        cause,
        read_quantities(body.capacity),
        read_units(body.units),
        read_offer(body.offer) if body.HasField("offer") else None,
    )


def _write_pool_reserved(body: pool_pb2.PoolReserved, event: PoolReserved) -> None:
    write_hold(body.hold, event.hold)
    if event.offer is not None:
        body.retired_flavour_id = event.offer.parent_id
        write_offer(body.offer, event.offer)


def _read_pool_reserved(body: pool_pb2.PoolReserved, pool_id: str, version: int, cause: Cause) -> PoolReserved:
    offer = read_offer(body.offer) if body.HasField("offer") else None
    return PoolReserved(pool_id, version, cause, read_hold(body.hold), offer)


def _write_hold_released(body: pool_pb2.HoldReleased, event: HoldReleased) -> None:
    body.hold_id = event.hold_id
    if event.offer is not None:
        body.retired_flavour_id = event.offer.parent_id
        write_offer(body.offer, event.offer)


def _read_hold_released(body: pool_pb2.HoldReleased, pool_id: str, version: int, cause: Cause) -> HoldReleased:
    offer = read_offer(body.offer) if body.HasField("offer") else None
    return HoldReleased(pool_id, version, cause, body.hold_id, offer)


def _row(
    event: type[SomeEvent],
    aggregate: AggregateType,
    body: str,
    write: Writer[SomeBody, SomeEvent],
    read: Reader[SomeBody, SomeEvent],
) -> Row:
    """A row whose writer and reader are for the same class of event and the same body."""
    return Row(event, aggregate, body, write, read)  # type: ignore[arg-type]  # every event is one of AnyEvent


def _plain(event: Callable[..., AnyEvent], aggregate: AggregateType, body: str, *fields: str) -> Row:
    """A row for an event whose own fields, in order, are strings, bytes or numbers of the same names."""

    def write(message: Message, written: Event) -> None:
        for field in fields:
            setattr(message, field, getattr(written, field))

    def read(message: Message, originator_id: str, version: int, cause: Cause) -> AnyEvent:
        return event(originator_id, version, cause, *[getattr(message, field) for field in fields])

    return Row(event, aggregate, body, write, read)  # type: ignore[arg-type]  # it is a class


A = AggregateType

ROWS: Final = (
    _row(PoolRegistered, A.POOL, "pool_registered", _write_pool_registered, _read_pool_registered),
    _row(PoolTermsChanged, A.POOL, "pool_terms_changed", _write_pool_terms_changed, _read_pool_terms_changed),
    _row(CapacityChanged, A.POOL, "capacity_changed", _write_capacity_changed, _read_capacity_changed),
    _row(PoolReserved, A.POOL, "pool_reserved", _write_pool_reserved, _read_pool_reserved),
    _row(HoldReleased, A.POOL, "hold_released", _write_hold_released, _read_hold_released),
    _plain(PoolRetired, A.POOL, "pool_retired", "reason", "retired_flavour_id"),
    _row(ContractReserved, A.CONTRACT, "contract_reserved", write_reserved, read_reserved),
    _plain(ContractPurchased, A.CONTRACT, "contract_purchased", "fingerprint"),
    _plain(ContractActivated, A.CONTRACT, "contract_activated"),
    _plain(ContractCancelled, A.CONTRACT, "contract_cancelled", "actor", "reason", "fingerprint"),
    _plain(ContractExpired, A.CONTRACT, "contract_expired", "reason"),
    _plain(ContractCompleted, A.CONTRACT, "contract_completed", "reason"),
    _plain(ContractRevoked, A.CONTRACT, "contract_revoked", "actor", "reason", "fingerprint"),
    _row(AllocationCreated, A.ALLOCATION, "allocation_created", write_created, read_created),
    _plain(AllocationReleased, A.ALLOCATION, "allocation_released", "reason"),
    _plain(AllocationPeered, A.ALLOCATION, "allocation_peered", "peer_id", "fabric", "endpoint"),
    _plain(AllocationActivated, A.ALLOCATION, "allocation_activated"),
    _plain(AllocationFailed, A.ALLOCATION, "allocation_failed", "reason"),
    _plain(LedgerOpened, A.SERVICE, "ledger_opened", "log_id"),
    _plain(WriterChanged, A.SERVICE, "writer_changed", "epoch", "endpoint"),
    _plain(
        LossAccepted,
        A.SERVICE,
        "loss_accepted",
        "anchored_sequence",
        "anchored_hash",
        "found_sequence",
        "reason",
    ),
    _row(IntentAccepted, A.REQUEST, "intent_accepted", write_accepted, read_accepted),
    _row(ComponentPlanned, A.REQUEST, "component_planned", write_planned, read_planned),
    _row(ProvidersAsked, A.REQUEST, "providers_asked", write_asked, read_asked),
    _plain(
        CandidateChosen,
        A.REQUEST,
        "candidate_chosen",
        "component",
        "contract_id",
        "provider_id",
        "flavour_id",
        "considered",
        "reason",
    ),
    _row(CandidateRefused, A.REQUEST, "candidate_refused", write_candidate_refused, read_candidate_refused),
    _plain(PurchaseDecided, A.REQUEST, "purchase_decided"),
    _plain(ComponentReady, A.REQUEST, "component_ready", "component"),
    _plain(ComponentEnded, A.REQUEST, "component_ended", "component", "reason"),
    _plain(RequestReady, A.REQUEST, "request_ready"),
    _plain(RequestFailed, A.REQUEST, "request_failed", "reason", "message"),
    _plain(RequestCancelled, A.REQUEST, "request_cancelled", "actor", "reason", "fingerprint"),
    _plain(RequestCompleted, A.REQUEST, "request_completed"),
    _plain(OperationDeleted, A.REQUEST, "operation_deleted"),
    _row(LinkRequested, A.PURCHASE, "link_requested", write_requested, read_requested),
    _row(LinkObserved, A.PURCHASE, "link_observed", write_observed, read_observed),
    _row(LinkUndone, A.PURCHASE, "link_undone", write_undone, read_undone),
)
"""Every class of event, once."""

UPCASTS: Final[Mapping[tuple[str, int], Callable[[envelope_pb2.Envelope], None]]] = {}
"""By body and schema version: what brings an envelope of that version to the next one, in place.

An event written once is readable for ever: a change that a reader of the new schema would misunderstand
raises the row's `schema` and puts an entry here.
"""
