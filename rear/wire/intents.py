"""Intents: as the ledger and the API have them, exactly both ways, and as callers send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
from rear.domain.intent_rules import check
from rear.domain.refusals import InvalidField
from rear.domain.units import attributes
from rear.domain.window import AskedWindow
from rear.v1 import intent_pb2
from rear.wire.requests import (
    duration_from,
    enum_from,
    instant_from,
    money_from,
    partition_from,
    quantities_from,
    window_from,
)
from rear.wire.selectors import location_from, read_location, write_location
from rear.wire.values import (
    read_asked_window,
    read_duration,
    read_instant,
    read_money,
    read_partition,
    read_quantities,
    write_asked_window,
    write_duration,
    write_instant,
    write_money,
    write_partition,
    write_quantities,
)

LARGEST_INTENT: Final = 128 * 1024
"""The most bytes of an intent, as a message or as a document."""

AGREEMENT_NUMBERS: Final[Mapping[Agreement, intent_pb2.Agreement.ValueType]] = {
    Agreement.RESERVE_THEN_PURCHASE: intent_pb2.AGREEMENT_RESERVE_THEN_PURCHASE,
    Agreement.DIRECT: intent_pb2.AGREEMENT_DIRECT,
}

AGREEMENTS: Final[Mapping[int, Agreement]] = {
    intent_pb2.AGREEMENT_UNSPECIFIED: Agreement.RESERVE_THEN_PURCHASE,
    **{number: agreement for agreement, number in AGREEMENT_NUMBERS.items()},
}

OBJECTIVE_NUMBERS: Final[Mapping[Objective, intent_pb2.Objective.ValueType]] = {
    Objective.PRICE: intent_pb2.OBJECTIVE_PRICE,
    Objective.LATENCY: intent_pb2.OBJECTIVE_LATENCY,
    Objective.CARBON: intent_pb2.OBJECTIVE_CARBON,
    Objective.RATING: intent_pb2.OBJECTIVE_RATING,
}

OBJECTIVES: Final[Mapping[int, Objective]] = {
    intent_pb2.OBJECTIVE_UNSPECIFIED: Objective.PRICE,
    **{number: objective for objective, number in OBJECTIVE_NUMBERS.items()},
}

PROTOCOL_NUMBERS: Final[Mapping[PortProtocol, intent_pb2.PortProtocol.ValueType]] = {
    PortProtocol.TCP: intent_pb2.PORT_PROTOCOL_TCP,
}

PROTOCOLS: Final[Mapping[int, PortProtocol]] = {
    intent_pb2.PORT_PROTOCOL_UNSPECIFIED: PortProtocol.TCP,
    **{number: protocol for protocol, number in PROTOCOL_NUMBERS.items()},
}

_UNCONSTRAINED: Final = Constraints()
_ANY_WINDOW: Final = AskedWindow()


def intent_from(message: intent_pb2.Intent | None, parent: str = "intent") -> Intent:
    """The intent that a caller sends, checked by every rule that needs no clock. Raises InvalidField."""
    if message is None:
        raise InvalidField(parent, "is required")
    if (size := message.ByteSize()) > LARGEST_INTENT:
        raise InvalidField(parent, f"has {size} bytes; {LARGEST_INTENT} at most")
    intent = Intent(
        message.name,
        tuple(
            _component_from(component, f"{parent}.components[{at}]") for at, component in enumerate(message.components)
        ),
        enum_from(AGREEMENTS, message.agreement, f"{parent}.agreement"),
        message.priority,
    )
    check(intent, parent)
    return intent


def write_intent(message: intent_pb2.Intent, intent: Intent) -> None:
    """Everything, with its enums always set."""
    message.name = intent.name
    message.agreement = AGREEMENT_NUMBERS[intent.agreement]
    message.priority = intent.priority
    for component in intent.components:
        _write_component(message.components.add(), component)


def read_intent(message: intent_pb2.Intent) -> Intent:
    """What `write_intent` wrote. Raises KeyError for an enum's value that this version does not know."""
    return Intent(
        message.name,
        tuple([_read_component(component) for component in message.components]),
        AGREEMENTS[message.agreement],
        message.priority,
    )


def _component_from(message: intent_pb2.Component, parent: str) -> Component:
    has = message.HasField
    if not has("workload"):
        raise InvalidField(f"{parent}.workload", "is required")
    constraints = message.constraints
    return Component(
        name=message.name,
        partition=partition_from(message.partition if has("partition") else None, f"{parent}.partition"),
        workload=_workload_from(message.workload, f"{parent}.workload"),
        minimum=quantities_from(message.minimum, f"{parent}.minimum"),
        constraints=Constraints(
            architectures=tuple(constraints.architectures),
            gpu_models=tuple(constraints.gpu_models),
            location=location_from(constraints.location, f"{parent}.constraints.location")
            if constraints.HasField("location")
            else None,
            max_price=money_from(
                constraints.max_price if constraints.HasField("max_price") else None, f"{parent}.constraints.max_price"
            ),
            max_latency=duration_from(
                constraints.max_latency if constraints.HasField("max_latency") else None,
                f"{parent}.constraints.max_latency",
            ),
            security_standards=tuple(constraints.security_standards),
            tags=attributes(constraints.tags),
        ),
        window=window_from(message.window if has("window") else None, f"{parent}.window"),
        latest_start=instant_from(message.latest_start, f"{parent}.latest_start") if has("latest_start") else None,
        objective=enum_from(OBJECTIVES, message.objective, f"{parent}.objective"),
        depends_on=tuple(message.depends_on),
    )


def _workload_from(message: intent_pb2.Workload, parent: str) -> Workload:
    return Workload(
        tuple(message.command),
        attributes(message.environment),
        tuple(
            Port(port.name, port.number, enum_from(PROTOCOLS, port.protocol, f"{parent}.ports[{at}].protocol"))
            for at, port in enumerate(message.ports)
        ),
    )


def _write_component(message: intent_pb2.Component, component: Component) -> None:
    message.name = component.name
    write_partition(message.partition, component.partition)
    if component.minimum:
        write_quantities(message.minimum, component.minimum)
    if component.constraints != _UNCONSTRAINED:
        _write_constraints(message.constraints, component.constraints)
    if component.window != _ANY_WINDOW:
        write_asked_window(message.window, component.window)
    if component.latest_start is not None:
        write_instant(message.latest_start, component.latest_start)
    message.workload.command.extend(component.workload.command)
    message.workload.environment.update(component.workload.environment)
    for port in component.workload.ports:
        message.workload.ports.add(name=port.name, number=port.number, protocol=PROTOCOL_NUMBERS[port.protocol])
    message.objective = OBJECTIVE_NUMBERS[component.objective]
    message.depends_on.extend(component.depends_on)


def _read_component(message: intent_pb2.Component) -> Component:
    has = message.HasField
    return Component(
        name=message.name,
        partition=read_partition(message.partition),
        workload=Workload(
            tuple(message.workload.command),
            attributes(message.workload.environment),
            tuple([Port(port.name, port.number, PROTOCOLS[port.protocol]) for port in message.workload.ports]),
        ),
        minimum=read_quantities(message.minimum),
        constraints=_read_constraints(message.constraints) if has("constraints") else _UNCONSTRAINED,
        window=read_asked_window(message.window) if has("window") else _ANY_WINDOW,
        latest_start=read_instant(message.latest_start) if has("latest_start") else None,
        objective=OBJECTIVES[message.objective],
        depends_on=tuple(message.depends_on),
    )


def _write_constraints(message: intent_pb2.Constraints, constraints: Constraints) -> None:
    message.architectures.extend(constraints.architectures)
    message.gpu_models.extend(constraints.gpu_models)
    if constraints.location is not None:
        write_location(message.location, constraints.location)
    if constraints.max_price is not None:
        write_money(message.max_price, constraints.max_price)
    if constraints.max_latency is not None:
        message.max_latency.SetInParent()
        write_duration(message.max_latency, constraints.max_latency)
    message.security_standards.extend(constraints.security_standards)
    message.tags.update(constraints.tags)


def _read_constraints(message: intent_pb2.Constraints) -> Constraints:
    has = message.HasField
    return Constraints(
        architectures=tuple(message.architectures),
        gpu_models=tuple(message.gpu_models),
        location=read_location(message.location) if has("location") else None,
        max_price=read_money(message.max_price) if has("max_price") else None,
        max_latency=read_duration(message.max_latency) if has("max_latency") else None,
        security_standards=tuple(message.security_standards),
        tags=attributes(message.tags),
    )
