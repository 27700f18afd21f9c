"""What the checker says of evidence that was tampered with, from a run in which all is well."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from rear.rpc.client import Client
from rear.v1.audit_service_pb2 import RecordedEvent
from tests.checker import Call, check, load, save
from tests.checker.history import Refusal, Unknown
from tests.checker.judgement import judge
from tests.system.evidence import Ledger
from tests.system.fixtures import NewNode
from tests.system.load import History, buyers
from tests.system.node_process import NodeProcess, pool
from tests.system.outages import answers_more

LATER: Final = 10**12
"""Nanoseconds after everything else."""


@dataclass(slots=True)
class Evidence:
    calls: list[Call]
    recorded: list[RecordedEvent]

    def first(self, wanted: Callable[[Call], bool]) -> int:
        """The place of the first call that is wanted."""
        return next(place for place, call in enumerate(self.calls) if wanted(call))

    def put(self, place: int, call: Call) -> None:
        self.calls = [*self.calls[:place], call, *self.calls[place + 1 :]]


@pytest.fixture(scope="module")
def node(new_shared_node: NewNode) -> NodeProcess:
    node = new_shared_node(pool("a", cpu=8), pool("gpu", cpu=20, gpus=2))
    node.start()
    return node


@pytest.fixture(scope="module")
def kept(node: NodeProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RecordedEvent]]:
    """A history in a file, and the ledger."""

    async def run() -> tuple[History, Ledger]:
        async with buyers(8, "evidence", node.endpoint, {"a-1": False, "gpu-1": True}) as history:
            await answers_more(history, 150)
        async with Client(node.endpoint) as client:
            return history, await Ledger.read(client)

    history, ledger = asyncio.run(run())
    path = tmp_path_factory.mktemp("kept") / "history.jsonl"
    save(history.calls, path)
    return path, ledger.recorded


@pytest.fixture
def evidence(kept: tuple[Path, list[RecordedEvent]]) -> Evidence:
    return Evidence(load(kept[0]), list(kept[1]))


def later(call: Call) -> Call:
    return replace(call, began=call.began + LATER, ended=call.ended + LATER)


def granted(method: str) -> Callable[[Call], bool]:
    return lambda call: call.method == method and not isinstance(call.outcome, Refusal | Unknown)


def refused(reason: str) -> Callable[[Call], bool]:
    return lambda call: isinstance(call.outcome, Refusal) and call.outcome.reason == reason


def a_read_moved_to_the_end(evidence: Evidence) -> str:
    place = evidence.first(granted("GetContract"))
    evidence.put(place, later(evidence.calls[place]))
    return r"GetContract\(.* it is older than \d+, where .* ended before it began"


def a_list_moved_to_the_end(evidence: Evidence) -> str:
    place = evidence.first(granted("ListContracts"))
    evidence.put(place, later(evidence.calls[place]))
    return r"ListContracts\(.* it is older than"


def a_write_moved_to_the_end(evidence: Evidence) -> str:
    place = evidence.first(granted("PurchaseFlavour"))
    moved = evidence.calls[place].request_id
    evidence.calls = [later(call) if call.request_id == moved else call for call in evidence.calls]
    return rf"the events .* of request {moved} .* stand before \d+"


def a_read_moved_to_the_beginning(evidence: Evidence) -> str:
    place = len(evidence.calls) - 1
    while evidence.calls[place].method != "ListContracts":
        place -= 1
    moved = evidence.calls[place]
    evidence.put(place, replace(moved, began=moved.began - LATER, ended=moved.ended - LATER))
    return r"ListContracts\(.* it had ended before event \d+ .* was asked for"


def a_refusal_moved_to_the_beginning(evidence: Evidence) -> str:
    place = evidence.first(refused("WRONG_STATE"))
    moved = evidence.calls[place]
    evidence.put(place, replace(moved, began=moved.began - LATER, ended=moved.ended - LATER))
    return r"PurchaseFlavour\(.*WRONG_STATE is true at no point"


def room_that_was_there(evidence: Evidence) -> str:
    place = evidence.first(granted("ReserveFlavour"))
    call = replace(evidence.calls[place], client="other")
    request = type(call.request).FromString(call.request.SerializeToString())
    request.request_id = "made-up"  # type: ignore[attr-defined]
    early = min(one.began for one in evidence.calls)
    refusal = Refusal("CAPACITY_EXCEEDED", "")
    made_up = replace(call, request=request, began=early - 2, ended=early - 1, outcome=refusal)
    evidence.calls.append(made_up)
    return r"ReserveFlavour\(made-up\).*CAPACITY_EXCEEDED is true at no point"


def a_counter_offer_of_too_much(evidence: Evidence) -> str:
    place = evidence.first(refused("CAPACITY_EXCEEDED"))
    refusal = evidence.calls[place].outcome
    assert isinstance(refusal, Refusal)
    assert refusal.counter_offer is not None
    refusal.counter_offer.most_in_window.quantities.cpu_millicores += 500
    return r"its counter-offer is untrue .* was not the most that fits"


def a_request_that_is_forgotten(evidence: Evidence) -> str:
    place = evidence.first(granted("CancelContract"))
    forgotten = evidence.calls[place].request_id
    evidence.calls = [call for call in evidence.calls if call.request_id != forgotten]
    return "nobody asked for"


def an_answer_of_a_request_without_effect(evidence: Evidence) -> str:
    place = evidence.first(granted("ReserveFlavour"))
    call = evidence.calls[place]
    request = type(call.request).FromString(call.request.SerializeToString())
    request.request_id = "another"  # type: ignore[attr-defined]
    evidence.calls.append(replace(call, request=request))
    return r"ReserveFlavour\(another\).* nothing in the ledger is its effect"


def another_state_in_an_answer(evidence: Evidence) -> str:
    place = evidence.first(granted("GetContract"))
    evidence.calls[place].outcome.contract.revision += 1  # type: ignore[union-attr]
    return r"GetContract\(.* it shows contract .* with revision \d+, not \d+"


def a_contract_that_is_not_listed(evidence: Evidence) -> str:
    place = len(evidence.calls) - 1
    while evidence.calls[place].method != "ListContracts":
        place -= 1
    del evidence.calls[place].outcome.contracts[0]  # type: ignore[union-attr]
    return r"ListContracts\(.* it shows nothing of"


def more_than_was_available(evidence: Evidence) -> str:
    place = evidence.first(granted("ListFlavours"))
    evidence.calls[place].outcome.flavours[0].available.cpu_millicores += 1  # type: ignore[union-attr]
    return r"ListFlavours\(.* was not so at any point"


def an_altered_event(evidence: Evidence) -> str:
    event = RecordedEvent.FromString(evidence.recorded[5].SerializeToString())
    event.hash = bytes(32)
    evidence.recorded[5] = event
    return "the hash chain breaks at 6"


def half_a_commit(evidence: Evidence) -> str:
    last = max(place for place, event in enumerate(evidence.recorded) if ".allocation." in event.subject)
    del evidence.recorded[last]
    return "half a"


TAMPERINGS: Final = [
    a_read_moved_to_the_end,
    a_list_moved_to_the_end,
    a_write_moved_to_the_end,
    a_read_moved_to_the_beginning,
    a_refusal_moved_to_the_beginning,
    room_that_was_there,
    a_counter_offer_of_too_much,
    a_request_that_is_forgotten,
    an_answer_of_a_request_without_effect,
    another_state_in_an_answer,
    a_contract_that_is_not_listed,
    more_than_was_available,
    an_altered_event,
    half_a_commit,
]


def test_evidence_as_it_is_explains_every_answer(evidence: Evidence) -> None:
    judgement = check(evidence.calls, evidence.recorded)
    assert sum(judgement.judged.values()) == len(evidence.calls)


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_evidence_that_was_tampered_with_is_found_out(evidence: Evidence, tamper: Callable[[Evidence], str]) -> None:
    expected = tamper(evidence)
    findings = "\n".join(judge(evidence.calls, evidence.recorded).findings)
    assert findings
    assert re.search(expected, findings), findings[:2_000]


def test_it_judges_from_the_command_line(node: NodeProcess, kept: tuple[Path, list[RecordedEvent]]) -> None:
    command = [sys.executable, "-m", "tests.checker", str(kept[0]), "--endpoint", node.endpoint]
    judged = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "ReserveFlavour OK" in judged.stdout
    lines = kept[0].read_text().splitlines()
    (shorter := kept[0].with_name("shorter.jsonl")).write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    judged = subprocess.run([*command[:3], str(shorter), *command[4:]], capture_output=True, text=True, timeout=60)
    assert judged.returncode == 1
    assert "nobody asked for" in judged.stdout
