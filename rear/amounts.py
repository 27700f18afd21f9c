"""Amounts as people write them ("500m", "16GiB", "1h30m", "0.05 EUR"), read exactly into whole domain units.

What documents and the command line have in common. Every reader raises TextError, which says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from rear.documents import TextError, quoted
from rear.domain.partition import MAX_AMOUNT
from rear.domain.price import NANOS_PER_UNIT, Money
from rear.domain.units import MILLIS_PER_UNIT
from rear.domain.window import DAY, FOREVER, HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND, Duration, Instant

NOW: Final = "now"

TIMES: Final[Mapping[str, int]] = {
    "d": DAY,
    "h": HOUR,
    "m": MINUTE,
    "s": SECOND,
    "ms": MILLISECOND,
    "us": MICROSECOND,
    "ns": 1,
}
"""Units of time in nanoseconds, the longest first."""

PREFIXES: Final = "KMGTPE"
"""Prefixes of bytes, by rising powers of 1,000 or 1,024."""

_DIGITS: Final = r"[0-9]{1,19}(?:\.[0-9]{1,9})?"
_NUMBER: Final = re.compile(rf"({_DIGITS}) ?([A-Za-z]{{0,3}})")
_PART: Final = re.compile(rf"({_DIGITS})(ns|us|ms|s|m|h|d)")
_FRACTION: Final = re.compile(r"(:[0-9][0-9])[.,]([0-9]+)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_CORES: Final = {"": MILLIS_PER_UNIT, "m": 1}
_COUNT: Final = {"": 1}
_METRES: Final = {"km": 1_000, "m": 1}
_BYTES: Final = {"": 1, "b": 1} | {
    letter.lower() + suffix: factor**power
    for power, letter in enumerate(PREFIXES, start=1)
    for suffix, factor in (("i", 1024), ("ib", 1024), ("", 1000), ("b", 1000))
}


def cores(text: str) -> int:
    """Millicores: "4" and "0.5" are cores, "500m" is half a core."""
    return _scaled(text, _CORES, "write cores, as in 4 or 0.5, or millicores, as in 500m")


def devices(text: str) -> int:
    """Millis of a unit class: "1" is a whole device, "250m" a quarter."""
    return _scaled(text, _CORES, "write devices, as in 1, or thousandths of one, as in 250m")


def size(text: str) -> int:
    """Bytes: "16GiB" and "16Gi" count by 1,024, "16GB" and "16G" by 1,000, a bare number is bytes."""
    return _scaled(text, _BYTES, "write a size, as in 512MiB, 16GiB or 2TB", str.lower)


def count(text: str) -> int:
    """A whole number."""
    return _scaled(text, _COUNT, "write a whole number")


def metres(text: str) -> int:
    """A distance in metres, from "50km" or "800m"."""
    return _scaled(text, _METRES, "write a distance with its unit, as in 50km or 800m", str.lower)


def duration(text: str) -> Duration:
    """A length of time of one or more parts, each with its unit: d, h, m, s, ms, us or ns."""
    remedy = "write a duration with its unit, as in 20ms, 90s, 1h30m or 2d"
    _check_sign(text)
    total, end = Fraction(0), 0
    for part in _PART.finditer(text := _without_space(text)):
        if part.start() != end:
            break
        total += Fraction(part[1]) * TIMES[part[2]]
        end = part.end()
    if not text or end != len(text):
        raise TextError(f"is {quoted(text)}; {remedy}")
    return Duration(_whole(total, text, remedy))


def instant(text: str, now: Instant) -> Instant:
    """An instant: `now`, a duration from now such as `+2h`, or ISO 8601.

    ISO 8601 without an offset is local time; fractions of a second are exact to the nanosecond.
    """
    if text == NOW:
        return now
    found = now + duration(text[1:]) if text.startswith("+") else _iso(text)
    if not 0 <= found <= FOREVER:
        raise TextError(f"is {quoted(text)}; write an instant of the years 1970 to 9999")
    return Instant(found)


def money(text: str) -> Money:
    """An amount and its ISO 4217 currency, as in "0.05 EUR", to a billionth."""
    number, currency = _split(text, remedy := "write an amount and its currency, as in 0.05 EUR")
    if len(currency) != 3:
        raise TextError(f"is {quoted(text)}; {remedy}")
    return Money(currency.upper(), _whole(number * NANOS_PER_UNIT, text, remedy))


def degrees(text: str, most: int) -> float:
    """A coordinate from -`most` to `most` degrees."""
    if not re.fullmatch(r"[+-]?[0-9]{1,3}(\.[0-9]{1,15})?", text) or not -most <= float(text) <= most:
        raise TextError(f"is {quoted(text)}; write degrees from -{most} to {most}, as in 51.34")
    return float(text)


def _iso(text: str) -> int:
    remedy = "write an instant, as in 2026-01-31T18:00:00Z, +2h or now"
    fraction = _FRACTION.search(text)
    nanos = 0
    whole = text
    if fraction is not None:
        if len(fraction[2]) > 9:
            raise TextError(f"is {quoted(text)}, which is too fine; {remedy}")
        nanos = int(fraction[2].ljust(9, "0"))
        whole = text[: fraction.start()] + fraction[1] + text[fraction.end() :]
    try:
        moment = datetime.fromisoformat(whole)
        since = moment.astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError):
        raise TextError(f"is {quoted(text)}; {remedy}") from None
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * MICROSECOND + nanos


def _without_space(text: str) -> str:
    """A number and its unit may stand apart where there is only one of them."""
    number, _, unit = text.partition(" ")
    return number + unit if unit in TIMES and not number[-1:].isalpha() else text


def _check_sign(text: str) -> None:
    if text.startswith("-"):
        raise TextError(f"is {quoted(text)}; it must not be negative")


def _split(text: str, remedy: str) -> tuple[Fraction, str]:
    _check_sign(text)
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise TextError(f"is {quoted(text)}; {remedy}")
    return Fraction(found[1]), found[2]


def _scaled(text: str, factors: Mapping[str, int], remedy: str, fold: Callable[[str], str] = str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 12 and "" in factors:
        return int(text) * factors[""]
    number, suffix = _split(text, remedy)
    if (suffix := fold(suffix)) not in factors:
        raise TextError(f"is {quoted(text)}; {remedy}")
    return _whole(number * factors[suffix], text, remedy)


def _whole(amount: Fraction, text: str, remedy: str) -> int:
    if amount.denominator != 1:
        raise TextError(f"is {quoted(text)}, which is too fine; {remedy}")
    if amount > MAX_AMOUNT:
        raise TextError(f"is {quoted(text)}, which is more than can be counted; write less")
    return amount.numerator
