"""A service request for people: where each component is, what providers said, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rear.command.amounts import show_demand
from rear.command.intent_words import component_state_of, counter_offers, said_by, state_of
from rear.command.output import visible, write_facts
from rear.command.times import show_moment
from rear.wire.values import read_instant, read_partition, read_window

if TYPE_CHECKING:
    from rear.v1 import service_request_pb2


def outcome(request: service_request_pb2.ServiceRequest) -> list[str]:
    """How it has ended, or that it has not; what was heard has been told as it was heard."""
    state = state_of(request)
    if state == "ready":
        return ["Ready: every component is active."]
    if not request.HasField("error"):
        return [f"{state.capitalize()}."]
    lines = [f"{state.capitalize()}: {request.error.message}"]
    if any(component_state_of(component) == "ENDING" for component in request.components):
        lines.append("What it has is being given back.")
    return lines


def write_request(request: service_request_pb2.ServiceRequest) -> None:
    """All of it."""
    write_facts(
        f"Service request {request.service_request_id or '(none)'}",
        [
            ("intent", request.intent.name),
            ("state", state_of(request)),
            ("because", request.error.message),
            ("submitted by", request.submitted_by),
            ("accepted", show_moment(read_instant(request.created_at))),
            ("changed", show_moment(read_instant(request.updated_at))),
            ("revision", str(request.revision)),
        ],
    )
    for component in request.components:
        write_facts(f"Component {component.name}", _facts(component))
        for line in _heard(component):
            click.echo(visible(line))


def _facts(component: service_request_pb2.ComponentStatus) -> list[tuple[str, str]]:
    facts = [("state", component_state_of(component).lower()), ("because", component.reason)]
    match component.WhichOneof("placement"):
        case "local":
            facts.append(("pool", f"{component.local.pool_id} of this node"))
        case "virtual_node":
            facts.append(("virtual node", component.virtual_node.allocation_id))
        case "remote":
            remote = component.remote
            facts += [
                ("provider", f"{remote.provider_id} at {remote.endpoint}"),
                ("flavour", remote.flavour_id),
                ("contract", remote.contract_id),
                ("partition", show_demand(read_partition(remote.partition))),
                ("virtual node", remote.allocation_id),
            ]
    if component.HasField("window"):
        window = read_window(component.window)
        facts.append(("window", f"{show_moment(window.start)} to {show_moment(window.end)}"))
    facts.append(("attempts", str(component.attempts) if component.attempts else ""))
    return facts


def _heard(component: service_request_pb2.ComponentStatus) -> list[str]:
    """What providers said to a component's needs, and who said nothing."""
    lines = [f"  asked {said_by(answer)}" for answer in component.answers]
    for refusal in component.refusals:
        lines.append(f"  {refusal.provider_id} refused {refusal.flavour_id}: {refusal.message}")
        lines += [f"    it would have: {offer}" for offer in counter_offers(refusal)]
    return [f"{component.name}:", *lines] if lines else []
