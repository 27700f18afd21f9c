"""What callers decide of service requests: that there is one, that it ends, and that its operation may go."""

from __future__ import annotations

from typing import Final

from rear.domain.event import Cause
from rear.domain.intent import Intent
from rear.domain.refusals import OperationNotFound, RequestIdReused
from rear.domain.request_events import IntentAccepted, OperationDeleted, RequestCancelled
from rear.domain.service_request import RequestState, ServiceRequest
from rear.domain.value import value

OPERATIONS: Final = "operations/"
"""What the name of an operation begins with; the service request's id follows."""


@value
class RequestFilter:
    """Which service requests are asked for: those of one caller (None: of all), in any of these states (none: in all).

    With `with_operation` only those whose operation was not deleted.
    """

    submitted_by: str | None = None
    states: frozenset[RequestState] = frozenset()
    with_operation: bool = False


def operation_name(request_id: str) -> str:
    """The name of a service request's operation."""
    return f"{OPERATIONS}{request_id}"


def accept(key: str, intent: Intent, fingerprint: bytes, cause: Cause) -> IntentAccepted:
    """Takes an intent for which there is no service request yet (step 3)."""
    return IntentAccepted(key, 1, cause, intent, fingerprint)


def check_same_intent(known: ServiceRequest, fingerprint: bytes, request_id: str) -> None:
    """Raises RequestIdReused where a request with a known id has another body."""
    if known.fingerprint != fingerprint:
        raise _reused(known, request_id, "with another intent")


def cancel(
    request: ServiceRequest, actor: str, reason: str, fingerprint: bytes, cause: Cause
) -> RequestCancelled | None:
    """Ends a service request; None where it has ended already, or this very request has ended it.

    Raises RequestIdReused where another cancellation had this id.
    """
    before = request.cancelled_by
    if before is not None and cause.request_id and before.request_id == cause.request_id:
        if before.fingerprint != fingerprint:
            raise _reused(request, cause.request_id, "to cancel it in other words")
        return None
    if not request.live:
        return None
    return RequestCancelled(request.id, request.version + 1, cause, actor, reason, fingerprint)


def cancel_operation(request: ServiceRequest, actor: str, cause: Cause) -> RequestCancelled | None:
    """Ends what an operation does; None where it is done. Raises OperationNotFound.

    One that has just succeeded is not undone: its caller could not know of that, and is told so by the operation.
    """
    check_operation(request)
    return None if was_ready(request) else cancel(request, actor, "", b"", cause)


def delete_operation(request: ServiceRequest, cause: Cause) -> OperationDeleted:
    """Forgets the operation, and leaves the service request as it is. Raises OperationNotFound."""
    check_operation(request)
    return OperationDeleted(request.id, request.version + 1, cause)


def check_operation(request: ServiceRequest) -> None:
    """Raises OperationNotFound where the operation was deleted."""
    if request.operation_deleted:
        raise no_operation(operation_name(request.id))


def no_operation(name: str) -> OperationNotFound:
    """There is no such operation, or none that the caller may see."""
    return OperationNotFound(f"there is no operation {name}", {"name": name})


def was_ready(request: ServiceRequest) -> bool:
    """Whether every component has been active at once. What becomes of it later does not undo the operation."""
    return request.state in (RequestState.READY, RequestState.COMPLETED) or all(run.ready for run in request.components)


def _reused(request: ServiceRequest, request_id: str, how: str) -> RequestIdReused:
    return RequestIdReused(
        f"request_id {request_id!r} was used before, {how}; take a new one for a new attempt",
        {"request_id": request_id, "service_request_id": request.id},
    )
