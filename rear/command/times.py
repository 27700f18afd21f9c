"""Durations, instants and windows, as they are typed and as they are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from rear.amounts import NOW, TIMES, instant
from rear.documents import TextError
from rear.domain.window import MILLISECOND, SECOND, AskedWindow, Duration, Instant


def show_duration(duration: int) -> str:
    """A duration as `rear.amounts.duration` reads it, in at most two units unless that would lose something."""
    if duration == 0:
        return "0s"
    if duration < 0:
        return f"-{show_duration(-duration)}"
    parts = []
    for unit in TIMES:
        count, duration = divmod(duration, TIMES[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def show_roughly(duration: int) -> str:
    """A duration for people: its two largest units, the rest cut off."""
    parts = re.findall(r"[0-9]+[a-z]+", show_duration(abs(duration)))
    return ("-" if duration < 0 else "") + "".join(parts[:2])


def show_instant(instant: Instant) -> str:
    """An instant as ISO 8601 in UTC, with as many digits of the second as it has."""
    seconds, nanos = divmod(instant, SECOND)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{instant} ns"
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    if nanos:
        text += "." + f"{nanos:09d}".rstrip("0")
    return text + "Z"


def show_moment(instant: Instant) -> str:
    """An instant for people: to the millisecond, cut off."""
    return show_instant(Instant(instant - instant % MILLISECOND))


def ask_window(start: str | None, until: str | None, length: Duration | None, now: Instant) -> AskedWindow:
    """The window of the flags --start, --until and --for. Raises TextError.

    A start of `now` is left to the provider, whose clock decides.
    """
    if until is not None and length is not None:
        raise TextError("give --until or --for, not both")
    begins = None if start in (None, NOW) or start is None else instant(start, now)
    return AskedWindow(begins, None if until is None else instant(until, now), length)
