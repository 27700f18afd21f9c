"""The type of a pool in a YAML inventory, and the facts that depend on it."""

from __future__ import annotations

from typing import Final

from nodes.inventory_words import architecture
from rear import amounts
from rear.domain.flavour import (
    Characteristics,
    FlavourType,
    K8SliceFacts,
    SensorFacts,
    ServiceFacts,
    TypeFacts,
    VmFacts,
)
from rear.yaml_tree import Value

_TYPES: Final = {kind.value.lower(): kind for kind in FlavourType}

_FACTS: Final = {
    FlavourType.K8SLICE: ("kubernetes_version", "container_runtime"),
    FlavourType.VM: ("hypervisor", "images"),
    FlavourType.SERVICE: ("category", "protocol", "plan"),
    FlavourType.SENSOR: ("measurand", "measurement_unit", "sampling_interval"),
}


def flavour_type(value: Value) -> FlavourType:
    """The type by its name: k8slice, vm, service or sensor."""
    found = _TYPES.get(value.text())
    if found is None:
        value.fail(f"is {value.text()!r}; write one of {', '.join(_TYPES)}")
    return found


def characteristics(of_type: FlavourType, value: Value | None) -> Characteristics:
    """The architecture and the facts of `of_type`; keys of another type are refused."""
    fields = value.fields(("architecture", *_FACTS[of_type])) if value is not None else {}
    arch = fields.pop("architecture", None)
    return Characteristics(
        architecture=arch.read(architecture) if arch is not None else "",
        of_type=_facts(of_type, fields),
    )


def _facts(of_type: FlavourType, fields: dict[str, Value]) -> TypeFacts:
    images = fields.pop("images", None)
    interval = fields.pop("sampling_interval", None)
    texts = {key: field.text() for key, field in fields.items()}
    match of_type:
        case FlavourType.K8SLICE:
            return K8SliceFacts(**texts)
        case FlavourType.VM:
            return VmFacts(**texts, images=tuple(image.text() for image in images.items()) if images else ())
        case FlavourType.SERVICE:
            return ServiceFacts(**texts)
        case FlavourType.SENSOR:
            return SensorFacts(**texts, sampling_interval=interval.read(amounts.duration) if interval else None)
