"""The one place that maps refusals to gRPC status codes and typed details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from rear.domain.refusals import (
    CapacityExceeded,
    ContractNotFound,
    FlavourChanged,
    FlavourNotFound,
    InvalidField,
    NotAuthenticated,
    NotServed,
    OperationNotFound,
    PermissionDenied,
    PriceAboveMaximum,
    Refusal,
    RequestIdReused,
    RevisionMismatch,
    ServiceRequestNotFound,
    TooManyWatches,
    TryAgain,
    TtpPassed,
    WrongProvider,
    WrongState,
)
from rear.rpc.refused import DETAILS_KEY
from rear.wire.contracts import counter_offer_to_proto
from rear.wire.statuses import DOMAIN, status_with_reason
from rear.wire.values import write_duration

MOST_DETAIL_BYTES: Final = 4_000
"""Details travel in trailers: beyond 8 KiB clients lose them."""

LONGEST_MESSAGE: Final = 500
"""Bytes of a message in UTF-8. It travels twice, once with three bytes for each of those that are not ASCII."""

LONGEST_FACT: Final = 200
"""Bytes of a field's path, and of one entry of the metadata."""

STATUS_CODES: Final[Mapping[type[Refusal], grpc.StatusCode]] = {
    InvalidField: grpc.StatusCode.INVALID_ARGUMENT,
    FlavourNotFound: grpc.StatusCode.NOT_FOUND,
    FlavourChanged: grpc.StatusCode.FAILED_PRECONDITION,
    CapacityExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ContractNotFound: grpc.StatusCode.NOT_FOUND,
    ServiceRequestNotFound: grpc.StatusCode.NOT_FOUND,
    OperationNotFound: grpc.StatusCode.NOT_FOUND,
    WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    TtpPassed: grpc.StatusCode.FAILED_PRECONDITION,
    RevisionMismatch: grpc.StatusCode.ABORTED,
    RequestIdReused: grpc.StatusCode.ALREADY_EXISTS,
    PriceAboveMaximum: grpc.StatusCode.FAILED_PRECONDITION,
    WrongProvider: grpc.StatusCode.NOT_FOUND,
    NotServed: grpc.StatusCode.UNIMPLEMENTED,
    NotAuthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    TooManyWatches: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TryAgain: grpc.StatusCode.UNAVAILABLE,
}


def code_of(refusal: Refusal) -> grpc.StatusCode:
    """The status code of a refusal, by its class or the nearest one above it."""
    for cls in type(refusal).__mro__:
        if cls in STATUS_CODES:
            return STATUS_CODES[cls]
    return grpc.StatusCode.INTERNAL


def status_of(refusal: Refusal) -> status_pb2.Status:
    """The refusal as google.rpc.Status. What would make the details too long for a trailer is left out."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=cut_facts(refusal.metadata))
    ]
    if isinstance(refusal, InvalidField | NotServed):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=cut(refusal.field, LONGEST_FACT),
            description=cut(refusal.description, LONGEST_MESSAGE),
            reason=refusal.reason,
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(refusal, TryAgain):
        retry = error_details_pb2.RetryInfo()
        write_duration(retry.retry_delay, refusal.retry_after)
        details.append(retry)
    if isinstance(refusal, CapacityExceeded) and refusal.counter_offer is not None:
        details.append(counter_offer_to_proto(refusal.counter_offer))
    status = status_pb2.Status(code=code_of(refusal).value[0], message=cut(refusal.message, LONGEST_MESSAGE))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        if status.ByteSize() + packed.ByteSize() < MOST_DETAIL_BYTES:
            status.details.append(packed)
    return status


def internal(incident: str) -> status_pb2.Status:
    """The answer to a fault of ours: no trace of it but the incident's id, which the log has too."""
    message = f"a fault of the service; its log has incident {incident}"
    return status_with_reason(code_pb2.INTERNAL, message, "INTERNAL", {"incident": incident})


def cut(text: str, longest: int) -> str:
    """As much of the beginning of a text as takes up at most so many bytes."""
    return text.encode(errors="replace")[:longest].decode(errors="ignore")


def cut_facts(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata with each of its entries cut."""
    return {cut(key, LONGEST_FACT): cut(value, LONGEST_FACT) for key, value in metadata.items()}


def trailers(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries a status."""
    return ((DETAILS_KEY, status.SerializeToString()),)
