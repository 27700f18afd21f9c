"""Durations, instants and windows, as they are typed and as they are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from rear.domain.window import (
    DAY,
    FOREVER,
    HOUR,
    MICROSECOND,
    MILLISECOND,
    MINUTE,
    SECOND,
    AskedWindow,
    Duration,
    Instant,
)

_UNITS: Final[dict[str, int]] = {
    "ns": 1,
    "us": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
    "d": DAY,
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h|d)")
_FRACTION: Final = re.compile(r"(:[0-9][0-9])[.,]([0-9]+)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

NOW: Final = "now"


def parse_duration(text: str) -> Duration:
    """A duration such as `20ms`, `10m`, `1h30m` or `2d`, exact to the nanosecond. Raises ValueError."""
    total, end = Fraction(0), 0
    for part in _PART.finditer(text):
        if part.start() != end:
            break
        total += Fraction(part[1]) * _UNITS[part[2]]
        end = part.end()
    if not text or end != len(text):
        raise ValueError(f"{text!r} is no duration; write it like 20ms, 90s, 10m, 1h30m or 2d")
    if total.denominator != 1:
        raise ValueError(f"{text!r} is finer than a nanosecond")
    return Duration(int(total))


def show_duration(duration: int) -> str:
    """A duration as `parse_duration` reads it, in at most two units unless that would lose something."""
    if duration == 0:
        return "0s"
    if duration < 0:
        return f"-{show_duration(-duration)}"
    parts = []
    for unit in ("d", "h", "m", "s", "ms", "us", "ns"):
        count, duration = divmod(duration, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def show_roughly(duration: int) -> str:
    """A duration for people: its two largest units, the rest cut off."""
    parts = re.findall(r"[0-9]+[a-z]+", show_duration(abs(duration)))
    return ("-" if duration < 0 else "") + "".join(parts[:2])


def parse_instant(text: str, now: Instant) -> Instant:
    """An instant: `now`, a duration from now such as `+2h`, or ISO 8601. Raises ValueError.

    ISO 8601 without an offset is local time; fractions of a second are exact to the nanosecond.
    """
    if text == NOW:
        return now
    instant = now + parse_duration(text[1:]) if text.startswith("+") else _iso(text)
    if not 0 <= instant <= FOREVER:
        raise ValueError(f"{text!r} is outside the years 1970 to 9999")
    return Instant(instant)


def _iso(text: str) -> int:
    fraction = _FRACTION.search(text)
    nanos = 0
    whole = text
    if fraction is not None:
        if len(fraction[2]) > 9:
            raise ValueError(f"{text!r} is finer than a nanosecond")
        nanos = int(fraction[2].ljust(9, "0"))
        whole = text[: fraction.start()] + fraction[1] + text[fraction.end() :]
    try:
        moment = datetime.fromisoformat(whole)
        since = moment.astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no instant; write it like 2026-01-31T18:00:00Z, +2h or now") from None
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * MICROSECOND + nanos


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
    """The window of the flags --start, --until and --for. Raises ValueError.

    A start of `now` is left to the provider, whose clock decides.
    """
    if until is not None and length is not None:
        raise ValueError("give --until or --for, not both")
    begins = None if start in (None, NOW) or start is None else parse_instant(start, now)
    return AskedWindow(begins, None if until is None else parse_instant(until, now), length)
