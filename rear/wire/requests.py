"""What callers send. Everything is checked that the domain does not check, and a refusal names the field.

Each reader takes None for an absent message and the path of the field that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from re import compile as pattern
from typing import Final, TypeVar

from google.protobuf.duration_pb2 import Duration as DurationMessage
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage

from rear.domain.demand import Demand
from rear.domain.lifecycle import ContractState
from rear.domain.partition import field_of
from rear.domain.price import NANOS_PER_UNIT, Money
from rear.domain.quantities import CORE_KINDS, NOTHING, Quantities
from rear.domain.refusals import InvalidField
from rear.domain.window import FOREVER, SECOND, AskedWindow, Duration, Instant
from rear.v1.quantities_pb2 import Partition
from rear.v1.quantities_pb2 import Quantities as QuantitiesMessage
from rear.v1.window_pb2 import Window as WindowMessage
from rear.wire.contracts import CONTRACT_STATES
from rear.wire.values import read_duration, read_instant, read_quantities, read_unit_request

EARLIEST_SECOND: Final = -62_135_596_800
"""0001-01-01T00:00:00Z, the first that a `google.protobuf.Timestamp` may hold."""

LONGEST_SECONDS: Final = 315_576_000_000
"""About 10,000 years, the most that a `google.protobuf.Duration` may hold, either way."""

LONGEST_NAME: Final = 63

Value = TypeVar("Value")

_NOT_ASKED: Final = AskedWindow()

_names_a_kind: Final = pattern(r"[A-Za-z0-9._/-]{1,63}").fullmatch
_names_a_currency: Final = pattern(r"[A-Z]{3}").fullmatch


def partition_from(message: Partition | None, parent: str) -> Demand:
    """The partition that is asked for. Whether any flavour could serve it is for `rear.domain.partition`."""
    if message is None:
        raise InvalidField(parent, "is required")
    asked = message.quantities if message.HasField("quantities") else None
    return Demand(
        NOTHING if asked is None else quantities_from(asked, f"{parent}.quantities"),
        tuple([read_unit_request(request) for request in message.units]),
    )


def check_extended_kinds(kinds: Iterable[str], parent: str) -> None:
    """Refuses names that are not names, and the kinds that have a field of their own."""
    for kind in kinds:
        if kind in CORE_KINDS:
            raise InvalidField(f"{parent}.extended[{kind}]", f"has a field of its own: use {field_of(kind, parent)}")
        if not _names_a_kind(kind):
            raise InvalidField(
                f"{parent}.extended[{shown(kind)}]",
                f"is not the name of a kind: 1 to {LONGEST_NAME} of letters, digits, '.', '_', '/' and '-'",
            )


def window_from(message: WindowMessage | None, parent: str) -> AskedWindow:
    """The window that is asked for, not resolved yet."""
    if message is None:
        return _NOT_ASKED
    return AskedWindow(
        instant_from(message.start, f"{parent}.start") if message.HasField("start") else None,
        instant_from(message.end, f"{parent}.end") if message.HasField("end") else None,
        duration_from(message.duration if message.HasField("duration") else None, f"{parent}.duration"),
    )


def instant_from(message: Timestamp, field: str) -> Instant:
    """An instant in the years 1 to 9999."""
    if not EARLIEST_SECOND <= message.seconds <= FOREVER // SECOND:
        raise InvalidField(f"{field}.seconds", f"is {message.seconds}; it must be in the years 1 to 9999 after Christ")
    if not 0 <= message.nanos < SECOND:
        raise InvalidField(f"{field}.nanos", f"is {message.nanos}; it must be from 0 to 999999999")
    return read_instant(message)


def duration_from(message: DurationMessage | None, field: str) -> Duration | None:
    """A duration of either sign; None where it is absent."""
    if message is None:
        return None
    if not -LONGEST_SECONDS <= message.seconds <= LONGEST_SECONDS:
        raise InvalidField(
            f"{field}.seconds",
            f"is {message.seconds}; it must be from -{LONGEST_SECONDS} to {LONGEST_SECONDS}",
        )
    if not -SECOND < message.nanos < SECOND:
        raise InvalidField(f"{field}.nanos", f"is {message.nanos}; it must be from -999999999 to 999999999")
    if message.seconds * message.nanos < 0:
        raise InvalidField(f"{field}.nanos", "must have the same sign as the seconds")
    return read_duration(message)


def money_from(message: MoneyMessage | None, field: str) -> Money | None:
    """An amount of money that is not negative; None where it is absent."""
    if message is None:
        return None
    currency, units, nanos = message.currency_code, message.units, message.nanos
    if not _names_a_currency(currency):
        raise InvalidField(
            f"{field}.currency_code", f"is {shown(currency)!r}; it must be three capital letters, such as EUR"
        )
    if units < 0:
        raise InvalidField(f"{field}.units", f"is {units}; it must not be negative")
    if not 0 <= nanos < NANOS_PER_UNIT:
        raise InvalidField(f"{field}.nanos", f"is {nanos}; it must be from 0 to 999999999")
    return Money(currency, units * NANOS_PER_UNIT + nanos)


def states_from(numbers: Iterable[int], field: str) -> frozenset[ContractState]:
    """Any of these states of contracts."""
    return frozenset(enum_from(CONTRACT_STATES, number, f"{field}[{at}]") for at, number in enumerate(numbers))


def enum_from(table: Mapping[int, Value], number: int, field: str) -> Value:
    """What an enum's number stands for. Refuses one that is not in the table."""
    value = table.get(number)
    if value is None:
        raise InvalidField(field, f"is {number}, which is not specified or not known here")
    return value


def shown(text: str) -> str:
    """A caller's text, short enough for the details of an error."""
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"


def quantities_from(message: QuantitiesMessage, parent: str) -> Quantities:
    """The kinds that are set. Raises InvalidField for an extended kind that has no proper name."""
    if message.extended:
        check_extended_kinds(message.extended, parent)
    return read_quantities(message)
