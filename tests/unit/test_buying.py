"""The judge of the buyer's half of a ledger, on ledgers made by hand: one in which all is well, and what is changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, TypeVar

import pytest
from google.protobuf.message import Message

from rear.event.v1 import allocation_pb2 as allocation_pb
from rear.event.v1 import pool_pb2 as pool_pb
from rear.event.v1 import purchase_pb2 as purchase_pb
from rear.event.v1 import service_request_pb2 as request_pb
from rear.event.v1.envelope_pb2 import Envelope
from rear.v1.audit_service_pb2 import RecordedEvent
from rear.v1.contract_pb2 import Contract, ContractState
from rear.v1.intent_pb2 import Component, Intent
from tests.checker.buying import Buying

SELLER: Final = "spiffe://campus.example/node/n2"
RUN: Final = "run-1"
WEB: Final = "contract-web"
DB: Final = "hold-db"
NODE: Final = f"{WEB}-consumer"

Commit = list[tuple[str, str, Message]]
"""Events of one commit: aggregate type, aggregate id, body."""

BODIES: Final = {
    field.message_type.name: field.name  # type: ignore[union-attr]  # every body is a message
    for field in Envelope.DESCRIPTOR.oneofs_by_name["body"].fields
}


def recorded(story: Sequence[Commit]) -> list[RecordedEvent]:
    """The events as a service gives them out."""
    found: list[RecordedEvent] = []
    head, versions = bytes(32), dict[str, int]()
    for at, commit in enumerate(story, start=1):
        for kind, key, body in commit:
            subject = f"rear.log.n1.{kind}.{key}"
            versions[subject] = versions.get(subject, 0) + 1
            envelope = Envelope(subject=subject, aggregate_version=versions[subject])
            envelope.recorded_time.FromSeconds(at)
            getattr(envelope, BODIES[body.DESCRIPTOR.name]).CopyFrom(body)
            payload = envelope.SerializeToString()
            head = sha256(head + len(subject).to_bytes(4, "big") + subject.encode() + payload).digest()
            found.append(RecordedEvent(sequence=len(found) + 1, subject=subject, payload=payload, hash=head))
    return found


def seen(state: ContractState.ValueType, revision: int) -> purchase_pb.LinkObserved:
    contract = Contract(contract_id=WEB, provider_id=SELLER, state=state, revision=revision)
    contract.partition.quantities.cpu_millicores = 1_000
    return purchase_pb.LinkObserved(contract=contract)


def asked(verb: purchase_pb.LinkVerb.ValueType, component: str = "web") -> purchase_pb.LinkRequested:
    if verb != purchase_pb.LinkVerb.LINK_VERB_RESERVE:
        return purchase_pb.LinkRequested(verb=verb)
    return purchase_pb.LinkRequested(
        verb=verb, order=purchase_pb.Order(provider_id=SELLER), service_request_id=RUN, component=component
    )


def well() -> list[Commit]:
    """One component is held here, one is bought; in the end both are given back."""
    accepted = request_pb.IntentAccepted(intent=Intent(components=[Component(name="db"), Component(name="web")]))
    held = pool_pb.PoolReserved(hold=pool_pb.Hold(hold_id=DB, kind=pool_pb.HoldKind.HOLD_KIND_LOCAL))
    here = request_pb.ComponentPlanned(component="db")
    here.local.pool_id, here.local.hold_id = "own", DB
    there = request_pb.ComponentPlanned(component="web", elsewhere=request_pb.Elsewhere())
    created = allocation_pb.AllocationCreated(
        contract_id=WEB, side=allocation_pb.AllocationSide.ALLOCATION_SIDE_CONSUMER
    )
    created.quantities.cpu_millicores = 1_000
    created.window.SetInParent()
    reserved = seen(ContractState.CONTRACT_STATE_RESERVED, 1)
    reserved.contract.window.SetInParent()
    return [
        [("request", RUN, accepted)],
        [("request", RUN, here), ("pool", "own", held)],
        [("request", RUN, there)],
        [
            ("request", RUN, request_pb.CandidateChosen(component="web", contract_id=WEB)),
            ("purchase", WEB, asked(purchase_pb.LinkVerb.LINK_VERB_RESERVE)),
        ],
        [("purchase", WEB, reserved), ("allocation", NODE, created)],
        [
            ("request", RUN, request_pb.PurchaseDecided()),
            ("purchase", WEB, asked(purchase_pb.LinkVerb.LINK_VERB_PURCHASE)),
        ],
        [("purchase", WEB, seen(ContractState.CONTRACT_STATE_ACTIVE, 3))],
        [
            ("allocation", NODE, allocation_pb.AllocationPeered()),
            ("allocation", NODE, allocation_pb.AllocationActivated()),
        ],
        [
            ("request", RUN, request_pb.ComponentReady(component="db")),
            ("request", RUN, request_pb.ComponentReady(component="web")),
            ("request", RUN, request_pb.RequestReady()),
        ],
        [
            ("request", RUN, request_pb.RequestCancelled(actor="somebody")),
            ("purchase", WEB, asked(purchase_pb.LinkVerb.LINK_VERB_CANCEL)),
            ("pool", "own", pool_pb.HoldReleased(hold_id=DB)),
            ("request", RUN, request_pb.ComponentEnded(component="db")),
        ],
        [
            ("purchase", WEB, seen(ContractState.CONTRACT_STATE_CANCELLED, 4)),
            ("allocation", NODE, allocation_pb.AllocationReleased()),
        ],
    ]


Body = TypeVar("Body", bound=Message)


def body(story: list[Commit], commit: int, kind: type[Body]) -> Body:
    return next(one for _, _, one in story[commit] if isinstance(one, kind))


def without(story: list[Commit], commit: int, kind: type[Message]) -> None:
    story[commit] = [event for event in story[commit] if not isinstance(event[2], kind)]


def bought_early(story: list[Commit]) -> str:
    story[4], story[5] = story[5], story[4]
    return "is purchased before web is held"


def bought_without_the_other(story: list[Commit]) -> str:
    del story[1]
    return "is purchased before db is held"


def bought_twice_over(story: list[Commit]) -> str:
    story.insert(4, [("purchase", "contract-2", asked(purchase_pb.LinkVerb.LINK_VERB_RESERVE))])
    return "web of run-1 has several sources: contract-web, contract-2"


def held_and_bought(story: list[Commit]) -> str:
    story.insert(4, [("purchase", "contract-2", asked(purchase_pb.LinkVerb.LINK_VERB_RESERVE, "db"))])
    return "db of run-1 has several sources: contract-2, hold-db"


def a_copy_that_goes_back(story: list[Commit]) -> str:
    body(story, 6, purchase_pb.LinkObserved).contract.revision = 1
    return "goes from revision 1 to 1"


def a_copy_of_another(story: list[Commit]) -> str:
    body(story, 6, purchase_pb.LinkObserved).contract.provider_id = "spiffe://campus.example/node/n3"
    return "is copied from another"


def active_too_early(story: list[Commit]) -> str:
    body(story, 6, purchase_pb.LinkObserved).contract.state = ContractState.CONTRACT_STATE_CONFIRMED
    return f"allocation {NODE} is active, and its contract is not"


def never_given_back(story: list[Commit]) -> str:
    del story[-1]
    return "of a service request that has ended is not given back"


def a_hold_that_stays(story: list[Commit]) -> str:
    without(story, 9, pool_pb.HoldReleased)
    return "hold hold-db in pool own is of no component that runs"


def an_allocation_that_stays(story: list[Commit]) -> str:
    without(story, 10, allocation_pb.AllocationReleased)
    return f"allocation {NODE} is ACTIVE, though its contract has ended"


def ready_without_resources(story: list[Commit]) -> str:
    del story[7]
    return "component web of run-1 is ready, without active resources"


def ready_without_all(story: list[Commit]) -> str:
    del story[8][0]
    return "is ready, though db is not"


def undone_and_seen(story: list[Commit]) -> str:
    story[4] = [("purchase", WEB, purchase_pb.LinkUndone(reason="CAPACITY_EXCEEDED")), *story[4]]
    return "is undone, is seen to live, and is not cancelled"


def begun_after_the_end(story: list[Commit]) -> str:
    story.append([("purchase", "contract-2", asked(purchase_pb.LinkVerb.LINK_VERB_RESERVE))])
    return "for a service request that has ended"


def asked_for_by_nobody(story: list[Commit]) -> str:
    del story[3]
    return "which nobody asked for"


def other_quantities(story: list[Commit]) -> str:
    body(story, 4, allocation_pb.AllocationCreated).quantities.cpu_millicores += 1
    return f"allocation {NODE} is not what its contract says"


TAMPERINGS: Final[Sequence[Callable[[list[Commit]], str]]] = (
    bought_early,
    bought_without_the_other,
    bought_twice_over,
    held_and_bought,
    a_copy_that_goes_back,
    a_copy_of_another,
    active_too_early,
    never_given_back,
    a_hold_that_stays,
    an_allocation_that_stays,
    ready_without_resources,
    ready_without_all,
    undone_and_seen,
    begun_after_the_end,
    asked_for_by_nobody,
    other_quantities,
)


def judged(story: Sequence[Commit]) -> list[str]:
    judge = Buying(recorded(story))
    return [*judge.findings, *judge.nothing_left()]


def test_a_ledger_in_which_all_is_well_has_no_findings() -> None:
    assert judged(well()) == []


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_what_may_not_be_is_found(tamper: Callable[[list[Commit]], str]) -> None:
    story = copy.deepcopy(well())
    expected = tamper(story)
    found = judged(story)
    assert any(expected in finding for finding in found), found
