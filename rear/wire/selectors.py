"""Selectors as callers send them. A refusal names the filter that could not have been meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.type.latlng_pb2 import LatLng

from rear.domain.partition import check_well_formed, field_of
from rear.domain.quantities import CPU_MILLICORES, MEMORY_BYTES, PODS, STORAGE_BYTES
from rear.domain.refusals import InvalidField
from rear.domain.selector import (
    FlavourOrder,
    LocationFilter,
    NumberFilter,
    Selector,
    SetFilter,
    TextFilter,
    Vicinity,
)
from rear.domain.window import Duration
from rear.v1 import discovery_service_pb2, selector_pb2
from rear.wire.requests import (
    check_extended_kinds,
    duration_from,
    enum_from,
    money_from,
    partition_from,
    window_from,
)
from rear.wire.terms import FLAVOUR_TYPES

FLAVOUR_ORDERS: Final[Mapping[int, FlavourOrder]] = {
    discovery_service_pb2.FLAVOUR_ORDER_UNSPECIFIED: FlavourOrder.TIGHTEST,
    discovery_service_pb2.FLAVOUR_ORDER_PRICE: FlavourOrder.PRICE,
    discovery_service_pb2.FLAVOUR_ORDER_LATENCY: FlavourOrder.LATENCY,
    discovery_service_pb2.FLAVOUR_ORDER_CARBON: FlavourOrder.CARBON,
}

EVERYTHING: Final = Selector()
"""What an absent selector selects."""


def order_from(number: int, field: str = "order") -> FlavourOrder:
    """What is to be listed first."""
    return enum_from(FLAVOUR_ORDERS, number, field)


def selector_from(message: selector_pb2.Selector | None, parent: str = "selector") -> Selector:
    """The filters that are asked for; everything where there is no selector."""
    if message is None:
        return EVERYTHING
    has = message.HasField
    partition = None
    if has("partition"):
        partition = partition_from(message.partition, f"{parent}.partition")
        check_well_formed(partition, f"{parent}.partition")
    return Selector(
        types=frozenset(
            enum_from(FLAVOUR_TYPES, number, f"{parent}.types[{at}]") for at, number in enumerate(message.types)
        ),
        quantities=_quantities(message.quantities, f"{parent}.quantities") if has("quantities") else (),
        partition=partition,
        window=window_from(message.window if has("window") else None, f"{parent}.window"),
        architecture=_text(message.architecture) if has("architecture") else None,
        gpu_model=_text(message.gpu_model) if has("gpu_model") else None,
        location=location_from(message.location, f"{parent}.location") if has("location") else None,
        max_price=money_from(message.max_price if has("max_price") else None, f"{parent}.max_price"),
        max_latency=_latency(message, f"{parent}.max_latency"),
        security_standards=_set(message.security_standards) if has("security_standards") else None,
        carbon_grams_per_hour=_number(message.carbon_grams_per_hour, f"{parent}.carbon_grams_per_hour")
        if has("carbon_grams_per_hour")
        else None,
        tags=tuple([(name, _text(message.tags[name])) for name in sorted(message.tags)]),
        owner_domain=_text(message.owner_domain) if has("owner_domain") else None,
        pool_ids=frozenset(message.pool_ids),
        provider_ids=frozenset(message.provider_ids),
    )


def _quantities(message: selector_pb2.QuantityFilters, parent: str) -> tuple[tuple[str, NumberFilter], ...]:
    has = message.HasField
    asked: dict[str, selector_pb2.Int64Filter] = {}
    if has("cpu_millicores"):
        asked[CPU_MILLICORES] = message.cpu_millicores
    if has("memory_bytes"):
        asked[MEMORY_BYTES] = message.memory_bytes
    if has("storage_bytes"):
        asked[STORAGE_BYTES] = message.storage_bytes
    if has("pods"):
        asked[PODS] = message.pods
    check_extended_kinds(message.extended, parent)
    asked.update(message.extended)
    return tuple([(kind, _number(asked[kind], field_of(kind, parent))) for kind in sorted(asked)])


def write_location(message: selector_pb2.LocationFilter, place: LocationFilter) -> None:
    """A filter on a place; one that sets nothing is a message too."""
    message.SetInParent()
    if place.country is not None:
        write_text(message.country, place.country)
    if place.city is not None:
        write_text(message.city, place.city)
    if (circle := place.vicinity) is not None:
        message.vicinity.centre.latitude, message.vicinity.centre.longitude = circle.centre
        message.vicinity.radius_metres = circle.radius_metres


def read_location(message: selector_pb2.LocationFilter) -> LocationFilter:
    """What `write_location` wrote."""
    circle = message.vicinity if message.HasField("vicinity") else None
    return LocationFilter(
        _text(message.country) if message.HasField("country") else None,
        _text(message.city) if message.HasField("city") else None,
        None if circle is None else Vicinity((circle.centre.latitude, circle.centre.longitude), circle.radius_metres),
    )


def write_text(message: selector_pb2.StringFilter, wanted: TextFilter) -> None:
    """A filter on a text, its choices sorted; one that sets nothing is a message too."""
    message.SetInParent()
    if wanted.exact is not None:
        message.exact = wanted.exact
    message.any_of.extend(sorted(wanted.any_of))


def _number(message: selector_pb2.Int64Filter, field: str) -> NumberFilter:
    least = message.min if message.HasField("min") else None
    most = message.max if message.HasField("max") else None
    if least is not None and most is not None and least > most:
        raise InvalidField(f"{field}.min", f"is {least}, more than the maximum of {most}")
    exact = message.exact if message.HasField("exact") else None
    return NumberFilter(exact, least, most, frozenset(message.any_of))


def _text(message: selector_pb2.StringFilter) -> TextFilter:
    return TextFilter(message.exact if message.HasField("exact") else None, frozenset(message.any_of))


def _set(message: selector_pb2.SetFilter) -> SetFilter:
    return SetFilter(frozenset(message.all_of), frozenset(message.any_of))


def _latency(message: selector_pb2.Selector, field: str) -> Duration | None:
    longest = duration_from(message.max_latency if message.HasField("max_latency") else None, field)
    if longest is not None and longest < 0:
        raise InvalidField(field, "must not be negative")
    return longest


def location_from(message: selector_pb2.LocationFilter, parent: str) -> LocationFilter:
    """A filter on a place. Raises InvalidField for a circle that is on no earth."""
    return LocationFilter(
        _text(message.country) if message.HasField("country") else None,
        _text(message.city) if message.HasField("city") else None,
        _vicinity(message.vicinity, f"{parent}.vicinity") if message.HasField("vicinity") else None,
    )


def _vicinity(message: selector_pb2.Vicinity, parent: str) -> Vicinity:
    if not message.HasField("centre"):
        raise InvalidField(f"{parent}.centre", "is required")
    if message.radius_metres < 0:
        raise InvalidField(f"{parent}.radius_metres", f"is {message.radius_metres}; it must not be negative")
    return Vicinity(_point(message.centre, f"{parent}.centre"), message.radius_metres)


def _point(message: LatLng, parent: str) -> tuple[float, float]:
    """Degrees of latitude and longitude. NaN is in no range."""
    if not -90.0 <= message.latitude <= 90.0:
        raise InvalidField(f"{parent}.latitude", f"is {message.latitude}; it must be from -90 to 90 degrees")
    if not -180.0 <= message.longitude <= 180.0:
        raise InvalidField(f"{parent}.longitude", f"is {message.longitude}; it must be from -180 to 180 degrees")
    return message.latitude, message.longitude
