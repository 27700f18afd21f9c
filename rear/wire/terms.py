"""A pool's terms: what all its flavours have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rear.domain.flavour import (
    Aggregatability,
    Characteristics,
    FlavourType,
    K8SliceFacts,
    Location,
    Owner,
    Partitionability,
    Policies,
    PoolTerms,
    Properties,
    SensorFacts,
    ServiceFacts,
    TypeFacts,
    VmFacts,
)
from rear.domain.price import Price, PriceComponent
from rear.domain.quantities import NOTHING, Quantities
from rear.domain.units import attributes
from rear.event.v1 import pool_pb2
from rear.v1 import flavour_pb2
from rear.wire.values import (
    read_duration,
    read_money,
    read_quantities,
    write_duration,
    write_money,
    write_quantities,
)

FLAVOUR_TYPE_NUMBERS: Final[Mapping[FlavourType, flavour_pb2.FlavourType.ValueType]] = {
    FlavourType.K8SLICE: flavour_pb2.FLAVOUR_TYPE_K8SLICE,
    FlavourType.VM: flavour_pb2.FLAVOUR_TYPE_VM,
    FlavourType.SERVICE: flavour_pb2.FLAVOUR_TYPE_SERVICE,
    FlavourType.SENSOR: flavour_pb2.FLAVOUR_TYPE_SENSOR,
}

FLAVOUR_TYPES: Final[Mapping[int, FlavourType]] = {number: type_ for type_, number in FLAVOUR_TYPE_NUMBERS.items()}
"""Without UNSPECIFIED."""


def write_terms(message: pool_pb2.PoolTerms | flavour_pb2.Flavour, terms: PoolTerms) -> None:
    """A pool's terms, on their own or as the part of a flavour that they are."""
    message.type = FLAVOUR_TYPE_NUMBERS[terms.type]
    _write_characteristics(message.characteristics, terms.characteristics)
    _write_properties(message.properties, terms.properties)
    _write_policies(message.policies, terms.policies)
    write_price(message.price, terms.price)
    owner = message.owner
    owner.domain = terms.owner.domain
    owner.display_name = terms.owner.display_name
    owner.contact = terms.owner.contact


def read_terms(message: pool_pb2.PoolTerms | flavour_pb2.Flavour) -> PoolTerms:
    """What `write_terms` wrote. Raises KeyError for a type that this version does not know."""
    owner = message.owner
    return PoolTerms(
        FLAVOUR_TYPES[message.type],
        _read_characteristics(message.characteristics),
        _read_properties(message.properties),
        _read_policies(message.policies),
        read_price(message.price),
        Owner(owner.domain, owner.display_name, owner.contact),
    )


def write_price(message: flavour_pb2.Price, price: Price) -> None:
    """Every component; one that is paid once has no duration."""
    for component in price.components:
        part = message.components.add(kind=component.kind, per_amount=component.per_amount)
        write_money(part.amount, component.amount)
        if component.per_duration is not None:
            write_duration(part.per_duration, component.per_duration)


def read_price(message: flavour_pb2.Price) -> Price:
    """Every component; an absent amount to pay for is one."""
    return Price(
        tuple(
            PriceComponent(
                part.kind,
                read_money(part.amount),
                part.per_amount if part.HasField("per_amount") else 1,
                read_duration(part.per_duration) if part.HasField("per_duration") else None,
            )
            for part in message.components
        )
    )


def _write_characteristics(message: flavour_pb2.Characteristics, facts: Characteristics) -> None:
    message.architecture = facts.architecture
    match facts.of_type:
        case None:
            pass
        case K8SliceFacts() as k8slice:
            message.k8slice.kubernetes_version = k8slice.kubernetes_version
            message.k8slice.container_runtime = k8slice.container_runtime
        case VmFacts() as vm:
            message.vm.hypervisor = vm.hypervisor
            message.vm.images.extend(vm.images)
        case ServiceFacts() as service:
            message.service.category = service.category
            message.service.protocol = service.protocol
            message.service.plan = service.plan
        case SensorFacts() as sensor:
            message.sensor.measurand = sensor.measurand
            message.sensor.measurement_unit = sensor.measurement_unit
            if sensor.sampling_interval is not None:
                write_duration(message.sensor.sampling_interval, sensor.sampling_interval)


def _read_characteristics(message: flavour_pb2.Characteristics) -> Characteristics:
    return Characteristics(message.architecture, _read_type_facts(message))


def _read_type_facts(message: flavour_pb2.Characteristics) -> TypeFacts | None:
    match message.WhichOneof("of_type"):
        case None:
            return None
        case "k8slice":
            return K8SliceFacts(message.k8slice.kubernetes_version, message.k8slice.container_runtime)
        case "vm":
            return VmFacts(message.vm.hypervisor, tuple(message.vm.images))
        case "service":
            return ServiceFacts(message.service.category, message.service.protocol, message.service.plan)
        case "sensor":
            sensor = message.sensor
            interval = sensor.sampling_interval if sensor.HasField("sampling_interval") else None
            return SensorFacts(
                sensor.measurand,
                sensor.measurement_unit,
                None if interval is None else read_duration(interval),
            )


def _write_properties(message: flavour_pb2.Properties, facts: Properties) -> None:
    if facts.latency is not None:
        write_duration(message.latency, facts.latency)
    message.security_standards.extend(facts.security_standards)
    if facts.carbon_grams_per_hour is not None:
        message.carbon_grams_per_hour = facts.carbon_grams_per_hour
    message.tags.update(facts.tags)
    if (place := facts.location) is not None:
        location = message.location
        location.country = place.country
        location.city = place.city
        if place.coordinates is not None:
            location.coordinates.latitude, location.coordinates.longitude = place.coordinates


def _read_properties(message: flavour_pb2.Properties) -> Properties:
    return Properties(
        read_duration(message.latency) if message.HasField("latency") else None,
        tuple(message.security_standards),
        message.carbon_grams_per_hour if message.HasField("carbon_grams_per_hour") else None,
        attributes(message.tags),
        _read_location(message.location) if message.HasField("location") else None,
    )


def _read_location(message: flavour_pb2.Location) -> Location:
    point = message.coordinates if message.HasField("coordinates") else None
    coordinates = None if point is None else (point.latitude, point.longitude)
    return Location(message.country, message.city, coordinates)


def _write_policies(message: flavour_pb2.Policies, policies: Policies) -> None:
    if (bounds := policies.partitionability) is not None:
        divided = message.partitionability
        divided.SetInParent()
        write_quantities(divided.minimum, bounds.minimum)
        write_quantities(divided.step, bounds.step)
        divided.unit_minimum_millis.update(bounds.unit_minimum_millis)
        divided.unit_step_millis.update(bounds.unit_step_millis)
    if policies.aggregatability is not None:
        message.aggregatability.min_count = policies.aggregatability.min_count
        message.aggregatability.max_count = policies.aggregatability.max_count


def _read_policies(message: flavour_pb2.Policies) -> Policies:
    divided, combined = message.partitionability, message.aggregatability
    return Policies(
        Partitionability(
            read_quantities(divided.minimum),
            read_quantities(divided.step),
            _by_class(divided.unit_minimum_millis),
            _by_class(divided.unit_step_millis),
        )
        if message.HasField("partitionability")
        else None,
        Aggregatability(combined.min_count, combined.max_count) if message.HasField("aggregatability") else None,
    )


def _by_class(millis: Mapping[str, int]) -> Quantities:
    return Quantities(millis) if millis else NOTHING
