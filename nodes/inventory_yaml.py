"""Inventories as YAML: `defaults`, and `pools` that each add to them.

The head of `samples/demo.yaml` describes the form for those who write one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from nodes import inventory_words
from nodes.inventory_characteristics import characteristics, flavour_type
from nodes.inventory_units import Classes, classes_of, units
from nodes.pool_spec import PoolSpec
from rear import amounts
from rear.documents import TextError
from rear.domain.flavour import (
    Aggregatability,
    FlavourType,
    Location,
    Owner,
    Partitionability,
    Policies,
    PoolTerms,
    Properties,
)
from rear.domain.partition import MAX_AMOUNT
from rear.domain.price import Price, PriceComponent
from rear.domain.quantities import CORE_KINDS, CPU_MILLICORES, MEMORY_BYTES, PODS, STORAGE_BYTES, Quantities
from rear.domain.units import MILLIS_PER_UNIT
from rear.yaml_tree import Value, parse_document

Parser = Callable[[str], int]

POOL_KEYS: Final = (
    "id",
    "type",
    "characteristics",
    "quantities",
    "units",
    "properties",
    "policies",
    "price",
    "owner",
)

_KINDS: Final[dict[str, tuple[str, Parser]]] = {
    "cpu": (CPU_MILLICORES, amounts.cores),
    "memory": (MEMORY_BYTES, amounts.size),
    "storage": (STORAGE_BYTES, amounts.size),
    "pods": (PODS, amounts.count),
}
"""What a kind is called in an inventory, what it is called in the domain, and how its amounts are written."""

_QUANTITIES: Final = (*_KINDS, "extended")
_MAX_INT32: Final = 2**31 - 1


def read_yaml(path: Path, text: str, owner_domain: str) -> Iterator[tuple[int, str, PoolSpec]]:
    """Each pool with the line and the path of its id. Raises `DocumentError`."""
    top = parse_document(path, text).fields(("defaults", "pools"), required=("pools",))
    defaults = top.get("defaults")
    if defaults is not None:
        defaults.fields(POOL_KEYS[1:])
    shared: dict[PoolTerms, PoolTerms] = {}
    for pool in top["pools"].items():
        own = pool.fields(POOL_KEYS, required=("id",))
        id_text = own["id"].text()
        fields = pool.over(defaults).fields(POOL_KEYS, required=("type",))
        of_type = flavour_type(fields["type"])
        capacity = _quantities(fields["quantities"]) if "quantities" in fields else Quantities()
        devices = units(fields["units"]) if "units" in fields else ()
        classes = classes_of(devices)
        if not capacity.positive and not devices:
            pool.fail("offers nothing; give it `quantities` or `units`")
        if clash := classes & {*_KINDS, *CORE_KINDS, *capacity}:
            fields["units"].fail(f"name a class like a kind of quantity: {min(clash)}; use another name")
        terms = _terms(of_type, fields, capacity, classes, owner_domain)
        spec = PoolSpec(id_text, shared.setdefault(terms, terms), capacity, devices)
        yield own["id"].line, own["id"].where, spec


def _terms(
    of_type: FlavourType,
    fields: dict[str, Value],
    capacity: Quantities,
    classes: Classes,
    owner_domain: str,
) -> PoolTerms:
    return PoolTerms(
        type=of_type,
        characteristics=characteristics(of_type, fields.get("characteristics")),
        properties=_properties(fields["properties"]) if "properties" in fields else Properties(),
        policies=_policies(fields["policies"], capacity, classes) if "policies" in fields else Policies(),
        price=_price(fields["price"], capacity, classes) if "price" in fields else Price(),
        owner=_owner(fields["owner"], owner_domain) if "owner" in fields else Owner(domain=owner_domain),
    )


def _quantities(value: Value, offered: Quantities | None = None) -> Quantities:
    """The amounts of a mapping; none that `offered` does not name, nor more of it."""
    found: dict[str, int] = {}
    for key, entry in value.fields(_QUANTITIES).items():
        if key == "extended":
            for name, amount in entry.entries().items():
                kind = _extended(amount, name)
                found[kind] = amount.read(amounts.count)
                _check_offered(amount, kind, found[kind], offered)
        else:
            kind, parse = _KINDS[key]
            found[kind] = entry.read(parse)
            _check_offered(entry, kind, found[kind], offered)
    return Quantities(found)


def _extended(value: Value, name: str) -> str:
    if name in _KINDS or name in CORE_KINDS:
        value.fail(f"is not an extended kind; write `{_own_name(name)}` beside `extended`")
    try:
        return inventory_words.extended_kind(name)
    except TextError as error:
        value.fail(str(error))


def _own_name(kind: str) -> str:
    return next((name for name, (field, _) in _KINDS.items() if field == kind), kind)


def _check_offered(value: Value, kind: str, amount: int, offered: Quantities | None) -> None:
    if offered is None:
        return
    if kind not in offered:
        value.fail("is a kind that the pool's `quantities` do not name; leave it out")
    if amount > offered[kind]:
        value.fail("is more than the pool has; write less")


def _properties(value: Value) -> Properties:
    fields = value.fields(("latency", "security_standards", "carbon_grams_per_hour", "tags", "location"))
    carbon = fields.get("carbon_grams_per_hour")
    standards = fields["security_standards"].items() if "security_standards" in fields else []
    tags = fields["tags"].entries() if "tags" in fields else {}
    return Properties(
        latency=fields["latency"].read(amounts.duration) if "latency" in fields else None,
        security_standards=tuple(standard.text() for standard in standards),
        carbon_grams_per_hour=carbon.whole(0, MAX_AMOUNT) if carbon is not None else None,
        tags=tuple(sorted((name, tag.text()) for name, tag in tags.items())),
        location=_location(fields["location"]) if "location" in fields else None,
    )


def _location(value: Value) -> Location:
    fields = value.fields(("country", "city", "latitude", "longitude"))
    if ("latitude" in fields) != ("longitude" in fields):
        value.fail("has one of `latitude` and `longitude`; write both")
    coordinates = None
    if "latitude" in fields:
        coordinates = (
            fields["latitude"].read(lambda text: amounts.degrees(text, 90)),
            fields["longitude"].read(lambda text: amounts.degrees(text, 180)),
        )
    return Location(
        country=fields["country"].read(inventory_words.country) if "country" in fields else "",
        city=fields["city"].text() if "city" in fields else "",
        coordinates=coordinates,
    )


def _policies(value: Value, capacity: Quantities, classes: Classes) -> Policies:
    fields = value.fields(("partitionability", "aggregatability"))
    divided, combined = fields.get("partitionability"), fields.get("aggregatability")
    return Policies(
        partitionability=_partitionability(divided, capacity, classes) if divided else None,
        aggregatability=_aggregatability(combined) if combined else None,
    )


def _partitionability(value: Value, capacity: Quantities, classes: Classes) -> Partitionability:
    fields = value.fields(("minimum", "step", "unit_minimum_millis", "unit_step_millis"))
    return Partitionability(
        *(_quantities(fields[key], capacity) if key in fields else Quantities() for key in ("minimum", "step")),
        *(
            _unit_millis(fields[key], classes) if key in fields else Quantities()
            for key in ("unit_minimum_millis", "unit_step_millis")
        ),
    )


def _unit_millis(value: Value, classes: Classes) -> Quantities:
    found: dict[str, int] = {}
    for name, millis in value.entries().items():
        if name not in classes:
            millis.fail("is a class that the pool's `units` do not name; leave it out")
        found[name] = millis.whole(1, MILLIS_PER_UNIT)
    return Quantities(found)


def _aggregatability(value: Value) -> Aggregatability:
    fields = value.fields(("min_count", "max_count"), required=("min_count", "max_count"))
    low = fields["min_count"].whole(1, _MAX_INT32)
    return Aggregatability(low, fields["max_count"].whole(low, _MAX_INT32))


def _price(value: Value, capacity: Quantities, classes: Classes) -> Price:
    found: list[PriceComponent] = []
    for component in value.fields(("components",), required=("components",))["components"].items():
        found.append(_component(component, capacity, classes))
        if found[-1].amount.currency != found[0].amount.currency:
            component.fail(
                f"is in {found[-1].amount.currency}, the first component in {found[0].amount.currency}; "
                "use one currency"
            )
    return Price(tuple(found))


def _component(value: Value, capacity: Quantities, classes: Classes) -> PriceComponent:
    fields = value.fields(("amount", "kind", "per_amount", "per"), required=("amount",))
    kind, per_amount = _paid_for(value, fields, capacity, classes)
    per = fields["per"].read(amounts.duration) if "per" in fields else None
    if per == 0:
        fields["per"].fail("is no time at all; write a duration, as in 1h")
    return PriceComponent(kind, fields["amount"].read(amounts.money), per_amount, per)


def _paid_for(value: Value, fields: dict[str, Value], capacity: Quantities, classes: Classes) -> tuple[str, int]:
    """The kind or class that a component prices, and how much of it its amount is for."""
    per_amount = fields.get("per_amount")
    if "kind" not in fields:
        if per_amount is not None:
            per_amount.fail("needs a `kind`; add it, or leave both out for a fixed part")
        return "", 1
    name = fields["kind"].text()
    kind, parse = _KINDS.get(name, (name, amounts.count))
    if name in classes:
        parse = amounts.devices
    elif kind not in capacity or (name in CORE_KINDS and name not in _KINDS):
        offered = ", ".join(sorted([*(_own_name(kind) for kind in capacity), *classes]))
        fields["kind"].fail(f"is {name!r}, which the pool does not offer; it offers {offered}")
    if per_amount is None and parse is amounts.size:
        value.fail("has no `per_amount`; add the size that is paid for, as in 1GiB")
    amount = parse("1") if per_amount is None else per_amount.read(parse)
    if amount == 0 and per_amount is not None:
        per_amount.fail("is nothing; write at least the smallest amount")
    return kind, amount


def _owner(value: Value, owner_domain: str) -> Owner:
    fields = value.fields(("domain", "display_name", "contact"))
    texts = {key: field.text() for key, field in fields.items()}
    return Owner(
        domain=texts.get("domain", owner_domain),
        display_name=texts.get("display_name", ""),
        contact=texts.get("contact", ""),
    )
