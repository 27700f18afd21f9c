"""Events as messages: every class, both ways, and what was written once stays readable."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from rear.domain.events import AggregateType, AnyEvent, ContractExpired, Event, LedgerOpened, PoolReserved
from rear.event.v1.envelope_pb2 import Envelope
from rear.ledger import codec
from rear.ledger.bodies import ROWS, Row
from rear.ledger.codec import LedgerMapper, UndecodableEvent, decode, encode, subject_of
from rear.ledger.errors import LedgerError
from tests.examples import EVENTS as EXAMPLES
from tests.examples import SOURCE, expired
from tests.strategies import EVENTS as STRATEGIES
from tests.strategies import events

EVENT_ID = "0b8d9c1e-8f0f-4f53-8d3e-0d6d3b1f5a77"
GOLDEN = Path(__file__).with_name("golden_events.txt")


def payload(event: AnyEvent) -> bytes:
    return encode(event, event_id=EVENT_ID, source=SOURCE, subject=subject_of("n1", event))


def golden() -> dict[str, bytes]:
    lines = [line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    return {name: bytes.fromhex(digits) for name, digits in lines}


def test_every_event_class_has_one_row() -> None:
    assert sorted(row.event.__name__ for row in ROWS) == sorted(each.__name__ for each in get_args(AnyEvent))


def test_every_body_of_the_envelope_has_one_row() -> None:
    bodies = [field.name for field in Envelope.DESCRIPTOR.oneofs_by_name["body"].fields]
    assert sorted(row.body for row in ROWS) == sorted(bodies)


def test_every_event_class_has_a_strategy_an_example_and_golden_bytes() -> None:
    names = {row.event.__name__ for row in ROWS}
    assert {each.__name__ for each in STRATEGIES} == names
    assert {type(example).__name__ for example in EXAMPLES} == names
    assert set(golden()) == names


@pytest.mark.parametrize("event_class", STRATEGIES, ids=lambda each: each.__name__)
@given(data=st.data())
def test_an_event_comes_back_as_it_was(event_class: type[Event], data: st.DataObject) -> None:
    event = data.draw(STRATEGIES[event_class])
    subject = subject_of("n1", event)

    decoded = decode(encode(event, event_id=EVENT_ID, source=SOURCE, subject=subject))

    assert decoded.event == event
    assert (decoded.event_id, decoded.source, decoded.subject) == (EVENT_ID, SOURCE, subject)


@given(event=events)
def test_equal_events_give_equal_bytes(event: AnyEvent) -> None:
    assert payload(decode(payload(event)).event) == payload(event)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_what_was_written_once_is_readable_for_ever(example: AnyEvent) -> None:
    """Such bytes may lie in a ledger: never change them. A new schema gets lines and upcasts of its own."""
    written = golden()[type(example).__name__]

    assert decode(written).event == example
    assert payload(example) == written


def test_the_envelope_says_what_any_reader_needs() -> None:
    event = next(example for example in EXAMPLES if isinstance(example, PoolReserved))

    envelope = Envelope.FromString(payload(event))

    assert envelope.id == EVENT_ID
    assert envelope.source == SOURCE
    assert envelope.subject == f"rear.log.n1.pool.{event.originator_id}"
    assert envelope.time.ToNanoseconds() == event.cause.at
    assert envelope.recorded_time.ToNanoseconds() == event.cause.recorded_at
    assert envelope.aggregate_version == event.originator_version
    assert envelope.schema_version == 1
    assert (envelope.caller, envelope.request_id) == (event.cause.caller, event.cause.request_id)
    assert event.offer is not None
    assert envelope.pool_reserved.retired_flavour_id == event.offer.parent_id


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_the_retired_flavour_is_the_parent_of_the_new_one(example: AnyEvent) -> None:
    envelope = Envelope.FromString(payload(example))
    body = getattr(envelope, envelope.WhichOneof("body") or "")
    offer = getattr(example, "offer", None)
    if offer is not None and "retired_flavour_id" in body.DESCRIPTOR.fields_by_name:
        assert body.retired_flavour_id == offer.parent_id


@pytest.mark.parametrize("aggregate", AggregateType)
def test_subjects_name_the_type_of_the_aggregate(aggregate: AggregateType) -> None:
    for example in EXAMPLES:
        if next(row for row in ROWS if row.event is type(example)).aggregate is aggregate:
            assert subject_of("n1", example) == f"rear.log.n1.{aggregate.value}.{example.originator_id}"


@pytest.mark.parametrize("bad", ["", "a.b", "a*", ">", "a b", "a\tb", "a\n", "ü", "\x7f"])
def test_an_id_that_is_no_token_of_a_subject_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="aggregate's id"):
        subject_of("n1", expired(bad))


def test_a_body_from_a_newer_version_is_refused_by_name() -> None:
    newer = Envelope(id=EVENT_ID, schema_version=1).SerializeToString() + b"\x9a\x3f\x00"  # field 1011, empty

    with pytest.raises(UndecodableEvent, match=rf"{EVENT_ID}.*has a body.*newer version") as refused:
        decode(newer)

    assert isinstance(refused.value, LedgerError)


@pytest.mark.parametrize("schema", [-1, 0, 2])
def test_another_schema_is_refused_by_name(schema: int) -> None:
    envelope = Envelope.FromString(payload(expired("c1")))
    envelope.schema_version = schema

    with pytest.raises(UndecodableEvent, match=f"{EVENT_ID}.*contract_expired of schema {schema}"):
        decode(envelope.SerializeToString())


def test_a_number_from_a_newer_version_is_refused_by_name() -> None:
    reserved = next(example for example in EXAMPLES if isinstance(example, PoolReserved))
    envelope = Envelope.FromString(payload(reserved))
    envelope.pool_reserved.hold.kind = 99  # type: ignore[assignment]

    with pytest.raises(UndecodableEvent, match=f"{EVENT_ID}.*value in pool_reserved.*99"):
        decode(envelope.SerializeToString())


def test_what_is_no_event_at_all_is_refused() -> None:
    with pytest.raises(UndecodableEvent, match="not an event"):
        decode(b"\xff\xff\xff")


def test_an_older_schema_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    row = codec.BY_BODY["contract_expired"]
    third = Row(row.event, row.aggregate, row.body, row.write, row.read, schema=3)

    def add(letter: str) -> object:
        def upcast(envelope: Envelope) -> None:
            envelope.contract_expired.reason += letter

        return upcast

    monkeypatch.setitem(codec.BY_BODY, "contract_expired", third)
    monkeypatch.setattr(codec, "UPCASTS", {("contract_expired", 1): add("a"), ("contract_expired", 2): add("b")})

    event = decode(payload(expired("c1", reason="late, "))).event

    assert isinstance(event, ContractExpired)
    assert event.reason == "late, ab"


class CountingIds:
    def __init__(self) -> None:
        self.count = 0

    def new(self) -> str:
        self.count += 1
        return f"event-{self.count}"


@given(event=events)
def test_the_library_reads_and_writes_the_same_messages(event: AnyEvent) -> None:
    mapper = LedgerMapper("n1", SOURCE, CountingIds())

    stored = mapper.to_stored_event(event)

    state = encode(event, event_id="event-1", source=SOURCE, subject=subject_of("n1", event))
    topic = type(event).__name__
    assert stored == StoredEvent(event.originator_id, event.originator_version, topic, state)
    assert mapper.to_domain_event(stored) == event


def test_a_number_beyond_64_bits_is_refused_when_it_is_written() -> None:
    opened = next(example for example in EXAMPLES if isinstance(example, LedgerOpened))

    with pytest.raises(ValueError, match="out of range"):
        payload(LedgerOpened(opened.originator_id, 2**63, opened.cause, opened.log_id))
