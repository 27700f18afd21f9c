"""Intents: what an application owner wants to have running (workflow steps 1 and 2)."""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from rear.domain.demand import Demand
from rear.domain.price import Money
from rear.domain.quantities import NOTHING, Quantities
from rear.domain.selector import LocationFilter
from rear.domain.value import value
from rear.domain.window import AskedWindow, Duration, Instant


class Agreement(Enum):
    """How contracts with providers come about."""

    RESERVE_THEN_PURCHASE = "RESERVE_THEN_PURCHASE"
    DIRECT = "DIRECT"


class Objective(Enum):
    """What decides between offers that are good enough. Ratings decide between equals."""

    PRICE = "PRICE"
    LATENCY = "LATENCY"
    CARBON = "CARBON"
    RATING = "RATING"


class PortProtocol(Enum):
    """How a port is spoken to."""

    TCP = "TCP"


@value
class Port:
    """A port that a workload listens on."""

    name: str
    number: int
    protocol: PortProtocol = PortProtocol.TCP


@value
class Workload:
    """What runs on a component's resources. `environment` is sorted by name; no shell reads the command."""

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    ports: tuple[Port, ...] = ()


@value
class Constraints:
    """Where a component may run. Everything that is set must hold; `tags` are sorted by name.

    Of architectures and GPU models any will do; security standards and tags must all be there.
    """

    architectures: tuple[str, ...] = ()
    gpu_models: tuple[str, ...] = ()
    location: LocationFilter | None = None
    max_price: Money | None = None
    max_latency: Duration | None = None
    security_standards: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@value
class Component:
    """One part of an application. `minimum` names only the kinds of which less than all of it will do."""

    name: str
    partition: Demand
    workload: Workload
    minimum: Quantities = NOTHING
    constraints: Constraints = field(default_factory=Constraints)
    window: AskedWindow = field(default_factory=AskedWindow)
    latest_start: Instant | None = None
    objective: Objective = Objective.PRICE
    depends_on: tuple[str, ...] = ()

    @property
    def least(self) -> Quantities:
        """The least that it can do with, of every kind that it asks for."""
        if not self.minimum:
            return self.partition.quantities
        return Quantities({kind: self.minimum.get(kind, amount) for kind, amount in self.partition.quantities.items()})


@value
class Intent:
    """An application: its components are all got, or none."""

    name: str
    components: tuple[Component, ...]
    agreement: Agreement = Agreement.RESERVE_THEN_PURCHASE
    priority: int = 0

    def component(self, name: str) -> Component:
        """The component of that name. Raises KeyError."""
        for component in self.components:
            if component.name == name:
                return component
        raise KeyError(name)
