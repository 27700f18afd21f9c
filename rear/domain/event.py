"""What every domain event has: the aggregate that it changes, and its cause."""

from __future__ import annotations

from enum import Enum

from rear.domain.value import value
from rear.domain.window import Instant


class AggregateType(Enum):
    """The kinds of aggregate in a ledger; the value is the subject's token."""

    POOL = "pool"
    CONTRACT = "contract"
    ALLOCATION = "allocation"
    REQUEST = "request"
    SERVICE = "service"
    PURCHASE = "purchase"


@value
class Cause:
    """When something took effect, when it was decided, and who asked for it (empty: time or the service)."""

    at: Instant
    recorded_at: Instant
    caller: str = ""
    request_id: str = ""


@value
class Event:
    """One change of one aggregate. `originator_version` is the version that it makes, from 1."""

    originator_id: str
    originator_version: int
    cause: Cause
