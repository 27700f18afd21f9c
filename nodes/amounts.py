"""Amounts as people write them ("500m", "16GiB", "5ms", "0.05 EUR"), read exactly into whole domain units."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from rear.documents import TextError, quoted
from rear.domain.partition import MAX_AMOUNT
from rear.domain.price import NANOS_PER_UNIT, Money
from rear.domain.units import MILLIS_PER_UNIT
from rear.domain.window import DAY, HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND, Duration

_NUMBER: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,3})")

_CORES: Final = {"": MILLIS_PER_UNIT, "m": 1}
_COUNT: Final = {"": 1}
_BYTES: Final = {"": 1, "B": 1} | {
    prefix + suffix: factor
    for power, letter in enumerate("KMGTP", start=1)
    for prefix, suffix, factor in (
        (letter, "i", 1024**power),
        (letter, "iB", 1024**power),
        ("k" if letter == "K" else letter, "B", 1000**power),
    )
}
_TIMES: Final = {
    "ns": 1,
    "us": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
    "d": DAY,
}


def cores(text: str) -> int:
    """Millicores: "4" and "0.5" are cores, "500m" is half a core."""
    return _scaled(text, _CORES, "write cores, as in 4 or 0.5, or millicores, as in 500m")


def devices(text: str) -> int:
    """Millis of a unit class: "1" is a whole device, "250m" a quarter."""
    return _scaled(text, _CORES, "write devices, as in 1, or thousandths of one, as in 250m")


def size(text: str) -> int:
    """Bytes: "16GiB" (or "16Gi") counts by 1,024, "16GB" by 1,000, a bare number is bytes."""
    return _scaled(text, _BYTES, "write a size, as in 512MiB, 16GiB or 2TB")


def count(text: str) -> int:
    """A whole number."""
    return _scaled(text, _COUNT, "write a whole number")


def duration(text: str) -> Duration:
    """A length of time with its unit: ns, us, ms, s, m, h or d."""
    return Duration(_scaled(text, _TIMES, "write a duration with its unit, as in 5ms, 30s or 1h"))


def money(text: str) -> Money:
    """An amount and its ISO 4217 currency, as in "0.05 EUR", to a billionth."""
    number, currency = _split(text, remedy := "write an amount and its currency, as in 0.05 EUR")
    if not re.fullmatch("[A-Z]{3}", currency):
        raise TextError(f"is {quoted(text)}; {remedy}")
    return Money(currency, _whole(number * NANOS_PER_UNIT, text, remedy))


def degrees(text: str, most: int) -> float:
    """A coordinate from -`most` to `most` degrees."""
    if not re.fullmatch(r"[+-]?[0-9]{1,3}(\.[0-9]{1,15})?", text) or not -most <= float(text) <= most:
        raise TextError(f"is {quoted(text)}; write degrees from -{most} to {most}, as in 51.34")
    return float(text)


def _split(text: str, remedy: str) -> tuple[Fraction, str]:
    if text.startswith("-"):
        raise TextError(f"is {quoted(text)}; it must not be negative")
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise TextError(f"is {quoted(text)}; {remedy}")
    return Fraction(found[1]), found[2]


def _scaled(text: str, factors: dict[str, int], remedy: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 12 and "" in factors:
        return int(text) * factors[""]
    number, suffix = _split(text, remedy)
    if suffix not in factors:
        raise TextError(f"is {quoted(text)}; {remedy}")
    return _whole(number * factors[suffix], text, remedy)


def _whole(amount: Fraction, text: str, remedy: str) -> int:
    if amount.denominator != 1:
        raise TextError(f"is {quoted(text)}, which is too fine; {remedy}")
    if amount > MAX_AMOUNT:
        raise TextError(f"is {quoted(text)}, which is more than can be counted; write less")
    return amount.numerator
