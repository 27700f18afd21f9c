"""The steps of workflow 1 (docs/workflows.md), and what two ledgers show of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

CONSUMER: Final = "consumer"
PROVIDER: Final = "provider"

Event = Mapping[str, Any]
"""A line of `rear --json events`."""

STEPS: Final[Mapping[int, tuple[str, str]]] = {
    1: (CONSUMER, "an application owner hands in an intent (SubmitIntent)"),
    2: (CONSUMER, "it is checked against the schema and the rules"),
    3: (CONSUMER, "it is recorded"),
    4: (CONSUMER, "the caller has an operation; the orchestrator has the service request"),
    5: (CONSUMER, "the service request becomes one resource request for each component"),
    6: (CONSUMER, "does this node have what is needed?"),
    7: (CONSUMER, "what fits is held here; what does not is to come from elsewhere"),
    8: (CONSUMER, "a selector is made of what is missing"),
    9: (CONSUMER, "is there an offer that was heard of before? No"),
    10: (CONSUMER, "every neighbour is asked for flavours, all at the same time (ListFlavours)"),
    11: (PROVIDER, "it answers with what it has"),
    12: (CONSUMER, "the offers are kept as peering candidates"),
    13: (CONSUMER, "who answered is recorded"),
    14: (CONSUMER, "the best offer is chosen; the request to its provider is recorded before it is sent"),
    15: (CONSUMER, "the reservation is sent (ReserveFlavour)"),
    16: (PROVIDER, "the contract comes into being: capacity is held"),
    17: (PROVIDER, "the flavour is retired, and a smaller one advertised"),
    18: (PROVIDER, "an allocation stands for the contract, inactive"),
    19: (PROVIDER, "it answers OK: all of that is on the disk"),
    20: (CONSUMER, "the buyer's copy of the contract"),
    21: (CONSUMER, "an allocation stands for it here too: a virtual node, inactive"),
    22: (CONSUMER, "everything is held, so it is purchased (PurchaseFlavour)"),
    23: (PROVIDER, "the contract is agreed; its window has begun, so it is active"),
    24: (CONSUMER, "the buyer's copy follows"),
    25: (CONSUMER, "the resources of the contract are asked for (RequestResources)"),
    26: (PROVIDER, "a contract covers them: its allocation is peered and active"),
    27: (CONSUMER, "the virtual node is peered and active"),
    28: (CONSUMER, "the orchestrator finds the virtual node among its own resources: ready"),
}
"""What happens at each step, and at which node."""

_OF_CONSUMER: Final[Mapping[str, int]] = {
    "IntentAccepted": 3,
    "ComponentPlanned": 7,
    "PoolReserved": 7,
    "ProvidersAsked": 13,
    "CandidateChosen": 14,
    "AllocationCreated": 21,
    "PurchaseDecided": 22,
    "AllocationPeered": 27,
    "AllocationActivated": 27,
    "ComponentReady": 28,
    "RequestReady": 28,
}
_OF_PROVIDER: Final[Mapping[str, int]] = {
    "ContractReserved": 16,
    "PoolReserved": 17,
    "AllocationCreated": 18,
    "ContractPurchased": 23,
    "ContractActivated": 23,
    "AllocationPeered": 26,
    "AllocationActivated": 26,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """An event that shows a step: at which node, where in its ledger, when, and what it says."""

    side: str
    sequence: str
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Walked:
    """A step with the events that show it."""

    number: int
    side: str
    sentence: str
    seen: Sequence[Seen]


def step_of(side: str, event: Event) -> int | None:
    """The step that an event shows; None for one that belongs to none."""
    kind, body = str(event["type"]), event["event"]
    if side == PROVIDER:
        return _OF_PROVIDER.get(kind)
    if kind == "LinkRequested":
        return 22 if body["linkRequested"]["verb"] == "LINK_VERB_PURCHASE" else 14
    if kind == "LinkObserved":
        return 20 if body["linkObserved"]["contract"]["state"] == "CONTRACT_STATE_RESERVED" else 24
    return _OF_CONSUMER.get(kind)


def walked(ledgers: Mapping[str, Iterable[Event]]) -> Iterator[Walked]:
    """Every step in its order, with the events of both sides' ledgers that show it."""
    found: defaultdict[int, list[Seen]] = defaultdict(list)
    for side, ledger in ledgers.items():
        for event in ledger:
            step = step_of(side, event)
            if step is not None:
                at = datetime.fromisoformat(event["event"]["recordedTime"][:26].rstrip("Z") + "+00:00")
                found[step].append(Seen(side, event["sequence"], at, _said(event)))
    for number, (side, sentence) in STEPS.items():
        yield Walked(number, side, sentence, tuple(found[number]))


def _said(event: Event) -> str:
    """What an event says, in a few words."""
    kind = str(event["type"])
    body = event["event"].get(kind[0].lower() + kind[1:], {})
    match kind:
        case "IntentAccepted":
            about = body["intent"]["name"]
        case "ComponentPlanned":
            about = f"{body['component']}: {_source(body)}"
        case "ProvidersAsked":
            answers = (f"{_name(each['providerId'])} has {each.get('flavours', 0)}" for each in body["answers"])
            about = f"{body['component']}: {', '.join(answers)}"
        case "CandidateChosen":
            about = f"{body['component']}: {body['flavourId']} of {_name(body['providerId'])}, {body.get('reason', '')}"
        case "LinkRequested":
            about = body["verb"].removeprefix("LINK_VERB_")
        case "LinkObserved":
            contract = body["contract"]
            about = f"{contract['state'].removeprefix('CONTRACT_STATE_')}, revision {contract['revision']}"
        case "PoolReserved":
            about = f"{body.get('retiredFlavourId', '')} -> {body.get('offer', {}).get('flavourId', '')}".strip(" ->")
        case "AllocationPeered":
            about = f"by the fabric {body['fabric']}, with {_name(body['peerId'])}"
        case "ComponentReady":
            about = body["component"]
        case "ContractReserved":
            about = f"{body['flavourId']} for {_name(body['buyerId'])}"
        case _:
            about = ""
    return f"{kind} {about}".rstrip()


def _source(planned: Mapping[str, Any]) -> str:
    if "local" in planned:
        return f"in the pool {planned['local']['poolId']} of this node"
    if "virtualNode" in planned:
        return f"on the virtual node {planned['virtualNode']['allocationId']}"
    return "elsewhere"


def _name(identity: str) -> str:
    return identity.rpartition("/")[2]
