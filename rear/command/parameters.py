"""Options that several commands share: partitions and windows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from rear import amounts
from rear.command.amounts import parse_extended, parse_gpu, parse_pair, parse_unit, parse_vicinity
from rear.command.times import ask_window
from rear.domain.demand import Demand
from rear.domain.quantities import CPU_MILLICORES, MEMORY_BYTES, PODS, STORAGE_BYTES, Quantities
from rear.domain.window import AskedWindow, Instant

Value = TypeVar("Value")
Command = TypeVar("Command", bound=Callable[..., Any])


class Parsed(click.ParamType[Value]):
    """A parameter that `parse` reads; its ValueError is the user's mistake."""

    def __init__(self, name: str, parse: Callable[[str], Value]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Value | Any:
        """The parsed value; one that is parsed already stays as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def now() -> Instant:
    """The instant by this machine's clock."""
    return Instant(time.time_ns())


def _instant_text(text: str) -> str:
    amounts.instant(text, Instant(0))
    return text


CPU: Final = Parsed("cores", amounts.cores)
BYTES: Final = Parsed("bytes", amounts.size)
COUNT: Final = Parsed("count", amounts.count)
EXTENDED: Final = Parsed("kind=amount", parse_extended)
GPUS: Final = Parsed("count[:millis[:model]]", parse_gpu)
UNITS: Final = Parsed("class=count[:millis[:name=value,..]]", parse_unit)
DURATION: Final = Parsed("duration", amounts.duration)
INSTANT: Final = Parsed("instant", _instant_text)
"""Checked, but kept as text: it may be counted from now."""
MONEY: Final = Parsed("amount currency", amounts.money)
PAIR: Final = Parsed("name=value", parse_pair)
VICINITY: Final = Parsed("lat,lon,km", parse_vicinity)

QUANTITY_TYPES: Final[Mapping[str, tuple[str, Parsed[int]]]] = {
    "cpu": (CPU_MILLICORES, CPU),
    "memory": (MEMORY_BYTES, BYTES),
    "storage": (STORAGE_BYTES, BYTES),
    "pods": (PODS, COUNT),
}
"""The flag of each kind with a field of its own, without dashes."""

_PARTITION: Final = (
    click.option("--cpu", type=CPU, help="Processor: 2, 0.5 or 500m."),
    click.option("--memory", type=BYTES, help="Memory: 4GiB, 500MB."),
    click.option("--storage", type=BYTES, help="Storage: 100GiB."),
    click.option("--pods", type=COUNT, help="Number of pods."),
    click.option("--extended", type=EXTENDED, multiple=True, help="An amount of a further kind. Repeatable."),
    click.option("--gpu", type=GPUS, multiple=True, help="GPUs: 2, 1:460 (a share of one) or 1:1000:T4. Repeatable."),
    click.option("--unit", type=UNITS, multiple=True, help="Devices of another class: vlan=2. Repeatable."),
)

_WINDOW: Final = (
    click.option("--start", type=INSTANT, help="Start of the window: ISO 8601, +2h or now.  [default: now]"),
    click.option("--until", type=INSTANT, help="End of the window.  [default: the provider's default lease]"),
    click.option("--for", "length", type=DURATION, help="Length of the window, instead of --until: 90m, 2d."),
)


def _all(options: tuple[Callable[[Any], Any], ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def partition_options(command: Command) -> Command:
    """Adds the flags of a partition; `take_demand` reads them."""
    return _all(_PARTITION, command)


def window_options(command: Command) -> Command:
    """Adds --start, --until and --for; `take_window` reads them."""
    return _all(_WINDOW, command)


def take_demand(flags: dict[str, Any]) -> Demand:
    """The partition that was asked for; its flags are taken out of `flags`."""
    asked = {kind: amount for name, (kind, _) in QUANTITY_TYPES.items() if (amount := flags.pop(name)) is not None}
    for kind, amount in flags.pop("extended"):
        if kind in asked:
            raise click.BadOptionUsage("extended", f"{kind} is given twice")
        asked[kind] = amount
    return Demand(Quantities(asked), (*flags.pop("gpu"), *flags.pop("unit")))


def take_window(flags: dict[str, Any]) -> AskedWindow:
    """The window that was asked for; its flags are taken out of `flags`."""
    start, until, length = flags.pop("start"), flags.pop("until"), flags.pop("length")
    try:
        return ask_window(start, until, length, now())
    except ValueError as error:
        raise click.UsageError(str(error)) from None
