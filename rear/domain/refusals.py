"""Refusals: why a request is not granted. A refusal changes nothing.

`reason` is the stable name from `rear.v1.ErrorReason`; `metadata` holds facts for programs. One place
(`rear.rpc.errors`) maps these classes to gRPC status codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from rear.domain.window import SECOND, Duration

if TYPE_CHECKING:
    from rear.domain.counter_offer import CounterOffer


class Refusal(Exception):
    """A request that is not granted."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidField(Refusal):
    """A field of the request is wrong. `field` is its path, such as `partition.quantities.cpu_millicores`."""

    reason = "INVALID_FIELD"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", {"field": field})
        self.field = field
        self.description = description


class FlavourNotFound(Refusal):
    """No such flavour, or it was retired."""

    reason = "FLAVOUR_NOT_FOUND"


class FlavourChanged(Refusal):
    """The pool's terms have changed since the flavour was advertised."""

    reason = "FLAVOUR_CHANGED"


class CapacityExceeded(Refusal):
    """It does not fit; the counter-offer says what would."""

    reason = "CAPACITY_EXCEEDED"

    def __init__(self, message: str, counter_offer: CounterOffer | None = None) -> None:
        super().__init__(message)
        self.counter_offer = counter_offer


class ContractNotFound(Refusal):
    """No such contract that the caller may see."""

    reason = "CONTRACT_NOT_FOUND"


class ServiceRequestNotFound(Refusal):
    """No such service request that the caller may see."""

    reason = "SERVICE_REQUEST_NOT_FOUND"


class OperationNotFound(Refusal):
    """No such operation that the caller may see: there never was, or it was deleted."""

    reason = "OPERATION_NOT_FOUND"


class WrongState(Refusal):
    """The contract's state does not allow it."""

    reason = "WRONG_STATE"


class TtpPassed(Refusal):
    """The time to purchase has passed."""

    reason = "TTP_PASSED"


class RevisionMismatch(Refusal):
    """The contract has another revision than the buyer says."""

    reason = "REVISION_MISMATCH"


class RequestIdReused(Refusal):
    """The request id was used with another body."""

    reason = "REQUEST_ID_REUSED"


class PriceAboveMaximum(Refusal):
    """The price is above the buyer's maximum."""

    reason = "PRICE_ABOVE_MAXIMUM"


class WrongProvider(Refusal):
    """The request is meant for another provider."""

    reason = "WRONG_PROVIDER"


class NotServed(Refusal):
    """Known to the protocol, not served by this service. `field` is the path of what asks for it."""

    reason = "NOT_SERVED"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", {"field": field})
        self.field = field
        self.description = description


class NotAuthenticated(Refusal):
    """The caller has no identity here."""

    reason = "NOT_AUTHENTICATED"


class PermissionDenied(Refusal):
    """The caller is known, and may not do this."""

    reason = "PERMISSION_DENIED"


class TooManyWatches(Refusal):
    """The caller watches as much as one caller may."""

    reason = "TOO_MANY_WATCHES"


class RefusedElsewhere(Refusal):
    """Another service said no for a reason that is not known here; it is in the metadata, under `reason`."""

    reason = "REFUSED_ELSEWHERE"


class TryAgain(Refusal):
    """Not now. Nothing was changed; the same request may be sent again after `retry_after`.

    `because` is for the service's own log: callers get the message only.
    """

    reason = "LEDGER_UNAVAILABLE"

    def __init__(
        self,
        message: str,
        retry_after: Duration,
        metadata: Mapping[str, str] | None = None,
        *,
        because: str = "",
    ) -> None:
        super().__init__(message, metadata)
        self.retry_after = retry_after
        self.because = because

    def __str__(self) -> str:
        return f"{self.message}: {self.because}" if self.because else self.message


class ClearingOverdue(TryAgain):
    """Overdue reservations of the pool are being cleared."""

    reason = "CLEARING_OVERDUE"


class FabricNotReady(TryAgain):
    """The fabric cannot offer the resources of a contract just now."""

    reason = "FABRIC_NOT_READY"


class NotReady(TryAgain):
    """The service is starting or shutting down."""

    reason = "NOT_READY"


NOT_WRITER_PAUSE: Final = Duration(SECOND // 10)
"""After this the writer may be asked, or this service again: it may have taken over meanwhile."""


class NotWriter(TryAgain):
    """Another process writes the ledger: nothing was changed here. `endpoint` is where, empty where nobody knows."""

    reason = "NOT_WRITER"

    def __init__(self, endpoint: str, *, because: str = "") -> None:
        who = f"the one at {endpoint} does" if endpoint else "which one does is not known yet"
        super().__init__(
            f"this process does not write the ledger; {who}",
            NOT_WRITER_PAUSE,
            {"endpoint": endpoint} if endpoint else None,
            because=because,
        )


class OutcomePending(TryAgain):
    """The deadline came while the outcome was open. The same request gives the outcome."""

    reason = "OUTCOME_PENDING"
