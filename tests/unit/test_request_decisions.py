"""What callers decide of service requests, and the operations that stand for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.rpc import code_pb2

from rear.domain import request_decisions as decisions
from rear.domain.demand import Demand
from rear.domain.event import Cause
from rear.domain.intent import Component, Intent, Workload
from rear.domain.quantities import Quantities
from rear.domain.refusals import OperationNotFound, RequestIdReused
from rear.domain.request_events import RequestFailed, RequestReady
from rear.domain.service_request import REQUEST_LIFECYCLE, RequestState, RequestTrigger, ServiceRequest, evolve
from rear.domain.window import SECOND, Instant
from rear.v1.service_request_pb2 import ServiceRequest as ServiceRequestMessage
from rear.wire.operations import operation_to_proto
from rear.wire.service_requests import service_request_to_proto

NOW = Instant(1_800_000_000 * SECOND)
ALICE = "spiffe://local.test/buyer/alice"
CAUSE = Cause(NOW, NOW, ALICE, "r-1")
INTENT = Intent("shop", (Component("web", Demand(Quantities({"pods": 1})), Workload(("serve",))),))
ACCEPTED = evolve(None, decisions.accept("id-1", INTENT, b"body", CAUSE))


def cancelled(request: ServiceRequest, request_id: str = "c-1", fingerprint: bytes = b"cancel") -> ServiceRequest:
    event = decisions.cancel(request, ALICE, "no more", fingerprint, replace(CAUSE, request_id=request_id))
    return request if event is None else evolve(request, event)


def ready(request: ServiceRequest) -> ServiceRequest:
    runs = tuple(replace(run, ready=True) for run in request.components)
    return replace(evolve(request, RequestReady(request.id, request.version + 1, CAUSE)), components=runs)


def operation(request: ServiceRequest) -> tuple[bool, str | None, int]:
    """Whether it is done, with what, and the code of its error."""
    found = operation_to_proto(request, service_request_to_proto(request, lambda _: None, lambda _: None))
    return found.done, found.WhichOneof("result"), found.error.code


def test_a_retry_is_the_same_request_and_another_body_is_refused() -> None:
    decisions.check_same_intent(ACCEPTED, b"body", "r-1")
    with pytest.raises(RequestIdReused, match="r-1"):
        decisions.check_same_intent(ACCEPTED, b"other", "r-1")


@pytest.mark.parametrize("state", RequestState)
def test_cancelling_ends_what_lives_and_leaves_what_has_ended(state: RequestState) -> None:
    after = cancelled(replace(ACCEPTED, state=state))

    assert after.state is REQUEST_LIFECYCLE.get((state, RequestTrigger.CANCEL), state)


def test_the_same_cancellation_is_done_once_and_in_other_words_it_is_refused() -> None:
    once = cancelled(ACCEPTED)

    assert cancelled(once) is once
    assert cancelled(once, "c-2", b"other") is once
    with pytest.raises(RequestIdReused, match="c-1"):
        cancelled(once, "c-1", b"other")


def test_a_cancellation_without_an_id_is_never_taken_for_another() -> None:
    once = cancelled(ACCEPTED, "", b"")

    assert cancelled(once, "", b"other") is once


@pytest.mark.parametrize("request_", [ready(ACCEPTED), cancelled(ACCEPTED), cancelled(ready(ACCEPTED))])
def test_an_operation_that_is_done_is_not_cancelled(request_: ServiceRequest) -> None:
    assert decisions.cancel_operation(request_, ALICE, CAUSE) is None


def test_an_operation_that_is_not_done_is_cancelled_unless_it_was_deleted() -> None:
    event = decisions.cancel_operation(ACCEPTED, ALICE, CAUSE)

    assert event is not None
    assert operation(evolve(ACCEPTED, event)) == (True, "error", code_pb2.CANCELLED)
    with pytest.raises(OperationNotFound):
        decisions.cancel_operation(replace(ACCEPTED, operation_deleted=True), ALICE, CAUSE)


def test_an_operation_is_deleted_once_and_its_request_goes_on() -> None:
    deleted = evolve(ACCEPTED, decisions.delete_operation(ACCEPTED, CAUSE))

    assert deleted.live
    with pytest.raises(OperationNotFound):
        decisions.delete_operation(deleted, CAUSE)
    with pytest.raises(OperationNotFound):
        decisions.check_operation(deleted)


def test_an_operation_is_done_when_the_outcome_is_known() -> None:
    failed = evolve(ACCEPTED, RequestFailed("id-1", 2, CAUSE, "NOTHING_FITS", "nobody has it"))

    assert operation(ACCEPTED) == (False, None, code_pb2.OK)
    assert operation(ready(ACCEPTED)) == (True, "response", code_pb2.OK)
    assert operation(failed) == (True, "error", code_pb2.RESOURCE_EXHAUSTED)
    assert operation(cancelled(ACCEPTED)) == (True, "error", code_pb2.CANCELLED)


def test_what_becomes_of_a_request_that_was_ready_does_not_undo_its_operation() -> None:
    assert operation(cancelled(ready(ACCEPTED))) == (True, "response", code_pb2.OK)


def test_an_operation_has_its_service_request_as_metadata_and_response() -> None:
    shown = service_request_to_proto(ready(ACCEPTED), lambda _: None, lambda _: None)
    found = operation_to_proto(ready(ACCEPTED), shown)

    metadata, response = ServiceRequestMessage(), ServiceRequestMessage()
    assert found.metadata.Unpack(metadata)
    assert found.response.Unpack(response)
    assert metadata == response == shown
    assert found.name == "operations/id-1"
