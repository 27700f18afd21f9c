"""Intents as YAML documents (workflow steps 1 and 2).

The form is that of `docs/intent.schema.json`; `samples/intent.yaml` describes it for those who write one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

from rear import amounts
from rear.documents import DocumentError
from rear.domain.demand import Demand
from rear.domain.flavour import MODEL
from rear.domain.intent import (
    Agreement,
    Component,
    Constraints,
    Intent,
    Objective,
    Port,
    PortProtocol,
    Workload,
)
from rear.domain.intent_rules import check, check_times
from rear.domain.quantities import CORE_KINDS, CPU_MILLICORES, MEMORY_BYTES, NOTHING, PODS, STORAGE_BYTES, Quantities
from rear.domain.refusals import InvalidField
from rear.domain.selector import LocationFilter, TextFilter, Vicinity
from rear.domain.units import MILLIS_PER_UNIT, UnitRequest, attributes
from rear.domain.window import AskedWindow, Duration, Instant
from rear.intent_schema import check_schema
from rear.yaml_tree import Value, parse_document

DOCUMENT: Final = Path("document")
"""What stands in for the name of a document that came without one."""

Parser = Callable[[str], int]


_KINDS: Final[dict[str, tuple[str, Parser]]] = {
    "cpu": (CPU_MILLICORES, amounts.cores),
    "memory": (MEMORY_BYTES, amounts.size),
    "storage": (STORAGE_BYTES, amounts.size),
    "pods": (PODS, amounts.count),
}

_OWN_WORDS: Final = (
    (re.compile(r"\.partition\.(units|quantities)"), r".\1"),
    (re.compile(r"\.partition$"), ""),
    (re.compile(r"\.cpu_millicores$"), ".cpu"),
    (re.compile(r"\.(memory|storage)_bytes$"), r".\1"),
    (re.compile(r"\.unit_class$"), ".class"),
    (re.compile(r"\.millis_each$"), ".millis"),
    (re.compile(r"\.window\.duration$"), ".window.for"),
    (re.compile(r"\.window\.end$"), ".window.until"),
    (re.compile(r"\.currency_code$"), ""),
    (re.compile(r"\.location\.vicinity(\.centre)?"), ".location.near"),
    (re.compile(r"\.radius_metres$"), ".radius"),
)
"""How a path of an intent's message is written in a document."""

_STEP: Final = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]|\[([^\]]*)\]")


def read_document(text: str, now: Instant, skew: Duration, path: Path = DOCUMENT) -> Intent:
    """The intent that the document means when it is handed in at `now`. Raises DocumentError, which has the line."""
    document = parse_document(path, text)
    check_schema(document)
    intent = _intent(document, now)
    try:
        check(intent)
        check_times(intent, now, skew)
    except InvalidField as refusal:
        steps = _steps(refusal.field)
        value = document.at(steps)
        raise DocumentError(path, value.line, _path(steps), refusal.description) from refusal
    return intent


def _intent(document: Value, now: Instant) -> Intent:
    fields = document.entries()
    return Intent(
        fields["name"].text(),
        tuple(_component(component, now) for component in fields["components"].items()),
        Agreement(_word(fields["agreement"])) if "agreement" in fields else Agreement.RESERVE_THEN_PURCHASE,
        _integer(fields["priority"]) if "priority" in fields else 0,
    )


def _component(value: Value, now: Instant) -> Component:
    fields = value.entries()
    return Component(
        name=fields["name"].text(),
        partition=Demand(
            _quantities(fields["quantities"]) if "quantities" in fields else NOTHING,
            tuple(_unit(unit) for unit in _items(fields, "units")),
        ),
        workload=_workload(fields["workload"]),
        minimum=_quantities(fields["minimum"]) if "minimum" in fields else NOTHING,
        constraints=_constraints(fields["constraints"]) if "constraints" in fields else Constraints(),
        window=_window(fields["window"], now) if "window" in fields else AskedWindow(),
        latest_start=_instant(fields["latest_start"], now) if "latest_start" in fields else None,
        objective=Objective(_word(fields["optimise"])) if "optimise" in fields else Objective.PRICE,
        depends_on=tuple(name.text() for name in _items(fields, "depends_on")),
    )


def _quantities(value: Value) -> Quantities:
    found: dict[str, int] = {}
    for key, entry in value.entries().items():
        if key == "extended":
            for name, amount in entry.entries().items():
                if name in _KINDS or name in CORE_KINDS:
                    amount.fail("is not an extended kind; write it beside `extended`")
                found[name] = amount.read(amounts.count)
        else:
            kind, parse = _KINDS[key]
            found[kind] = entry.read(parse)
    return Quantities(found)


def _unit(value: Value) -> UnitRequest:
    fields = value.entries()
    described = _texts_by_name(fields, "attributes")
    if "model" in fields:
        if MODEL in described:
            fields["model"].fail("is given here and under `attributes`; keep one")
        described[MODEL] = fields["model"].text()
    return UnitRequest(
        fields["class"].text(),
        _integer(fields["count"]) if "count" in fields else 1,
        _integer(fields["millis"]) if "millis" in fields else MILLIS_PER_UNIT,
        attributes(described),
    )


def _constraints(value: Value) -> Constraints:
    fields = value.entries()
    return Constraints(
        architectures=tuple(text.text() for text in _items(fields, "architectures")),
        gpu_models=tuple(text.text() for text in _items(fields, "gpu_models")),
        location=_location(fields["location"]) if "location" in fields else None,
        max_price=fields["max_price"].read(amounts.money) if "max_price" in fields else None,
        max_latency=fields["max_latency"].read(amounts.duration) if "max_latency" in fields else None,
        security_standards=tuple(text.text() for text in _items(fields, "security_standards")),
        tags=attributes(_texts_by_name(fields, "tags")),
    )


def _location(value: Value) -> LocationFilter:
    fields = value.entries()
    return LocationFilter(
        _any_of(fields["country"]) if "country" in fields else None,
        _any_of(fields["city"]) if "city" in fields else None,
        _near(fields["near"]) if "near" in fields else None,
    )


def _any_of(value: Value) -> TextFilter:
    if value.is_list:
        return TextFilter(any_of=frozenset(item.text() for item in value.items()))
    return TextFilter(exact=value.text())


def _near(value: Value) -> Vicinity:
    fields = value.entries()
    return Vicinity(
        (
            fields["latitude"].read(lambda text: amounts.degrees(text, 90)),
            fields["longitude"].read(lambda text: amounts.degrees(text, 180)),
        ),
        fields["radius"].read(amounts.metres),
    )


def _window(value: Value, now: Instant) -> AskedWindow:
    """A start of `now` is left out: then the provider's clock decides."""
    fields = value.entries()
    start = fields.get("start")
    return AskedWindow(
        None if start is None or start.text() == amounts.NOW else _instant(start, now),
        _instant(fields["until"], now) if "until" in fields else None,
        fields["for"].read(amounts.duration) if "for" in fields else None,
    )


def _instant(value: Value, now: Instant) -> Instant:
    return value.read(lambda text: amounts.instant(text, now))


def _workload(value: Value) -> Workload:
    fields = value.entries()
    environment = fields["environment"].entries() if "environment" in fields else {}
    return Workload(
        tuple(argument.verbatim() for argument in fields["command"].items()),
        attributes({name: text.verbatim() for name, text in environment.items()}),
        tuple(_port(port) for port in _items(fields, "ports")),
    )


def _port(value: Value) -> Port:
    fields = value.entries()
    protocol = PortProtocol(_word(fields["protocol"])) if "protocol" in fields else PortProtocol.TCP
    return Port(fields["name"].text(), _integer(fields["number"]), protocol)


def _integer(value: Value) -> int:
    """Of what the schema takes for an integer, which 1.0 is as well."""
    return Fraction(value.text()).numerator


def _items(fields: dict[str, Value], key: str) -> list[Value]:
    return fields[key].items() if key in fields else []


def _texts_by_name(fields: dict[str, Value], key: str) -> dict[str, str]:
    return {name: text.text() for name, text in fields[key].entries().items()} if key in fields else {}


def _word(value: Value) -> str:
    """A word of the form as the domain names it."""
    return value.text().upper().replace("-", "_")


def _steps(field: str) -> list[str | int]:
    """The way through a document to what a path of an intent's message names."""
    for pattern, own in _OWN_WORDS:
        field = pattern.sub(own, field)
    return [int(number) if number else key or name for key, number, name in _STEP.findall(field)]


def _path(steps: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
