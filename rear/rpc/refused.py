"""How a call ends that is not answered with OK, as its caller sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from rear.domain.window import Duration
from rear.v1 import contract_pb2
from rear.wire.values import read_duration

DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailer that carries a google.rpc.Status."""

TRANSIENT: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)
"""The same request may be sent again after these; a service that stops ends its calls with CANCELLED."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of a request that is wrong, by its path."""

    field: str
    description: str


class CallFailed(Exception):
    """A call that was not answered with OK.

    `reason` is the stable name from `rear.v1.ErrorReason`, empty where the answer has none.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        counter_offer: contract_pb2.CounterOffer | None = None,
        retry_after: Duration | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations = violations
        self.counter_offer = counter_offer
        self.retry_after = retry_after

    def __str__(self) -> str:
        name = f"{self.code.name} {self.reason}".rstrip()
        return f"{name}: {self.message}" if self.message else name


class Refused(CallFailed):
    """The provider said no. Asking the same again gives the same answer, unless something else changes."""


class Unreachable(CallFailed):
    """No answer within the caller's patience. What a change that was sent has done is not known."""


class WrongService(Refused):
    """The service at the endpoint proved to be another than the one that was meant. Nothing was sent to it."""


class UntrueAnswer(Exception):
    """The provider answered with something that this request cannot have led to."""


def failure_of(error: grpc.aio.AioRpcError) -> Refused | Unreachable:
    """The failure that `error` stands for, with every detail that came with it.

    Details that cannot be read are passed over: the code and the message of the call still stand.
    """
    metadata: dict[str, str] = {}
    reason = ""
    violations: tuple[Violation, ...] = ()
    counter_offer: contract_pb2.CounterOffer | None = None
    retry_after: Duration | None = None
    for detail in _details(error.trailing_metadata()):
        match detail:
            case error_details_pb2.ErrorInfo():
                reason, metadata = detail.reason, dict(detail.metadata)
            case error_details_pb2.BadRequest():
                violations = tuple(
                    Violation(violation.field, violation.description) for violation in detail.field_violations
                )
            case error_details_pb2.RetryInfo():
                retry_after = read_duration(detail.retry_delay)
            case contract_pb2.CounterOffer():
                counter_offer = detail
    code = error.code()
    kind = Unreachable if code in TRANSIENT else Refused
    return kind(
        code,
        _plain(error.details() or ""),
        reason=reason,
        metadata=metadata,
        violations=violations,
        counter_offer=counter_offer,
        retry_after=retry_after,
    )


_NOT_CONNECTED: Final = re.compile(
    r"failed to connect to all addresses; last error: [A-Z_]+: \S+: (?:Failed to connect to remote host: )?(.*)",
    re.DOTALL,
)


def _plain(details: str) -> str:
    """gRPC's own words for a failed connection, without what says nothing to the user."""
    found = _NOT_CONNECTED.fullmatch(details)
    if found is None:
        return details
    why = found[1]
    return f"cannot connect: {'it does not speak gRPC' if why.startswith('Failed parsing HTTP/2') else why}"


Detail = (
    error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo | contract_pb2.CounterOffer
)

_DETAILS: Final[tuple[type[Detail], ...]] = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    contract_pb2.CounterOffer,
)


def _details(trailers: Iterable[tuple[str, str | bytes]] | None) -> list[Detail]:
    found: list[Detail] = []
    for key, value in trailers or ():
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            packed = status_pb2.Status.FromString(value).details
            for any_message in packed:
                for kind in _DETAILS:
                    if any_message.TypeName() == kind.DESCRIPTOR.full_name:
                        found.append(kind.FromString(any_message.value))
        except DecodeError:
            continue
    return found
