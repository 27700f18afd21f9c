"""Where time and ids come from, so that decisions and tests can be given their own."""

from __future__ import annotations

import itertools
import os
import time
from typing import Protocol

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
    """UUIDs of version 8 (RFC 9562): 74 random bits that no other run has, and a count."""

    def __init__(self) -> None:
        digits = os.urandom(10).hex()
        variant = "89ab"[int(digits[16], 16) & 3]
        self._beginning = f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-"
        self._count = itertools.count()

    def new(self) -> str:
        """A new one."""
        return f"{self._beginning}{next(self._count):012x}"
