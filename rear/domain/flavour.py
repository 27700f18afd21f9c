"""Flavours: immutable advertised offers over one pool, made of the pool's terms and one offer."""

from __future__ import annotations

import re
from dataclasses import field
from enum import Enum
from typing import Final

from rear.domain.price import Price
from rear.domain.quantities import NOTHING, Quantities
from rear.domain.units import Unit, UnitShare
from rear.domain.value import value
from rear.domain.window import Duration, Instant

FLAVOUR_ID: Final = re.compile(r"([A-Za-z0-9_-]{1,64})-([1-9][0-9]{0,17})")
"""`<pool>-<n>`."""

GPU: Final = "gpu"
"""The unit class that `gpu_model` filters look at."""

MODEL: Final = "model"
"""The attribute of a unit that names its model."""


class FlavourType(Enum):
    """What kind of resource a flavour offers."""

    K8SLICE = "K8SLICE"
    VM = "VM"
    SERVICE = "SERVICE"
    SENSOR = "SENSOR"


@value
class K8SliceFacts:
    """Facts about a share of a Kubernetes cluster."""

    kubernetes_version: str = ""
    container_runtime: str = ""


@value
class VmFacts:
    """Facts about virtual machines."""

    hypervisor: str = ""
    images: tuple[str, ...] = ()


@value
class ServiceFacts:
    """Facts about a ready service."""

    category: str = ""
    protocol: str = ""
    plan: str = ""


@value
class SensorFacts:
    """Facts about a sensor; the measurement unit is a UCUM code."""

    measurand: str = ""
    measurement_unit: str = ""
    sampling_interval: Duration | None = None


TypeFacts = K8SliceFacts | VmFacts | ServiceFacts | SensorFacts


@value
class Characteristics:
    """Facts that depend on the flavour's type, and the processor architecture where there is one."""

    architecture: str = ""
    of_type: TypeFacts | None = None


@value
class Location:
    """A place. Coordinates are degrees (latitude, longitude); the country is ISO 3166-1 alpha-2."""

    country: str = ""
    city: str = ""
    coordinates: tuple[float, float] | None = None


@value
class Properties:
    """Facts about a resource and its place. What is None or empty is not known, and no filter matches it."""

    latency: Duration | None = None
    security_standards: tuple[str, ...] = ()
    carbon_grams_per_hour: int | None = None
    tags: tuple[tuple[str, str], ...] = ()
    location: Location | None = None


@value
class Partitionability:
    """Bounds on a partition: `minimum + n * step` of each kind that is asked for."""

    minimum: Quantities = NOTHING
    step: Quantities = NOTHING
    unit_minimum_millis: Quantities = NOTHING
    unit_step_millis: Quantities = NOTHING


@value
class Aggregatability:
    """How many flavours of one owner may be combined for one request."""

    min_count: int
    max_count: int


@value
class Policies:
    """How a flavour may be divided and combined. Without partitionability it is sold whole."""

    partitionability: Partitionability | None = None
    aggregatability: Aggregatability | None = None


@value
class Owner:
    """Who owns a resource."""

    domain: str = ""
    display_name: str = ""
    contact: str = ""


@value
class PoolTerms:
    """What all flavours of a pool have in common until the terms change."""

    type: FlavourType
    characteristics: Characteristics = field(default_factory=Characteristics)
    properties: Properties = field(default_factory=Properties)
    policies: Policies = field(default_factory=Policies)
    price: Price = field(default_factory=Price)
    owner: Owner = field(default_factory=Owner)


@value
class Offer:
    """What differs from one flavour of a pool to the next. It never changes once advertised."""

    flavour_id: str
    parent_id: str
    quantities: Quantities
    units: tuple[UnitShare, ...]
    advertised_at: Instant


@value
class Flavour:
    """One whole flavour, as it is advertised."""

    offer: Offer
    terms: PoolTerms
    pool_id: str
    pool_units: tuple[Unit, ...]

    @property
    def id(self) -> str:
        """`<pool>-<n>`."""
        return self.offer.flavour_id


def flavour_id(pool_id: str, number: int) -> str:
    """The id of a pool's `number`-th offer."""
    return f"{pool_id}-{number}"


def parse_flavour_id(text: str) -> tuple[str, int] | None:
    """The pool and the number that a flavour id names, or None where it is not one."""
    match = FLAVOUR_ID.fullmatch(text)
    return None if match is None else (match[1], int(match[2]))
