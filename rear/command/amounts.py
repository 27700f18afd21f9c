"""Quantities, devices and money, as they are typed and as they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rear.amounts import PREFIXES, count, degrees, metres
from rear.documents import TextError, quoted
from rear.domain.demand import Demand
from rear.domain.flavour import GPU, MODEL
from rear.domain.price import NANOS_PER_UNIT, Money
from rear.domain.quantities import CORE_KINDS, CPU_MILLICORES, MEMORY_BYTES, PODS, STORAGE_BYTES, Quantities
from rear.domain.units import MILLIS_PER_UNIT, UnitRequest, attributes


def show_cpu(millicores: int) -> str:
    """Millicores as `rear.amounts.cores` reads them."""
    return f"{millicores}m" if millicores % 1_000 else f"{millicores // 1_000:d}"


def show_bytes(number: int) -> str:
    """Bytes as `rear.amounts.size` reads them, exactly, in the largest unit that divides them."""
    for power in range(len(PREFIXES), 0, -1):
        if number and number % 1_024**power == 0:
            return f"{number // 1_024**power}{PREFIXES[power - 1]}iB"
    for power in range(len(PREFIXES), 0, -1):
        if number and number % 1_000**power == 0:
            return f"{number // 1_000**power}{PREFIXES[power - 1]}B"
    return f"{number}B"


def show_bytes_roughly(number: int) -> str:
    """Bytes for people: to one decimal of the largest binary unit that is not below one."""
    for power in range(len(PREFIXES), 0, -1):
        if number >= 1_024**power:
            return f"{number / 1_024**power:.1f}".removesuffix(".0") + f"{PREFIXES[power - 1]}iB"
    return f"{number}B"


def parse_pair(text: str) -> tuple[str, str]:
    """`name=value`. Raises TextError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise TextError(f"is {quoted(text)}; write a name and a value, as in name=value")
    return name, value


def parse_extended(text: str) -> tuple[str, int]:
    """An amount of a further kind, `kind=amount`. Raises TextError."""
    kind, amount = parse_pair(text)
    if kind in CORE_KINDS:
        raise TextError(f"is {quoted(text)}; {kind} has a flag of its own")
    return kind, count(amount)


def parse_gpu(text: str) -> UnitRequest:
    """GPUs as `COUNT[:MILLIS[:MODEL]]`: `2`, `1:460`, `1::T4`, `4:1000:V100M32`. Raises TextError."""
    number, _, rest = text.partition(":")
    millis, _, model = rest.partition(":")
    return _unit_request(GPU, number, millis, {MODEL: model} if model else {}, text)


def parse_unit(text: str) -> UnitRequest:
    """Devices as `CLASS=COUNT[:MILLIS[:NAME=VALUE,...]]`, such as `vlan=2` or `nic=1:500:speed=100G`."""
    unit_class, rest = parse_pair(text)
    number, _, rest = rest.partition(":")
    millis, _, listed = rest.partition(":")
    wanted = dict(parse_pair(pair) for pair in listed.split(",")) if listed else {}
    return _unit_request(unit_class, number, millis, wanted, text)


def _unit_request(unit_class: str, number: str, millis: str, wanted: Mapping[str, str], text: str) -> UnitRequest:
    try:
        return UnitRequest(
            unit_class,
            count(number),
            count(millis) if millis else MILLIS_PER_UNIT,
            attributes(wanted),
        )
    except TextError:
        raise TextError(f"is {quoted(text)}; write devices as COUNT[:MILLIS[:MODEL]], as in 2 or 1:460:T4") from None


def show_unit_request(request: UnitRequest) -> str:
    """A wish for devices for people, such as `2 gpu T4` or `1 gpu 460/1000`."""
    parts = [str(request.count), request.unit_class]
    if request.millis_each != MILLIS_PER_UNIT:
        parts.append(f"{request.millis_each}/{MILLIS_PER_UNIT}")
    parts += [value if name == MODEL else f"{name}={value}" for name, value in request.attributes]
    return " ".join(parts)


def show_money(money: Money) -> str:
    """Money as `rear.amounts.money` reads it, exactly, with at least two decimals."""
    units, nanos = divmod(abs(money.nanos), NANOS_PER_UNIT)
    decimals = f"{nanos:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if money.nanos < 0 else ''}{units}.{decimals} {money.currency}"


def parse_vicinity(text: str) -> tuple[float, float, int]:
    """`LATITUDE,LONGITUDE,RADIUS` in degrees and kilometres, as degrees and metres. Raises TextError."""
    try:
        latitude, longitude, radius = (part.strip() for part in text.split(","))
    except ValueError:
        raise TextError(f"is {quoted(text)}; write a place and a radius, as in 51.34,12.37,50km") from None
    if radius.isascii() and radius[-1:].isdigit():
        radius += "km"
    return degrees(latitude, 90), degrees(longitude, 180), metres(radius)


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
