"""`rear flavours`: what a provider offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from rear.command.amounts import (
    in_order,
    show_bytes_roughly,
    show_cpu,
    show_money,
    show_quantity,
)
from rear.command.output import write_facts, write_json, write_table
from rear.command.parameters import take_window, window_options
from rear.command.selectors import selector_options, take_selector
from rear.command.settings import Settings, common_options, run, settings
from rear.command.times import show_duration, show_moment
from rear.domain.flavour import MODEL
from rear.domain.units import MILLIS_PER_UNIT
from rear.domain.window import AskedWindow

if TYPE_CHECKING:
    from rear.v1 import discovery_service_pb2, flavour_pb2, quantities_pb2

ORDERS: Final = {"tightest": "UNSPECIFIED", "price": "PRICE", "latency": "LATENCY", "carbon": "CARBON"}
"""The names of rear.v1.FlavourOrder, whose default is the tightest fit."""


@click.group()
@common_options
def flavours() -> None:
    """What a provider offers, and what of it is free."""


@flavours.command("list")
@common_options
@selector_options
@click.option(
    "--order",
    type=click.Choice(list(ORDERS)),
    default="tightest",
    show_default=True,
    help="What comes first.",
)
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True, help="The most flavours.")
def list_flavours(order: str, limit: int, **flags: Any) -> None:
    """List the flavours that a selector selects, with what is available of them.

    --cpu, --memory, --gpu and so on are a partition that has to fit for the whole window; --min-cpu and its
    like are filters on what is available at all.
    """
    from rear.v1 import discovery_service_pb2

    request = discovery_service_pb2.ListFlavoursRequest(limit=limit)
    request.selector.CopyFrom(take_selector(flags))
    request.order = discovery_service_pb2.FlavourOrder.Value(f"FLAVOUR_ORDER_{ORDERS[order]}")
    run(_list(settings(), request))


async def _list(chosen: Settings, request: discovery_service_pb2.ListFlavoursRequest) -> None:
    async with chosen.client() as client:
        response = await client.list_flavours(request)
    if chosen.json:
        write_json(response)
        return
    if not response.flavours:
        click.echo("No flavour is selected.")
        return
    write_table(
        (
            "flavour",
            "type",
            "cpu",
            "memory",
            "storage",
            "pods",
            "other",
            "devices",
            "arch",
            "place",
            "price",
            "owner",
        ),
        [_row(listed) for listed in response.flavours],
    )
    if response.truncated:
        click.echo(f"There may be more than these {len(response.flavours)}; see --limit.", err=True)


def _row(listed: flavour_pb2.ListedFlavour) -> tuple[str, ...]:
    from rear.wire.values import read_money, read_quantities

    flavour = listed.flavour
    free = read_quantities(listed.available)
    place = flavour.properties.location
    return (
        flavour.flavour_id,
        _type(flavour),
        show_cpu(free["cpu_millicores"]) if "cpu_millicores" in free else "",
        show_bytes_roughly(free["memory_bytes"]) if "memory_bytes" in free else "",
        show_bytes_roughly(free["storage_bytes"]) if "storage_bytes" in free else "",
        str(free["pods"]) if "pods" in free else "",
        ", ".join(f"{kind}={amount}" for kind, amount in sorted(listed.available.extended.items())),
        _devices(listed.available_units),
        flavour.characteristics.architecture,
        " ".join(part for part in (place.city, place.country) if part),
        show_money(read_money(listed.total_price)) if listed.HasField("total_price") else "",
        flavour.owner.domain,
    )


def _type(flavour: flavour_pb2.Flavour) -> str:
    from rear.v1 import flavour_pb2

    try:
        return flavour_pb2.FlavourType.Name(flavour.type).removeprefix("FLAVOUR_TYPE_").lower()
    except ValueError:
        return str(flavour.type)


def _devices(offered: Iterable[quantities_pb2.OfferedUnit]) -> str:
    """Devices in groups: `2 gpu T4, 1 gpu T4 460/1000`; those with nothing free are left out."""
    groups: Counter[tuple[str, str, int]] = Counter()
    for one in offered:
        if one.millis:
            groups[one.unit.unit_class, one.unit.attributes.get(MODEL, ""), one.millis] += 1
    said = []
    for (unit_class, model, millis), count in sorted(groups.items(), key=lambda group: (group[0][:2], -group[0][2])):
        share = "" if millis == MILLIS_PER_UNIT else f"{millis}/{MILLIS_PER_UNIT}"
        said.append(" ".join(part for part in (str(count), unit_class, model, share) if part))
    return ", ".join(said)


@flavours.command("show")
@common_options
@click.argument("flavour_id")
@window_options
def show_flavour(flavour_id: str, **flags: Any) -> None:
    """Show one flavour, with what is available of it in a window."""
    from rear.v1 import discovery_service_pb2
    from rear.wire.values import write_asked_window

    request = discovery_service_pb2.GetFlavourRequest(flavour_id=flavour_id)
    window = take_window(flags)
    if window != AskedWindow():
        write_asked_window(request.window, window)
    run(_show(settings(), request))


async def _show(chosen: Settings, request: discovery_service_pb2.GetFlavourRequest) -> None:
    async with chosen.client() as client:
        response = await client.get_flavour(request)
    if chosen.json:
        write_json(response)
    else:
        write_facts(f"Flavour {response.flavour.flavour.flavour_id}", _facts(response.flavour))


def _facts(listed: flavour_pb2.ListedFlavour) -> list[tuple[str, str]]:
    from rear.wire.values import read_duration, read_instant

    flavour, properties = listed.flavour, listed.flavour.properties
    place = properties.location
    coordinates = place.coordinates
    where = f"({coordinates.latitude}, {coordinates.longitude})" if place.HasField("coordinates") else ""
    return [
        ("type", _type(flavour)),
        ("pool", flavour.pool_id),
        ("provider", flavour.provider_id),
        ("owner", " ".join(part for part in (flavour.owner.display_name, flavour.owner.domain) if part)),
        ("replaced", flavour.parent_id),
        ("advertised", show_moment(read_instant(flavour.advertised_at))),
        ("offered", _amounts(flavour.quantities, flavour.units)),
        ("available", _amounts(listed.available, listed.available_units)),
        ("as of", show_moment(read_instant(listed.as_of))),
        ("architecture", flavour.characteristics.architecture),
        ("characteristics", _characteristics(flavour.characteristics)),
        ("place", " ".join(part for part in (place.city, place.country, where) if part)),
        (
            "latency",
            show_duration(read_duration(properties.latency)) if properties.HasField("latency") else "",
        ),
        ("security", ", ".join(properties.security_standards)),
        (
            "carbon",
            f"{properties.carbon_grams_per_hour} g/h" if properties.HasField("carbon_grams_per_hour") else "",
        ),
        ("tags", ", ".join(f"{name}={value}" for name, value in sorted(properties.tags.items()))),
        ("partition", _partitionability(flavour.policies)),
        ("aggregation", _aggregation(flavour.policies)),
        ("price", "; ".join(_price(component, flavour) for component in flavour.price.components)),
    ]


def _amounts(quantities: quantities_pb2.Quantities, units: Iterable[quantities_pb2.OfferedUnit]) -> str:
    from rear.wire.values import read_quantities

    amounts = read_quantities(quantities)
    parts = [show_quantity(kind, amounts[kind]) for kind in in_order(amounts)]
    devices = _devices(units)
    return ", ".join(parts + ([devices] if devices else [])) or "nothing"


def _characteristics(characteristics: flavour_pb2.Characteristics) -> str:
    which = characteristics.WhichOneof("of_type")
    if which is None:
        return ""
    facts = getattr(characteristics, which)
    said = []
    for field, value in facts.ListFields():
        if field.name == "sampling_interval":
            from rear.wire.values import read_duration

            value = show_duration(read_duration(value))
        elif not isinstance(value, str):
            value = " ".join(value)
        said.append(f"{field.name.replace('_', ' ')} {value}")
    return ", ".join(said)


def _partitionability(policies: flavour_pb2.Policies) -> str:
    from rear.wire.values import read_quantities

    if not policies.HasField("partitionability"):
        return "sold whole"
    bounds = policies.partitionability
    said = []
    for name, quantities, millis in (
        ("at least", bounds.minimum, bounds.unit_minimum_millis),
        ("in steps of", bounds.step, bounds.unit_step_millis),
    ):
        amounts = read_quantities(quantities)
        parts = [show_quantity(kind, amounts[kind]) for kind in in_order(amounts)]
        parts += [f"{amount}/{MILLIS_PER_UNIT} {unit_class}" for unit_class, amount in sorted(millis.items())]
        if parts:
            said.append(f"{name} {', '.join(parts)}")
    return "; ".join(said) or "any part"


def _aggregation(policies: flavour_pb2.Policies) -> str:
    if not policies.HasField("aggregatability"):
        return ""
    bounds = policies.aggregatability
    return f"{bounds.min_count} to {bounds.max_count} flavours together"


def _price(component: flavour_pb2.PriceComponent, flavour: flavour_pb2.Flavour) -> str:
    from rear.wire.values import read_duration, read_money

    said = show_money(read_money(component.amount))
    if component.kind:
        amount = component.per_amount if component.HasField("per_amount") else 1
        if all(offered.unit.unit_class != component.kind for offered in flavour.units):
            said += f" for {show_quantity(component.kind, amount)}"
        elif amount == MILLIS_PER_UNIT:
            said += f" for 1 {component.kind}"
        else:
            said += f" for {amount}/{MILLIS_PER_UNIT} {component.kind}"
    if component.HasField("per_duration"):
        said += f" per {show_duration(read_duration(component.per_duration))}"
    return said
