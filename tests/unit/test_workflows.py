"""docs/workflows.md names what there is: steps without gaps, events, calls, and the parts that do them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import get_args

import pytest

import rear.v1
from nodes import demo_steps
from rear.domain.events import AnyEvent
from rear.domain.link_events import LinkEvent
from rear.domain.request_events import RequestEvent
from rear.failpoints import POINTS
from tests.system.steps import STEPS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "workflows.md").read_text()
BUILT = 28


def section(title: str) -> str:
    """What stands below a heading, to the next of its rank."""
    heading = re.search(rf"^(#+) {re.escape(title)}.*$", DOCUMENT, re.MULTILINE)
    assert heading is not None, title
    rest = DOCUMENT[heading.end() :]
    end = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(title: str) -> dict[int, list[str]]:
    """The table of a section: what stands after the number of each step."""
    found = re.findall(r"^\| (\d+) \|(.+)\|$", section(title), re.MULTILINE)
    return {int(number): [cell.strip() for cell in cells.split(" |")] for number, cells in found}


def steps(title: str) -> dict[int, tuple[str, str, str]]:
    """What happens at each step, who does it, and what shows it."""
    return {number: (what, part, seen) for number, (what, part, seen, *_) in rows(title).items()}


FIRST = steps("Steps 1 to 28")
LAST = steps("Steps 29 to 38")
EVENTS = {event.__name__ for event in get_args(AnyEvent)}

SPANS = {
    span
    for package in ("rear", "nodes")
    for file in (ROOT / package).rglob("*.py")
    for span in re.findall(r'tracing\.span\("([^"]+)"', file.read_text())
}


def calls() -> set[str]:
    modules = [importlib.import_module(f"rear.v1.{found.name}") for found in pkgutil.iter_modules(rear.v1.__path__)]
    return {
        f"{service.full_name}/{method.name}"
        for module in modules
        if module.__name__.endswith("_pb2")
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_the_steps_have_no_gap() -> None:
    assert [*FIRST, *LAST] == list(range(1, 39))
    assert len(FIRST) == BUILT


@pytest.mark.parametrize("title", ["2. Discovery", "3. Reserving", "4. The catalog"])
def test_the_other_workflows_are_numbered_and_said_to_be_missing(title: str) -> None:
    text = section(title)
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 5
    assert text.lstrip().startswith("*Not built yet.*")


@pytest.mark.parametrize("step", [*FIRST, *LAST])
def test_what_shows_a_step_is_there(step: int) -> None:
    _, _, seen = (FIRST | LAST)[step]
    for name in re.findall(r"span `([^`]+)`", seen):
        assert name in SPANS, name
    seen = re.sub(r"span `[^`]+`", "", seen)
    for name in re.findall(r"`([^`]+)`", seen):
        if name.startswith("rear.v1."):
            assert name in calls(), name
        elif not name.startswith("rear "):
            assert name in EVENTS, name


def test_every_step_is_killed_where_the_document_says() -> None:
    told = {number: (part.split(":")[0], at.strip("`")) for number, (_, part, _, at) in rows("Steps 1 to 28").items()}
    assert told == {number: (step.side, step.point) for number, step in STEPS.items()}
    assert {point for _, point in told.values()} <= set(POINTS)


def test_every_event_of_the_buyers_side_belongs_to_a_step() -> None:
    told = set(re.findall(r"`([A-Z]\w+)`", section("1. From an intent")))
    ours = {event.__name__ for events in (LinkEvent, RequestEvent) for event in get_args(events)}
    assert ours - told == {"OperationDeleted"}, "an operation that is deleted is the end of no step"


def test_the_demo_tells_of_the_same_steps() -> None:
    assert {step: side for step, (side, _) in demo_steps.STEPS.items()} == {
        step: part.split(":")[0] for step, (_, part, _) in FIRST.items()
    }


@pytest.mark.parametrize("step", FIRST)
def test_the_demo_sorts_events_into_the_steps_that_they_show(step: int) -> None:
    side, _ = demo_steps.STEPS[step]
    for name in EVENTS & set(re.findall(r"`(\w+)`", FIRST[step][2])):
        body = name[0].lower() + name[1:]
        verb = "LINK_VERB_PURCHASE" if step == 22 else "LINK_VERB_RESERVE"
        state = "CONTRACT_STATE_RESERVED" if step == 20 else "CONTRACT_STATE_CONFIRMED"
        event = {"type": name, "event": {body: {"verb": verb, "contract": {"state": state}}}}
        assert demo_steps.step_of(side, event) == step, name


def test_a_step_has_a_side() -> None:
    for _, part, _ in (FIRST | LAST).values():
        assert part.split(":")[0] in {"consumer", "provider", "both"}
