"""Quantities, devices and money, as they are typed and as they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final

from rear.domain.demand import Demand
from rear.domain.price import NANOS_PER_UNIT, Money
from rear.domain.quantities import CORE_KINDS, CPU_MILLICORES, MEMORY_BYTES, PODS, STORAGE_BYTES, Quantities
from rear.domain.units import MILLIS_PER_UNIT, UnitRequest, attributes

_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_BYTES: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGTPE])(i)?)?B?", re.IGNORECASE)
_MONEY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]{3})")
_DISTANCE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:km)?", re.IGNORECASE)
_PREFIXES: Final = "KMGTPE"
_LARGEST: Final = 2**63 - 1
"""An amount travels as a 64-bit integer."""

GPU: Final = "gpu"
MODEL: Final = "model"


def _whole(amount: Fraction, text: str, unit: str) -> int:
    if amount.denominator != 1:
        raise ValueError(f"{text!r} is no whole number of {unit}")
    if amount > _LARGEST:
        raise ValueError(f"{text!r} is too large")
    return int(amount)


def parse_cpu(text: str) -> int:
    """Millicores, from cores (`2`, `0.5`) or millicores (`500m`). Raises ValueError."""
    cores, milli = (text[:-1], True) if text.endswith("m") else (text, False)
    if not _NUMBER.fullmatch(cores):
        raise ValueError(f"{text!r} is no amount of processor; write it like 2, 0.5 or 500m")
    return _whole(Fraction(cores) * (1 if milli else 1_000), text, "millicores")


def show_cpu(millicores: int) -> str:
    """Millicores as `parse_cpu` reads them."""
    return f"{millicores}m" if millicores % 1_000 else f"{millicores // 1_000:d}"


def parse_bytes(text: str) -> int:
    """Bytes: `4GiB` or `4Gi` (powers of 1,024), `4GB` or `4G` (of 1,000), `4096`. Raises ValueError."""
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no number of bytes; write it like 4GiB, 500MB or 1048576")
    power = _PREFIXES.index(found[2].upper()) + 1 if found[2] else 0
    return _whole(Fraction(found[1]) * (1_024 if found[3] else 1_000) ** power, text, "bytes")


def show_bytes(count: int) -> str:
    """Bytes as `parse_bytes` reads them, exactly, in the largest unit that divides them."""
    for power in range(len(_PREFIXES), 0, -1):
        if count and count % 1_024**power == 0:
            return f"{count // 1_024**power}{_PREFIXES[power - 1]}iB"
    for power in range(len(_PREFIXES), 0, -1):
        if count and count % 1_000**power == 0:
            return f"{count // 1_000**power}{_PREFIXES[power - 1]}B"
    return f"{count}B"


def show_bytes_roughly(count: int) -> str:
    """Bytes for people: to one decimal of the largest binary unit that is not below one."""
    for power in range(len(_PREFIXES), 0, -1):
        if count >= 1_024**power:
            return f"{count / 1_024**power:.1f}".removesuffix(".0") + f"{_PREFIXES[power - 1]}iB"
    return f"{count}B"


def parse_count(text: str) -> int:
    """A whole number, not negative. Raises ValueError."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{text!r} is no whole number")
    return _whole(Fraction(text), text, "units")


def parse_pair(text: str) -> tuple[str, str]:
    """`name=value`. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} has no name and value; write it like name=value")
    return name, value


def parse_extended(text: str) -> tuple[str, int]:
    """An amount of a further kind, `kind=amount`. Raises ValueError."""
    kind, amount = parse_pair(text)
    if kind in CORE_KINDS:
        raise ValueError(f"{kind} has a flag of its own")
    return kind, parse_count(amount)


def parse_gpu(text: str) -> UnitRequest:
    """GPUs as `COUNT[:MILLIS[:MODEL]]`: `2`, `1:460`, `1::T4`, `4:1000:V100M32`. Raises ValueError."""
    count, _, rest = text.partition(":")
    millis, _, model = rest.partition(":")
    return _unit_request(GPU, count, millis, {MODEL: model} if model else {}, text)


def parse_unit(text: str) -> UnitRequest:
    """Devices as `CLASS=COUNT[:MILLIS[:NAME=VALUE,...]]`, such as `vlan=2` or `nic=1:500:speed=100G`."""
    unit_class, rest = parse_pair(text)
    count, _, rest = rest.partition(":")
    millis, _, listed = rest.partition(":")
    wanted = dict(parse_pair(pair) for pair in listed.split(",")) if listed else {}
    return _unit_request(unit_class, count, millis, wanted, text)


def _unit_request(unit_class: str, count: str, millis: str, wanted: Mapping[str, str], text: str) -> UnitRequest:
    try:
        return UnitRequest(
            unit_class,
            parse_count(count),
            parse_count(millis) if millis else MILLIS_PER_UNIT,
            attributes(wanted),
        )
    except ValueError:
        raise ValueError(f"{text!r} names no devices; write COUNT[:MILLIS[:MODEL]], like 2 or 1:460:T4") from None


def show_unit_request(request: UnitRequest) -> str:
    """A wish for devices for people, such as `2 gpu T4` or `1 gpu 460/1000`."""
    parts = [str(request.count), request.unit_class]
    if request.millis_each != MILLIS_PER_UNIT:
        parts.append(f"{request.millis_each}/{MILLIS_PER_UNIT}")
    parts += [value if name == MODEL else f"{name}={value}" for name, value in request.attributes]
    return " ".join(parts)


def parse_money(text: str) -> Money:
    """An amount and its currency, such as `0.50 EUR`; not below a billionth. Raises ValueError."""
    found = _MONEY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'{text!r} is no price; write it like "0.50 EUR"')
    return Money(found[2].upper(), _whole(Fraction(found[1]) * NANOS_PER_UNIT, text, "billionths"))


def show_money(money: Money) -> str:
    """Money as `parse_money` reads it, exactly, with at least two decimals."""
    units, nanos = divmod(abs(money.nanos), NANOS_PER_UNIT)
    decimals = f"{nanos:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if money.nanos < 0 else ''}{units}.{decimals} {money.currency}"


def parse_vicinity(text: str) -> tuple[float, float, int]:
    """`LATITUDE,LONGITUDE,RADIUS` in degrees and kilometres, as degrees and metres. Raises ValueError."""
    parts = text.split(",")
    try:
        latitude, longitude = float(parts[0]), float(parts[1])
        distance = _DISTANCE.fullmatch(parts[2].strip())
        if len(parts) != 3 or distance is None:
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(f"{text!r} is no place; write it like 51.34,12.37,50km") from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError(f"{text!r} is not on the earth")
    return latitude, longitude, _whole(Fraction(distance[1]) * 1_000, text, "metres")


def show_quantity(kind: str, amount: int) -> str:
    """An amount of a kind for people, with its name where it is not one of the four."""
    if kind == CPU_MILLICORES:
        return f"{show_cpu(amount)} CPU"
    if kind == MEMORY_BYTES:
        return f"{show_bytes_roughly(amount)} memory"
    if kind == STORAGE_BYTES:
        return f"{show_bytes_roughly(amount)} storage"
    return f"{amount} {kind}"


def show_demand(demand: Demand) -> str:
    """A partition for people, on one line."""
    parts = [show_quantity(kind, demand.quantities[kind]) for kind in in_order(demand.quantities)]
    parts += [show_unit_request(request) for request in demand.units]
    return ", ".join(parts) or "nothing"


def demand_flags(demand: Demand) -> list[str]:
    """The flags of `rear reserve` that ask for exactly this partition."""
    flags: list[str] = []
    quantities = demand.quantities
    for kind in in_order(quantities):
        amount = quantities[kind]
        if kind == CPU_MILLICORES:
            flags += ["--cpu", show_cpu(amount)]
        elif kind == MEMORY_BYTES:
            flags += ["--memory", show_bytes(amount)]
        elif kind == STORAGE_BYTES:
            flags += ["--storage", show_bytes(amount)]
        elif kind == PODS:
            flags += ["--pods", str(amount)]
        else:
            flags += ["--extended", f"{kind}={amount}"]
    for request in demand.units:
        flags += _unit_flags(request)
    return flags


def _unit_flags(request: UnitRequest) -> list[str]:
    names = [name for name, _ in request.attributes]
    if request.unit_class == GPU and names in ([], [MODEL]):
        model = f":{request.attributes[0][1]}" if names else ""
        millis = f":{request.millis_each}" if model or request.millis_each != MILLIS_PER_UNIT else ""
        return ["--gpu", f"{request.count}{millis}{model}"]
    wanted = ",".join(f"{name}={value}" for name, value in request.attributes)
    return [
        "--unit",
        f"{request.unit_class}={request.count}:{request.millis_each}" + (f":{wanted}" if wanted else ""),
    ]


def in_order(quantities: Quantities) -> Iterable[str]:
    """The kinds as people expect them: processor, memory, storage, pods, and then the others by name."""
    core = [kind for kind in CORE_KINDS if kind in quantities]
    return core + [kind for kind in quantities if kind not in CORE_KINDS]
