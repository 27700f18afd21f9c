"""What is to be done next for a service request: one pure function of what is known of it (workflow steps 5 to 28).

Nothing is purchased before every component is held. Where one cannot be got or is lost the request fails, and whatever
there is is given back. From any state, moves made one after the other come to an end; what then remains is to wait,
or to search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Final, Protocol

from rear.domain.allocation import Allocation, AllocationState
from rear.domain.answers import HeardRefusal, ProviderAnswer
from rear.domain.intent import Component, Constraints
from rear.domain.lifecycle import ContractState
from rear.domain.moves import AllReady, Buy, Cancel, Complete, End, Fail, Look, MarkReady, Move, Refuse, Search, Wait
from rear.domain.purchase import Purchase
from rear.domain.service_request import Attempt, ComponentRun, RequestState, ServiceRequest
from rear.domain.source import Elsewhere, LocalSource, VirtualNodeSource
from rear.domain.virtual_node import virtual_node_id
from rear.domain.window import FOREVER, MINUTE, SECOND, Duration, Instant, Window, after

PATIENCE: Final = Duration(10 * SECOND)
"""How long a provider may take to answer a reservation before the next offer is tried."""

GRACE: Final = MINUTE
"""How long after the latest start that is good enough resources are still looked for."""

NOTHING_FITS: Final = "NOTHING_FITS"
WINDOW_PASSED: Final = "WINDOW_PASSED"
RESOURCES_LOST: Final = "RESOURCES_LOST"
"""Why service requests fail: nobody has what a component needs; its time has passed; it lost what it had."""

UNANSWERED: Final = "UNANSWERED"
"""The reason of an offer that was given up because its provider did not answer."""

MOST_NAMED: Final = 3
"""Silent providers that a message names; all of them stand in the request."""

WINDOW_ENDED: Final = "its window ended"


class Known(Protocol):
    """What a node knows of purchases and allocations."""

    def purchase(self, contract_id: str) -> Purchase:
        """The purchase of a contract that was chosen, also one that has ended."""
        ...

    def allocation(self, allocation_id: str) -> Allocation | None:
        """An allocation; None for one that is gone."""
        ...

    def shared(self, request_id: str, component: str, allocation_id: str) -> bool:
        """Whether another component uses that virtual node."""
        ...


def next_move(request: ServiceRequest, known: Known, now: Instant, patience: Duration = PATIENCE) -> Move:
    """The next thing that is to be done. Pure."""
    if not request.live:
        return _give_back(request, known)
    if request.state is RequestState.READY and all(run.ended is not None for run in request.components):
        return Complete()
    due: list[Instant] = []
    searching: list[str] = []
    for run in _open(request):
        look = _Looking(request, run, known, now, patience)
        move = look.move()
        if isinstance(move, Search):
            searching += move.components
        elif not isinstance(move, Wait):
            return move
        elif move.until is not None:
            due.append(move.until)
    if not request.purchasing and all(_held(run, known) for run in request.components):
        return Buy(tuple(_reserved(request, known)))
    if request.state is RequestState.IN_PROGRESS and all(run.ready for run in request.components):
        return AllReady()
    return Search(tuple(searching)) if searching else Wait(min(due, default=None))


class _Looking:
    """One component of a request that lives."""

    def __init__(
        self, request: ServiceRequest, run: ComponentRun, known: Known, now: Instant, patience: Duration
    ) -> None:
        self._request = request
        self._run = run
        self._known = known
        self._now = now
        self._patience = patience

    def move(self) -> Move:
        """What is to be done for it."""
        match self._run.source:
            case None:
                return self._too_late() or Look(self._run.name)
            case LocalSource():
                return self._here()
            case VirtualNodeSource(allocation_id=key):
                return self._on_virtual_node(key)
            case Elsewhere():
                attempt = self._run.attempt
                return self._too_late() or Search((self._run.name,)) if attempt is None else self._there(attempt)

    def _here(self) -> Move:
        window = _window(self._run)
        if self._now >= window.end:
            return self._window_over()
        return self._until_ready(window)

    def _on_virtual_node(self, key: str) -> Move:
        window, allocation = _window(self._run), self._known.allocation(key)
        if self._now >= window.end:
            return self._window_over()
        if allocation is None or allocation.state is not AllocationState.ACTIVE:
            state = self._known.purchase(contract_of(key)).state
            return self._window_over() if state is ContractState.COMPLETED else self._lost("the virtual node is gone")
        return self._until_ready(window)

    def _until_ready(self, window: Window) -> Move:
        if self._run.ready:
            return Wait(window.end)
        if not self._request.purchasing:
            return Wait(window.end)
        return MarkReady(self._run.name) if self._now >= window.start else Wait(window.start)

    def _there(self, attempt: Attempt) -> Move:
        purchase = self._known.purchase(attempt.contract_id)
        if purchase.undone is not None:
            return self._gone(attempt, purchase.undone.reason, purchase.undone.message, purchase)
        copy = purchase.copy
        if copy is None:
            return self._unanswered(attempt, purchase)
        if copy.state is ContractState.COMPLETED:
            return self._window_over()
        if not copy.live:
            because = copy.ending.reason if copy.ending is not None else ""
            message = f"the contract is {copy.state.value}{f': {because}' if because else ''}"
            return self._gone(attempt, copy.state.value, message, purchase)
        if self._run.ready:
            return Wait(None)
        allocation = self._known.allocation(virtual_node_id(attempt.contract_id))
        if allocation is not None and allocation.state is AllocationState.FAILED:
            return self._lost("the fabric cannot carry the peering")
        if allocation is not None and allocation.state is AllocationState.ACTIVE and self._request.purchasing:
            return MarkReady(self._run.name)
        return Wait(None)

    def _unanswered(self, attempt: Attempt, purchase: Purchase) -> Move:
        give_up = after(attempt.chosen_at, self._patience)
        if self._now < give_up:
            return Wait(give_up)
        message = f"{attempt.provider_id} did not answer within {self._patience / SECOND:g} s"
        return self._gone(attempt, UNANSWERED, message, purchase)

    def _gone(self, attempt: Attempt, reason: str, message: str, purchase: Purchase) -> Move:
        """Before the purchase the next offer is tried; after it there is no way back."""
        if self._request.purchasing:
            return self._lost(message)
        counter = purchase.undone.counter_offer if purchase.undone is not None else None
        refusal = HeardRefusal(attempt.provider_id, attempt.flavour_id, reason, message, counter)
        return Refuse(self._run.name, attempt.contract_id, refusal, purchase.open and not purchase.cancelling)

    def _window_over(self) -> Move:
        if self._run.ready:
            return End(self._run.name, WINDOW_ENDED)
        if self._request.purchasing and isinstance(self._run.source, LocalSource):
            return MarkReady(self._run.name)  # it was held throughout its window, only nobody looked
        return Fail(
            self._run.name,
            WINDOW_PASSED,
            f"the window of component {self._run.name} ended before its resources were active",
        )

    def _lost(self, because: str) -> Fail:
        return Fail(self._run.name, RESOURCES_LOST, f"component {self._run.name} lost its resources: {because}")

    def _too_late(self) -> Fail | None:
        wanted = self._request.wanted(self._run.name)
        if self._now < good_until(wanted):
            return None
        return Fail(
            self._run.name, WINDOW_PASSED, f"component {self._run.name} could not be got in time for its window"
        )


def good_until(component: Component) -> Instant:
    """Until when it is worth while to look for a component's resources."""
    asked = component.window
    latest = asked.start if component.latest_start is None else component.latest_start
    ends: list[Instant] = [] if latest is None else [after(latest, GRACE)]
    if component.latest_start is None:
        if asked.end is not None:
            ends.append(asked.end)
        elif asked.start is not None and asked.duration is not None:
            ends.append(after(asked.start, asked.duration))
    return min(ends, default=FOREVER)


def nothing_fits(
    component: Component, answers: Sequence[ProviderAnswer], refusals: Sequence[HeardRefusal]
) -> tuple[str, str]:
    """The reason and the message of a request that fails because nobody has what a component needs."""
    refused = [answer for answer in answers if answer.refused]
    silent = [answer for answer in answers if not answer.ok and not answer.refused]
    told = [f"nobody has what component {component.name} needs{_constrained(component.constraints)}"]
    if not answers:
        told.append("this node has no neighbour to ask")
    else:
        told.append(f"{len(answers)} provider{'s were' if len(answers) > 1 else ' was'} asked")
    if silent:
        told.append(f"no answer of {_named(silent)}")
    if refused:
        told.append(f"refused by {_named(refused)}")
    if refusals:
        last = refusals[-1]
        told.append(f"{len(refusals)} refused, the last of them {last.provider_id}: {last.message}")
    return NOTHING_FITS, "; ".join(told)


def _constrained(constraints: Constraints) -> str:
    """What might be loosened, where an offer was good enough but for that."""
    held = [field.name for field in fields(constraints) if getattr(constraints, field.name)]
    return f" under its constraints ({', '.join(held)})" if held else ""


def _named(answers: Sequence[ProviderAnswer]) -> str:
    """A few of those that have nothing to offer, and why."""
    named = ", ".join(f"{answer.endpoint} ({answer.message})" for answer in answers[:MOST_NAMED])
    return f"{named} and others" if len(answers) > MOST_NAMED else named


def contract_of(virtual_node: str) -> str:
    """The contract that an allocation stands for, by the allocation's id."""
    return virtual_node.rpartition("-")[0]


def _give_back(request: ServiceRequest, known: Known) -> Move:
    because = request.failure.message if request.failure is not None else WINDOW_ENDED
    for run in _open(request):
        move = _given_back(request, run, known, because)
        if move is not None:
            return move
    return Wait(None)


def _given_back(request: ServiceRequest, run: ComponentRun, known: Known, because: str) -> Move | None:
    """What is to be done for one component; None where its providers have to answer first."""
    if not isinstance(run.source, Elsewhere):
        return End(run.name, because)
    waiting = False
    for attempt in run.attempts:
        purchase = known.purchase(attempt.contract_id)
        if not purchase.open:
            continue
        virtual_node = virtual_node_id(attempt.contract_id)
        if known.shared(request.id, run.name, virtual_node):
            continue  # whoever uses it last cancels it
        if not purchase.cancelling:
            return Cancel(run.name, attempt.contract_id, because)
        waiting = True
    return None if waiting else End(run.name, because)


def _open(request: ServiceRequest) -> Iterator[ComponentRun]:
    return (run for run in request.components if run.ended is None)


def _window(run: ComponentRun) -> Window:
    assert run.window is not None, "resources of this node have a window"
    return run.window


def _held(run: ComponentRun, known: Known) -> bool:
    """Whether a component's resources are held, here or by a provider that has said so."""
    if run.source is None or run.ended is not None:
        return False
    if not isinstance(run.source, Elsewhere):
        return True
    if run.attempt is None:
        return False
    purchase = known.purchase(run.attempt.contract_id)
    return purchase.state is not None and purchase.copy is not None and purchase.copy.live and purchase.pending is None


def _reserved(request: ServiceRequest, known: Known) -> Iterator[str]:
    """The contracts that are only reserved so far."""
    for run in request.components:
        if run.attempt is not None and known.purchase(run.attempt.contract_id).state is ContractState.RESERVED:
            yield run.attempt.contract_id
