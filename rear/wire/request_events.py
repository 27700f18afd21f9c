"""Bodies of service requests' events. Readers raise KeyError for an enum's number that this version does not know."""

from __future__ import annotations

from rear.domain.answers import HeardRefusal, ProviderAnswer
from rear.domain.event import Cause
from rear.domain.request_events import CandidateRefused, ComponentPlanned, IntentAccepted, ProvidersAsked
from rear.domain.source import Elsewhere, LocalSource, Source, VirtualNodeSource
from rear.event.v1 import service_request_pb2 as bodies
from rear.v1 import service_request_pb2
from rear.wire.contracts import read_counter_offer, write_counter_offer
from rear.wire.intents import read_intent, write_intent
from rear.wire.values import (
    read_duration,
    read_shares,
    read_window,
    write_duration,
    write_shares,
    write_window,
)


def write_accepted(body: bodies.IntentAccepted, event: IntentAccepted) -> None:
    """A service request's first event."""
    write_intent(body.intent, event.intent)
    body.fingerprint = event.fingerprint


def read_accepted(body: bodies.IntentAccepted, request_id: str, version: int, cause: Cause) -> IntentAccepted:
    """What `write_accepted` wrote."""
    return IntentAccepted(request_id, version, cause, read_intent(body.intent), body.fingerprint)


def write_planned(body: bodies.ComponentPlanned, event: ComponentPlanned) -> None:
    """Where a component's resources are to come from."""
    body.component = event.component
    match event.source:
        case LocalSource(pool_id=pool_id, hold_id=hold_id):
            body.local.pool_id = pool_id
            body.local.hold_id = hold_id
            body.local.SetInParent()
        case VirtualNodeSource(allocation_id=allocation_id, units=units):
            body.virtual_node.allocation_id = allocation_id
            body.virtual_node.SetInParent()
            write_shares(body.units, units)
        case Elsewhere():
            body.elsewhere.SetInParent()
    if event.window is not None:
        body.window.SetInParent()
        write_window(body.window, event.window)


def read_planned(body: bodies.ComponentPlanned, request_id: str, version: int, cause: Cause) -> ComponentPlanned:
    """What `write_planned` wrote. Raises KeyError for a source that this version does not know."""
    window = read_window(body.window) if body.HasField("window") else None
    return ComponentPlanned(request_id, version, cause, body.component, _source(body), window)


def _source(body: bodies.ComponentPlanned) -> Source:
    match body.WhichOneof("source"):
        case "local":
            return LocalSource(body.local.pool_id, body.local.hold_id)
        case "virtual_node":
            return VirtualNodeSource(body.virtual_node.allocation_id, read_shares(body.units))
        case "elsewhere":
            return Elsewhere()
    raise KeyError("source")


def write_asked(body: bodies.ProvidersAsked, event: ProvidersAsked) -> None:
    """How providers answered."""
    body.component = event.component
    for answer in event.answers:
        write_answer(body.answers.add(), answer)
    body.known_before = event.known_before


def read_asked(body: bodies.ProvidersAsked, request_id: str, version: int, cause: Cause) -> ProvidersAsked:
    """What `write_asked` wrote."""
    answers = tuple([read_answer(answer) for answer in body.answers])
    return ProvidersAsked(request_id, version, cause, body.component, answers, body.known_before)


def write_candidate_refused(body: bodies.CandidateRefused, event: CandidateRefused) -> None:
    """An offer that could not be got."""
    body.component = event.component
    body.contract_id = event.contract_id
    body.refusal.SetInParent()
    write_refusal(body.refusal, event.refusal)


def read_candidate_refused(
    body: bodies.CandidateRefused, request_id: str, version: int, cause: Cause
) -> CandidateRefused:
    """What `write_candidate_refused` wrote."""
    refusal = read_refusal(body.refusal)
    return CandidateRefused(request_id, version, cause, body.component, body.contract_id, refusal)


def write_answer(message: service_request_pb2.ProviderAnswer, answer: ProviderAnswer) -> None:
    """How one provider answered."""
    message.provider_id = answer.provider_id
    message.endpoint = answer.endpoint
    message.status.code = answer.code
    message.status.message = answer.message
    message.elapsed.SetInParent()
    write_duration(message.elapsed, answer.elapsed)
    message.flavours = answer.flavours


def read_answer(message: service_request_pb2.ProviderAnswer) -> ProviderAnswer:
    """What `write_answer` wrote."""
    return ProviderAnswer(
        message.provider_id,
        message.endpoint,
        message.status.code,
        message.status.message,
        read_duration(message.elapsed),
        message.flavours,
    )


def write_refusal(message: service_request_pb2.HeardRefusal, refusal: HeardRefusal) -> None:
    """A reservation that was refused."""
    message.provider_id = refusal.provider_id
    message.flavour_id = refusal.flavour_id
    message.reason = refusal.reason
    message.message = refusal.message
    if refusal.counter_offer is not None:
        message.counter_offer.SetInParent()
        write_counter_offer(message.counter_offer, refusal.counter_offer)


def read_refusal(message: service_request_pb2.HeardRefusal) -> HeardRefusal:
    """What `write_refusal` wrote."""
    return HeardRefusal(
        message.provider_id,
        message.flavour_id,
        message.reason,
        message.message,
        read_counter_offer(message.counter_offer) if message.HasField("counter_offer") else None,
    )
