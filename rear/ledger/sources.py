"""Where time and ids come from, so that decisions and tests can be given their own."""

from __future__ import annotations

import time
from typing import Protocol
from uuid import uuid4

from rear.domain.window import Instant


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """Nanoseconds since the Unix epoch."""
        ...


class Ids(Protocol):
    """Gives out ids that nobody else has."""

    def new(self) -> str:
        """A new UUID in its usual text form."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> Instant:
        """Nanoseconds since the Unix epoch."""
        return Instant(time.time_ns())


class RandomIds:
    """Random UUIDs."""

    def new(self) -> str:
        """A new UUIDv4."""
        return str(uuid4())
