"""What matters of the events of service requests, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rear.event.v1 import service_request_pb2 as events
    from rear.v1 import service_request_pb2 as requests


def _accepted(body: events.IntentAccepted) -> str:
    return f"{body.intent.name}: {', '.join(each.name for each in body.intent.components)}"


def _planned(body: events.ComponentPlanned) -> str:
    match body.WhichOneof("source"):
        case "local":
            where = f"in pool {body.local.pool_id} of this node"
        case "virtual_node":
            where = f"on virtual node {body.virtual_node.allocation_id}"
        case _:
            where = "elsewhere"
    return f"{body.component} {where}"


def _asked(body: events.ProvidersAsked) -> str:
    before = "as was known before: " if body.known_before else ""
    return f"{body.component}: {before}{'; '.join(map(_answer, body.answers)) or 'nobody is known'}"


def _answer(answer: requests.ProviderAnswer) -> str:
    who = answer.provider_id or answer.endpoint
    took = f"in {answer.elapsed.ToTimedelta().total_seconds() * 1_000:.0f} ms"
    if answer.status.code:
        return f"{who} gave no answer {took}: {answer.status.message}"
    return f"{who} offers {answer.flavours} {took}"


def _chosen(body: events.CandidateChosen) -> str:
    return f"{body.component}: {body.flavour_id} of {body.provider_id}, {body.reason}"


def _refused(body: events.CandidateRefused) -> str:
    refusal = body.refusal
    return f"{body.component}: {refusal.flavour_id} of {refusal.provider_id}, {refusal.reason} {refusal.message}"


def _ended(body: events.ComponentEnded) -> str:
    return f"{body.component}: {body.reason}"


SUMMARIES: Final[Mapping[str, Callable[[Any], str]]] = {
    "intent_accepted": _accepted,
    "component_planned": _planned,
    "providers_asked": _asked,
    "candidate_chosen": _chosen,
    "candidate_refused": _refused,
    "component_ready": lambda body: str(body.component),
    "component_ended": _ended,
    "request_failed": lambda body: f"{body.reason} {body.message}",
    "request_cancelled": lambda body: f"by {body.actor} {body.reason}".rstrip(),
}
