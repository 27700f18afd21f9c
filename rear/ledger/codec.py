"""Domain events as messages of the ledger, and back. Any language can read them: `rear.event.v1.Envelope`."""

from __future__ import annotations

from re import compile as pattern
from typing import Final

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from google.protobuf.message import DecodeError

from rear.domain.events import AnyEvent, Cause
from rear.domain.value import value
from rear.event.v1.envelope_pb2 import Envelope
from rear.ledger.bodies import ROWS, UPCASTS, Row
from rear.ledger.errors import LedgerError
from rear.ledger.sources import Ids
from rear.wire.values import read_instant, write_instant

BY_CLASS: Final = {row.event: row for row in ROWS}
BY_BODY: Final = {row.body: row for row in ROWS}

_TOKENS: Final = {row.event: row.aggregate.value for row in ROWS}
_fits_in_subject: Final = pattern(r"[!-)+\-/-=?-~]+").fullmatch
"""Printable ASCII without the dot and the wildcards of a NATS subject."""


class UndecodableEvent(LedgerError):
    """A message of the ledger that this version cannot read. It says what the operator can do."""


@value
class DecodedEvent:
    """An event with what its envelope says besides: its own id, the service that wrote it, its subject."""

    event: AnyEvent
    event_id: str
    source: str
    subject: str


def subject_of(service: str, event: AnyEvent) -> str:
    """The subject of the event's aggregate. Raises ValueError like `subject_for`."""
    return subject_for(service, _TOKENS[type(event)], event.originator_id)


def subject_for(service: str, token: str, aggregate_id: str) -> str:
    """`rear.log.<service>.<aggregate type>.<aggregate id>`: one literal subject for each aggregate.

    `token` is the value of an AggregateType. Raises ValueError for an id that cannot be one token of a subject.
    """
    if not _fits_in_subject(aggregate_id):
        raise ValueError(f"an aggregate's id must be printable without '.', '*' and '>': {aggregate_id!r}")
    return f"rear.log.{service}.{token}.{aggregate_id}"


def encode(event: AnyEvent, *, event_id: str, source: str, subject: str) -> bytes:
    """The payload of the event's message. Equal arguments give equal bytes.

    `event_id` is the event's own UUID, `source` the identity of the service that writes it, and `subject`
    what `subject_of` gave for it. Raises ValueError for a number beyond 64 bits.
    """
    row = BY_CLASS[type(event)]
    cause = event.cause
    envelope = Envelope()
    envelope.id = event_id
    envelope.source = source
    envelope.subject = subject
    write_instant(envelope.time, cause.at)
    write_instant(envelope.recorded_time, cause.recorded_at)
    envelope.aggregate_version = event.originator_version
    envelope.schema_version = row.schema
    envelope.caller = cause.caller
    envelope.request_id = cause.request_id
    body = getattr(envelope, row.body)
    body.SetInParent()  # also where all that is written is empty
    row.write(body, event)
    return envelope.SerializeToString(deterministic=True)


def decode(payload: bytes) -> DecodedEvent:
    """The event in a message's payload. Raises UndecodableEvent for one that this version cannot read."""
    envelope, row = parse(payload)
    cause = Cause(
        read_instant(envelope.time),
        read_instant(envelope.recorded_time),
        envelope.caller,
        envelope.request_id,
    )
    subject = envelope.subject
    originator_id = subject[subject.rfind(".") + 1 :]
    try:
        event = row.read(getattr(envelope, row.body), originator_id, envelope.aggregate_version, cause)
    except KeyError as unknown:
        raise _newer(envelope, f"has a value in {row.body} that this version does not know: {unknown}") from None
    return DecodedEvent(event, envelope.id, envelope.source, subject)


def parse(payload: bytes) -> tuple[Envelope, Row]:
    """The envelope in a message's payload, brought to today's schema, and the row that reads its body.

    Raises UndecodableEvent for one that this version cannot read.
    """
    try:
        envelope = Envelope.FromString(payload)
    except DecodeError as error:
        raise UndecodableEvent(
            f"a message of {len(payload)} bytes is not an event: {error}. Something else wrote it, or it was "
            "damaged: check the ledger with `rear ledger verify`"
        ) from error
    return envelope, _row_of(envelope)


class LedgerMapper(Mapper[str]):
    """The `eventsourcing` library's view of the same messages: a stored event's state is a message's payload.

    There is no cipher and no compressor: every language reads the ledger.
    """

    def __init__(self, service: str, source: str, ids: Ids) -> None:
        super().__init__(JSONTranscoder())  # unused, but the base class wants one
        self._service = service
        self._source = source
        self._ids = ids

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """The event's message; its topic is the event's type."""
        event: AnyEvent = domain_event  # type: ignore[assignment]
        subject = subject_of(self._service, event)
        state = encode(event, event_id=self._ids.new(), source=self._source, subject=subject)
        return StoredEvent(event.originator_id, event.originator_version, type(event).__name__, state)

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """The event in a stored message. Raises UndecodableEvent for one that this version cannot read."""
        return decode(stored_event.state).event


def _row_of(envelope: Envelope) -> Row:
    """The row that reads the envelope, once it is brought to the row's schema."""
    body = envelope.WhichOneof("body")
    if body is None:
        raise _newer(envelope, "has a body that this version does not know")
    row = BY_BODY[body]
    if envelope.schema_version != row.schema:
        _upcast(envelope, row)
    return row


def _upcast(envelope: Envelope, row: Row) -> None:
    written = envelope.schema_version
    if not 1 <= written <= row.schema:
        raise _newer(envelope, f"is a {row.body} of schema {written}; this version reads 1 to {row.schema}")
    for version in range(written, row.schema):
        UPCASTS[row.body, version](envelope)


def _newer(envelope: Envelope, what: str) -> UndecodableEvent:
    return UndecodableEvent(
        f"event {envelope.id!r} on {envelope.subject!r} {what}. A newer version of this software wrote it: "
        "start that version, or a later one"
    )
