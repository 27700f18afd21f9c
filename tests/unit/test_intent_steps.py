"""How `rear intent watch` tells what happens."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.json_format import ParseDict
from google.rpc import code_pb2

from rear.command.intent_report import outcome
from rear.command.intent_steps import Steps
from rear.domain.window import SECOND
from rear.v1.service_request_pb2 import ComponentStatus, ServiceRequest

PROVIDER = "spiffe://local.test/node/b"
WINDOW = {"start": "2027-01-15T08:00:00Z", "end": "2027-01-15T10:00:00Z"}
REMOTE = {
    "providerId": PROVIDER,
    "flavourId": "big-1",
    "contractId": "c-1",
    "partition": {"quantities": {"cpuMillicores": "2000"}},
}
ANSWERED = {"providerId": PROVIDER, "endpoint": "b:1", "elapsed": "0.0236s", "flavours": 2}
SILENT = {
    "endpoint": "x:1",
    "elapsed": "2s",
    "status": {"code": code_pb2.DEADLINE_EXCEEDED, "message": "it did not answer in time"},
}
UNWILLING = {
    "endpoint": "y:1",
    "elapsed": "0.004s",
    "status": {"code": code_pb2.PERMISSION_DENIED, "message": "you may not"},
}
REFUSAL = {
    "providerId": PROVIDER,
    "flavourId": "big-1",
    "reason": "CAPACITY_EXCEEDED",
    "message": "it does not fit",
    "counterOffer": {
        "flavourId": "big-2",
        "mostInWindow": {"quantities": {"cpuMillicores": "1000"}},
        "askedWindow": WINDOW,
        "asOf": "2027-01-15T08:00:00Z",
    },
}


def request(
    state: str = "IN_PROGRESS", *, error: str = "", component: Mapping[str, object] | None = None
) -> ServiceRequest:
    document: dict[str, object] = {
        "state": f"SERVICE_REQUEST_STATE_{state}",
        "components": [{"name": "web"} | dict(component or {})],
    }
    if error:
        document["error"] = {"message": error}
    return ParseDict(document, ServiceRequest())


def remote(state: str) -> dict[str, object]:
    """A component in a state, with a provider."""
    return {"state": f"COMPONENT_STATE_{state}", "remote": REMOTE, "window": WINDOW}


def at(state: str, **more: object) -> ServiceRequest:
    """A request with such a component."""
    return request(component=remote(state) | more)


def clock() -> int:
    """Long after the windows of these tests have begun."""
    return 2_000_000_000 * SECOND


def told(steps: Steps, shown: ServiceRequest) -> list[str]:
    return [line.removeprefix("  web  ") for line in steps.new(shown)]


def test_each_step_is_told_once_as_it_happens() -> None:
    steps = Steps(clock)
    assert told(steps, request()) == ["looks for resources"]
    assert told(steps, at("RESERVING", answers=[ANSWERED])) == [
        f"asked {PROVIDER} at b:1: 2 flavours that will do, after 24 ms",
        f"asks {PROVIDER} for 2 CPU of big-1",
    ]
    assert told(steps, at("RESERVING", answers=[ANSWERED])) == []
    window = "2027-01-15T08:00:00Z to 2027-01-15T10:00:00Z"
    assert told(steps, at("HELD")) == [f"reserved with {PROVIDER}, {window} (contract c-1)"]
    assert told(steps, at("AGREED")) == [f"agreed with {PROVIDER}, {window} (contract c-1)"]
    assert told(steps, at("PEERED")) == ["peered with the provider"]
    assert told(steps, at("READY")) == ["active"]


def test_steps_that_were_left_out_are_told_all_the_same() -> None:
    lines = told(Steps(clock), at("READY"))

    assert [line.split()[0] for line in lines] == ["looks", "asks", "reserved", "agreed", "peered", "active"]


def test_who_agrees_directly_reserves_nothing() -> None:
    shown = at("READY")
    ParseDict({"agreement": "AGREEMENT_DIRECT"}, shown.intent)

    assert not any(line.startswith("reserved") for line in told(Steps(clock), shown))


def test_refusals_come_with_what_would_have_fitted_and_silence_is_told() -> None:
    lines = told(Steps(clock), request(component={"answers": [SILENT, UNWILLING], "refusals": [REFUSAL]}))

    assert lines == [
        "looks for resources",
        "asked x:1: no answer after 2000 ms (it did not answer in time)",
        "asked y:1: refused after 4 ms (you may not)",
        f"{PROVIDER} refused big-1: it does not fit",
        "  it would have: 1 CPU fits in the window asked for",
    ]


def test_what_is_here_is_told_with_its_place() -> None:
    shown = request(component={"local": {"poolId": "p", "holdId": "h"}})

    assert told(Steps(clock), shown) == ["looks for resources", "held on this node, in pool p"]


def test_what_is_given_back_is_told_until_it_is() -> None:
    steps = Steps(clock)
    steps.new(at("HELD"))
    assert told(steps, at("ENDING")) == ["is given back"]
    assert outcome(request("FAILED", error="nobody has it", component=remote("ENDING"))) == [
        "Failed: nobody has it",
        "What it has is being given back.",
    ]
    assert told(steps, at("ENDED")) == ["given back"]


def test_the_outcome_is_said() -> None:
    assert outcome(request("READY")) == ["Ready: every component is active."]
    assert outcome(request("CANCELLED", error="no more")) == ["Cancelled: no more"]
    assert outcome(request("COMPLETED")) == ["Completed."]


def test_what_is_given_back_is_told_once_and_after_the_reason() -> None:
    shown = request(component={"local": {"poolId": "p", "holdId": "h"}, "state": "COMPONENT_STATE_ENDED"})
    shown.components.add().MergeFrom(ParseDict({"name": "big", "answers": [SILENT]}, ComponentStatus()))

    assert [line.split(maxsplit=1) for line in Steps(clock).new(shown)][1:] == [
        ["web", "held on this node, in pool p"],
        ["big", "looks for resources"],
        ["big", "asked x:1: no answer after 2000 ms (it did not answer in time)"],
        ["web", "given back"],
    ]


def test_a_window_that_is_far_away_is_said_to_be_waited_for() -> None:
    steps = Steps(lambda: 1_800_000_000 * SECOND)  # on the very day, at 08:00:00
    later = {"start": "2027-01-15T10:00:00Z", "end": "2027-01-15T12:00:00Z"}

    assert not any("waits" in line for line in told(steps, at("AGREED", window=later)))
    assert told(steps, at("PEERED", window=later)) == [
        "peered with the provider",
        "waits for its window, which begins at 2027-01-15T10:00:00Z",
    ]
    assert not any("waits" in line for line in told(Steps(lambda: 1_800_007_198 * SECOND), at("PEERED", window=later)))
