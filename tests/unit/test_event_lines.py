"""`rear events` has a line for every kind of event."""

from __future__ import annotations

import pytest

from rear.command.events import event_line
from rear.domain.events import AnyEvent
from rear.ledger.chain import GENESIS
from rear.ledger.commit import Identity
from rear.ledger.sealing import seal
from rear.ledger.sources import RandomIds
from rear.v1 import audit_service_pb2
from tests.examples import EVENTS

WITHOUT_MORE = {
    *("ContractPurchased", "ContractActivated", "AllocationActivated"),
    *("PurchaseDecided", "RequestReady", "RequestCompleted", "OperationDeleted"),
}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_line_says_what_matters_of_an_event(event: AnyEvent) -> None:
    name = type(event).__name__
    sealed = seal(event, Identity("n1", "spiffe://a/b"), RandomIds(), GENESIS)
    recorded = audit_service_pb2.RecordedEvent(
        sequence=7, event_type=name, subject=sealed.subject, payload=sealed.payload
    )
    line = event_line(recorded)
    sequence, _, kind, about, *more = line.split(maxsplit=4)
    assert (sequence, kind, about) == ("7", name, event.originator_id)
    assert bool(more) == (name not in WITHOUT_MORE), line
