"""The discrete units of a pool in a YAML inventory: counted ones, which get names, or named ones."""

from __future__ import annotations

from nodes import inventory_words
from rear.domain.flavour import MODEL
from rear.domain.partition import MAX_UNITS
from rear.domain.units import Attributes, Unit, attributes
from rear.yaml_tree import Value

Classes = frozenset[str]


def classes_of(devices: tuple[Unit, ...]) -> Classes:
    """The unit classes that `devices` are of."""
    return frozenset(device.unit_class for device in devices)


def units(value: Value) -> tuple[Unit, ...]:
    """All devices of a list of groups. Counted ones are named `<class>-<n>`, from one group to the next."""
    found: dict[tuple[str, str], Unit] = {}
    for group in value.items():
        fields = group.fields(("class", "model", "count", "names", "attributes"), required=("class",))
        if ("count" in fields) == ("names" in fields):
            group.fail("needs either `count` or `names`; write one of them")
        unit_class = fields["class"].read(inventory_words.unit_class)
        described = _attributes(fields)
        taken = sum(1 for other, _ in found if other == unit_class)
        for place, name in _names(fields, unit_class, taken):
            if (unit_class, name) in found:
                place.fail(f"names the {unit_class} {name!r} again; names must be unique in a class")
            found[unit_class, name] = Unit(unit_class, name, described)
        if len(found) > MAX_UNITS:
            group.fail(f"makes {len(found)} units; {MAX_UNITS} at most fit in one pool")
    return tuple(found.values())


def _names(fields: dict[str, Value], unit_class: str, taken: int) -> list[tuple[Value, str]]:
    if "names" in fields:
        listed = fields["names"].items()
        if not listed:
            fields["names"].fail("is an empty list; write at least one name")
        return [(item, item.read(inventory_words.unit_name)) for item in listed]
    number = fields["count"].whole(1, MAX_UNITS)
    return [(fields["count"], f"{unit_class}-{n}") for n in range(taken, taken + number)]


def _attributes(fields: dict[str, Value]) -> Attributes:
    entries = fields["attributes"].entries() if "attributes" in fields else {}
    described = {name: entry.text() for name, entry in entries.items()}
    if "model" in fields:
        if MODEL in described:
            fields["model"].fail("is given here and under `attributes`; keep one")
        described[MODEL] = fields["model"].text()
    return attributes(described)
