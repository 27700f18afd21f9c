"""Instants, durations and half-open windows, as exact whole nanoseconds."""

from __future__ import annotations

from typing import Final, NewType

from rear.domain.value import value

Instant = NewType("Instant", int)
"""Nanoseconds since the Unix epoch (UTC)."""

Duration = NewType("Duration", int)
"""A length of time in nanoseconds."""

MICROSECOND: Final = Duration(1_000)
MILLISECOND: Final = Duration(1_000_000)
SECOND: Final = Duration(1_000_000_000)
MINUTE: Final = Duration(60 * SECOND)
HOUR: Final = Duration(60 * MINUTE)
DAY: Final = Duration(24 * HOUR)

BEGINNING: Final = Instant(0)
FOREVER: Final = Instant(253_402_300_799 * SECOND)
"""The last whole second that a `google.protobuf.Timestamp` can hold (year 9999)."""


def after(instant: Instant, duration: int) -> Instant:
    """The instant `duration` nanoseconds later, no later than `FOREVER`."""
    return Instant(min(instant + duration, FOREVER))


@value
class Window:
    """A half-open stretch of time [start, end). Back-to-back windows do not overlap."""

    start: Instant
    end: Instant

    @property
    def duration(self) -> Duration:
        """The window's length in nanoseconds."""
        return Duration(self.end - self.start)

    def contains(self, instant: Instant) -> bool:
        """Whether `instant` lies in [start, end)."""
        return self.start <= instant < self.end


@value
class AskedWindow:
    """A window as a buyer gives it: no start means now; neither an end nor a duration means the default lease."""

    start: Instant | None = None
    end: Instant | None = None
    duration: Duration | None = None
