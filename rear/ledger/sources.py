"""Where time and ids come from, so that decisions and tests can be given their own."""

from __future__ import annotations

import os
import time
from typing import Final, Protocol

from rear.domain.window import Instant

IDS_IN_BLOCK: Final = 256


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
    """Random UUIDs (version 4), from the system's randomness, fetched for many of them at a time."""

    def __init__(self) -> None:
        self._block = ""
        self._next = 0

    def new(self) -> str:
        """A new one."""
        if self._next == len(self._block):
            self._block, self._next = os.urandom(16 * IDS_IN_BLOCK).hex(), 0
        text = self._block[self._next : self._next + 32]
        self._next += 32
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"
