"""Service requests in words: their states, and what providers said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rear.command.counter_offers import offers
from rear.domain.answers import REFUSALS
from rear.domain.demand import Demand
from rear.domain.window import MILLISECOND, AskedWindow
from rear.wire.values import read_duration

if TYPE_CHECKING:
    from rear.v1 import service_request_pb2


def state_of(request: service_request_pb2.ServiceRequest) -> str:
    """The state of a service request, such as `in progress`."""
    from rear.v1.service_request_pb2 import ServiceRequestState

    try:
        name = ServiceRequestState.Name(request.state)
    except ValueError:
        return str(request.state)
    return name.removeprefix("SERVICE_REQUEST_STATE_").lower().replace("_", " ")


def component_state_of(component: service_request_pb2.ComponentStatus) -> str:
    """The name of a component's state, such as SEARCHING."""
    from rear.v1.service_request_pb2 import ComponentState

    try:
        return ComponentState.Name(component.state).removeprefix("COMPONENT_STATE_")
    except ValueError:
        return str(component.state)


def said_by(answer: service_request_pb2.ProviderAnswer) -> str:
    """Who was asked, and how it answered or why it did not."""
    who = f"{answer.provider_id} at {answer.endpoint}" if answer.provider_id else answer.endpoint
    took = f"{round(read_duration(answer.elapsed) / MILLISECOND)} ms"
    if answer.status.code:
        how = "refused" if answer.status.code in REFUSALS else "no answer"
        return f"{who}: {how} after {took} ({answer.status.message or 'it did not say why'})"
    flavours = "1 flavour" if answer.flavours == 1 else f"{answer.flavours or 'no'} flavours"
    return f"{who}: {flavours} that will do, after {took}"


def counter_offers(refusal: service_request_pb2.HeardRefusal) -> list[str]:
    """What a provider that refused would have had instead."""
    if not refusal.HasField("counter_offer"):
        return []
    return [offer.said for offer in offers(refusal.counter_offer, Demand(), AskedWindow(), ())]
