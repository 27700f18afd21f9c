"""What clients asked and were told, and when: the evidence that a checker judges. Kept as lines of JSON."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

from rear.v1 import contract_service_pb2 as contracts_pb
from rear.v1 import discovery_service_pb2 as discovery_pb
from rear.v1.contract_pb2 import CounterOffer

MESSAGES: Final[Mapping[str, tuple[type[Message], type[Message]]]] = {
    "ReserveFlavour": (contracts_pb.ReserveFlavourRequest, contracts_pb.ReserveFlavourResponse),
    "PurchaseFlavour": (contracts_pb.PurchaseFlavourRequest, contracts_pb.PurchaseFlavourResponse),
    "CancelContract": (contracts_pb.CancelContractRequest, contracts_pb.CancelContractResponse),
    "RevokeContract": (contracts_pb.RevokeContractRequest, contracts_pb.RevokeContractResponse),
    "GetContract": (contracts_pb.GetContractRequest, contracts_pb.GetContractResponse),
    "ListContracts": (contracts_pb.ListContractsRequest, contracts_pb.ListContractsResponse),
    "ListFlavours": (discovery_pb.ListFlavoursRequest, discovery_pb.ListFlavoursResponse),
    "GetFlavour": (discovery_pb.GetFlavourRequest, discovery_pb.GetFlavourResponse),
}
"""What is recorded: each call's request and response."""

METHOD_OF: Final = {request: method for method, (request, _) in MESSAGES.items()}

WRITES: Final = frozenset({"ReserveFlavour", "PurchaseFlavour", "CancelContract", "RevokeContract"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that says no, or "not now": its reason is a name of `rear.v1.ErrorReason`."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    counter_offer: CounterOffer | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer, or one that leaves the outcome open."""

    why: str


Outcome = Message | Refusal | Unknown
"""A response of the call's own type, or how it ended otherwise."""


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at one call. `began` and `ended` are of one monotonic clock for all calls of a history, `ended_at`
    is the same moment by the machine's clock; all in nanoseconds.
    """

    client: str
    caller: str
    """The caller's identity; empty for the principal of a connection without TLS."""
    method: str
    request: Message
    began: int
    ended: int
    ended_at: int
    outcome: Outcome

    @property
    def request_id(self) -> str:
        """Empty for reads."""
        return str(getattr(self.request, "request_id", ""))

    @property
    def writes(self) -> bool:
        """Whether it asks for a change."""
        return self.method in WRITES and not getattr(self.request, "validate_only", False)

    def __str__(self) -> str:
        about = self.request_id or getattr(self.request, "contract_id", "") or getattr(self.request, "flavour_id", "")
        match self.outcome:
            case Refusal(reason=reason):
                told = reason
            case Unknown(why=why):
                told = f"unknown ({why})"
            case answer:
                told = f"OK at {getattr(answer, 'position', '?').rpartition('.')[2]}"
        return f"{self.client}'s {self.method}({about}) from {self.began} to {self.ended}: {told}"


def write_line(call: Call) -> str:
    """The call as one line of JSON; messages as base64 of their bytes."""
    told: dict[str, Any]
    match call.outcome:
        case Refusal() as refusal:
            told = {"reason": refusal.reason, "message": refusal.message, "metadata": dict(refusal.metadata)}
            if refusal.counter_offer is not None:
                told["counter_offer"] = _text(refusal.counter_offer)
        case Unknown(why=why):
            told = {"unknown": why}
        case answer:
            told = {"answer": _text(answer)}
    return json.dumps(
        {
            "client": call.client,
            "caller": call.caller,
            "method": call.method,
            "request": _text(call.request),
            "began": call.began,
            "ended": call.ended,
            "ended_at": call.ended_at,
            **told,
        }
    )


def read_line(line: str) -> Call:
    """What `write_line` wrote."""
    read = json.loads(line)
    request, response = MESSAGES[read["method"]]
    outcome: Outcome
    if "answer" in read:
        outcome = response.FromString(b64decode(read["answer"]))
    elif "unknown" in read:
        outcome = Unknown(read["unknown"])
    else:
        offer = read.get("counter_offer")
        offered = None if offer is None else CounterOffer.FromString(b64decode(offer))
        outcome = Refusal(read["reason"], read["message"], read["metadata"], offered)
    return Call(
        read["client"],
        read["caller"],
        read["method"],
        request.FromString(b64decode(read["request"])),
        read["began"],
        read["ended"],
        read["ended_at"],
        outcome,
    )


def save(calls: Iterable[Call], path: Path) -> None:
    """Writes a history to a file."""
    path.write_text("".join(f"{write_line(call)}\n" for call in calls))


def load(path: Path) -> list[Call]:
    """Reads a history from a file."""
    with path.open() as lines:
        return [read_line(line) for line in lines]


def _text(message: Message) -> str:
    return b64encode(message.SerializeToString()).decode()
