"""What happens to a service request, one line for each step: each is told once, also where states were left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from rear.command.amounts import show_demand
from rear.command.intent_words import component_state_of, counter_offers, said_by
from rear.command.times import show_moment
from rear.domain.window import SECOND
from rear.wire.values import read_partition, read_window

if TYPE_CHECKING:
    from rear.v1 import intent_pb2, service_request_pb2

ON_THE_WAY: Final = ("RESERVING", "HELD", "AGREED", "PEERED", "READY")
"""What a component comes through with a provider, one after the other."""

COMPLETE: Final = ("HELD", "AGREED", "PEERED")
"""Where only the window's start may be missing, here; with a provider it is the last of them."""

SOON: Final = 5 * SECOND
"""Nobody needs to be told of a shorter wait."""

GIVEN_BACK: Final = ("ENDING", "ENDED")

Step = tuple[tuple[object, ...], str]
"""What identifies a step, and how it is told."""


class Steps:
    """Tells what is new of one service request."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        """`clock` gives nanoseconds since 1970, and decides whether a window is still to come."""
        self._clock = clock
        self._told: set[tuple[object, ...]] = set()

    def new(self, request: service_request_pb2.ServiceRequest) -> list[str]:
        """A line for each step that was not told yet. What is given back comes last, after why."""
        width = max((len(component.name) for component in request.components), default=0)
        lines = []
        for steps in (_steps, self._waiting, _endings):
            for component in request.components:
                for key, text in steps(component, request.intent):
                    if (component.name, *key) not in self._told:
                        self._told.add((component.name, *key))
                        lines.append(f"  {component.name.ljust(width)}  {text}")
        return lines

    def _waiting(self, component: service_request_pb2.ComponentStatus, _: intent_pb2.Intent) -> Iterator[Step]:
        placement = component.WhichOneof("placement")
        if placement is None or not component.HasField("window"):
            return
        begins = read_window(component.window).start
        complete = COMPLETE[-1:] if placement == "remote" else COMPLETE
        if component_state_of(component) in complete and begins > self._clock() + SOON:
            yield ("waits",), f"waits for its window, which begins at {show_moment(begins)}"


def _steps(component: service_request_pb2.ComponentStatus, intent: intent_pb2.Intent) -> Iterator[Step]:
    state = component_state_of(component)
    yield ("search",), "looks for resources"
    match component.WhichOneof("placement"):
        case "local":
            yield ("local",), f"held on this node, in pool {component.local.pool_id}{_window(component)}"
        case "virtual_node":
            key = component.virtual_node.allocation_id
            yield ("virtual",), f"placed on the virtual node {key}, which is there already{_window(component)}"
        case _:
            yield from _elsewhere(component, intent, state)
    if state == "READY":
        yield ("ready",), "active"


def _endings(component: service_request_pb2.ComponentStatus, _: intent_pb2.Intent) -> Iterator[Step]:
    state = component_state_of(component)
    if state in GIVEN_BACK and component.WhichOneof("placement") is not None:
        yield ("ending", state), "given back" if state == "ENDED" else "is given back"


def _elsewhere(component: service_request_pb2.ComponentStatus, intent: intent_pb2.Intent, state: str) -> Iterator[Step]:
    for at, answer in enumerate(component.answers):
        yield ("answer", at, answer.provider_id, answer.status.code, answer.flavours), f"asked {said_by(answer)}"
    for at, refusal in enumerate(component.refusals):
        yield ("refusal", at), f"{refusal.provider_id} refused {refusal.flavour_id}: {refusal.message}"
        for offer in counter_offers(refusal):
            yield ("refusal", at, offer), f"  it would have: {offer}"
    if component.HasField("remote"):
        yield from _with_provider(component, intent, state)


def _with_provider(
    component: service_request_pb2.ComponentStatus, intent: intent_pb2.Intent, state: str
) -> Iterator[Step]:
    from rear.v1 import intent_pb2

    remote, contract = component.remote, component.remote.contract_id
    partition = show_demand(read_partition(remote.partition))
    told = {
        "RESERVING": f"asks {remote.provider_id} for {partition} of {remote.flavour_id}",
        "HELD": f"reserved with {remote.provider_id}{_window(component)} (contract {contract})",
        "AGREED": f"agreed with {remote.provider_id}{_window(component)} (contract {contract})",
        "PEERED": "peered with the provider",
    }
    if intent.agreement == intent_pb2.AGREEMENT_DIRECT:
        del told["HELD"]
    reached = ON_THE_WAY.index(state) if state in ON_THE_WAY else 0
    for stage in ON_THE_WAY[: reached + 1]:
        if stage in told:
            yield ("with", contract, stage), told[stage]


def _window(component: service_request_pb2.ComponentStatus) -> str:
    if not component.HasField("window"):
        return ""
    window = read_window(component.window)
    return f", {show_moment(window.start)} to {show_moment(window.end)}"
