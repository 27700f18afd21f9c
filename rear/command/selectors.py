"""A selector as flags, one for each of its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from rear.command.parameters import (
    COUNT,
    DURATION,
    EXTENDED,
    MONEY,
    PAIR,
    QUANTITY_TYPES,
    VICINITY,
    partition_options,
    take_demand,
    take_window,
    window_options,
)
from rear.domain.window import AskedWindow

if TYPE_CHECKING:
    from rear.v1 import selector_pb2

Command = TypeVar("Command", bound=Callable[..., Any])

TYPES: Final = ("k8slice", "vm", "service", "sensor")
BOUNDS: Final = {"min": "At least", "max": "At most", "exact": "Exactly"}


def _availability() -> list[Callable[[Any], Any]]:
    """--min-cpu, --max-cpu, --exact-cpu and so on; --exact may be repeated: any of the values."""
    options: list[Callable[[Any], Any]] = []
    for name, (_, kind) in QUANTITY_TYPES.items():
        for bound, words in BOUNDS.items():
            several = bound == "exact"
            said = f"{words} this much {name} is available" + (" (repeatable: any of them)." if several else ".")
            options.append(click.option(f"--{bound}-{name}", type=kind, multiple=several, help=said))
    for bound, words in BOUNDS.items():
        said = f"{words} this much of a further kind is available. Repeatable."
        options.append(click.option(f"--{bound}-extended", type=EXTENDED, multiple=True, help=said))
    return options


def _texts(flag: str, said: str) -> Callable[[Any], Any]:
    return click.option(flag, multiple=True, help=f"{said}. Repeatable: any of them.")


_FILTERS: Final = (
    click.option(
        "--type",
        "types",
        type=click.Choice(TYPES, case_sensitive=False),
        multiple=True,
        help="Type of flavour. Repeatable: any of them.",
    ),
    *_availability(),
    _texts("--arch", "Processor architecture: amd64, arm64"),
    _texts("--gpu-model", "Model of a GPU that it has"),
    _texts("--country", "Country: ISO 3166-1 alpha-2, such as DE"),
    _texts("--city", "City"),
    click.option("--near", type=VICINITY, help="Within a distance of a place: 51.34,12.37,50."),
    click.option("--max-price", type=MONEY, help='The most that it may cost over the window: "0.50 EUR".'),
    click.option("--max-latency", type=DURATION, help="The longest latency: 20ms."),
    click.option("--security-standard", multiple=True, help="A security standard. Repeatable: all of them."),
    click.option("--security-any", multiple=True, help="A security standard. Repeatable: any of them."),
    click.option("--carbon-min", type=COUNT, help="At least this much CO2 equivalent, in grams an hour."),
    click.option("--carbon-max", type=COUNT, help="At most this much CO2 equivalent, in grams an hour."),
    click.option(
        "--tag",
        type=PAIR,
        multiple=True,
        help="A tag and its value. Repeatable: all names, any of one name's values.",
    ),
    _texts("--owner", "Domain of the owner"),
    _texts("--pool", "Resource pool"),
    _texts("--provider", "Identity of the provider"),
)


def selector_options(command: Command) -> Command:
    """Adds every flag of a selector; `take_selector` reads them."""
    for option in reversed(_FILTERS):
        command = option(command)
    return partition_options(window_options(command))


def take_selector(flags: dict[str, Any]) -> selector_pb2.Selector:
    """The selector that was asked for; its flags are taken out of `flags`."""
    from rear.v1 import flavour_pb2, selector_pb2
    from rear.wire.values import write_asked_window, write_duration, write_money, write_partition

    selector = selector_pb2.Selector()
    for name in flags.pop("types"):
        selector.types.append(flavour_pb2.FlavourType.Value(f"FLAVOUR_TYPE_{name.upper()}"))
    demand = take_demand(flags)
    if demand.quantities or demand.units:
        write_partition(selector.partition, demand)
    window = take_window(flags)
    if window != AskedWindow():
        write_asked_window(selector.window, window)
    _take_availability(flags, selector)
    _write_texts(selector.architecture, flags.pop("arch"))
    _write_texts(selector.gpu_model, flags.pop("gpu_model"))
    _write_texts(selector.owner_domain, flags.pop("owner"))
    if countries := flags.pop("country"):
        _write_texts(selector.location.country, countries)
    if cities := flags.pop("city"):
        _write_texts(selector.location.city, cities)
    if (near := flags.pop("near")) is not None:
        vicinity = selector.location.vicinity
        vicinity.centre.latitude, vicinity.centre.longitude, vicinity.radius_metres = near
    if (price := flags.pop("max_price")) is not None:
        write_money(selector.max_price, price)
    if (latency := flags.pop("max_latency")) is not None:
        write_duration(selector.max_latency, latency)
    selector.security_standards.all_of.extend(flags.pop("security_standard"))
    selector.security_standards.any_of.extend(flags.pop("security_any"))
    if not selector.security_standards.ByteSize():
        selector.ClearField("security_standards")
    if (least := flags.pop("carbon_min")) is not None:
        selector.carbon_grams_per_hour.min = least
    if (most := flags.pop("carbon_max")) is not None:
        selector.carbon_grams_per_hour.max = most
    tags: dict[str, list[str]] = {}
    for name, value in flags.pop("tag"):
        tags.setdefault(name, []).append(value)
    for name, values in tags.items():
        _write_texts(selector.tags[name], values)
    selector.pool_ids.extend(flags.pop("pool"))
    selector.provider_ids.extend(flags.pop("provider"))
    return selector


def _take_availability(flags: dict[str, Any], selector: selector_pb2.Selector) -> None:
    for name, (kind, _) in QUANTITY_TYPES.items():
        for bound in BOUNDS:
            value = flags.pop(f"{bound}_{name}")
            if value is not None and value != ():
                _write_bound(getattr(selector.quantities, kind), bound, value)
    exact: dict[str, list[int]] = {}
    for bound in BOUNDS:
        for kind, amount in flags.pop(f"{bound}_extended"):
            if bound == "exact":
                exact.setdefault(kind, []).append(amount)
            else:
                _write_bound(selector.quantities.extended[kind], bound, amount)
    for kind, amounts in exact.items():
        _write_bound(selector.quantities.extended[kind], "exact", amounts)


def _write_bound(filter_: selector_pb2.Int64Filter, bound: str, value: Any) -> None:
    if bound != "exact":
        setattr(filter_, bound, value)
    elif len(value) == 1:
        filter_.exact = value[0]
    else:
        filter_.any_of.extend(value)


def _write_texts(filter_: selector_pb2.StringFilter, values: Iterable[str]) -> None:
    listed = list(values)
    if len(listed) == 1:
        filter_.exact = listed[0]
    elif listed:
        filter_.any_of.extend(listed)
