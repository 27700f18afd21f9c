"""The ServiceRequest aggregate: one intent's run (workflow steps 3 to 28)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from rear.domain.answers import HeardRefusal, ProviderAnswer
from rear.domain.intent import Component, Intent
from rear.domain.request_events import (
    CandidateChosen,
    CandidateRefused,
    ComponentEnded,
    ComponentPlanned,
    ComponentReady,
    IntentAccepted,
    OperationDeleted,
    ProvidersAsked,
    PurchaseDecided,
    RequestCancelled,
    RequestCompleted,
    RequestEvent,
    RequestFailed,
    RequestReady,
)
from rear.domain.source import Elsewhere, Source
from rear.domain.value import value
from rear.domain.window import Instant, Window


class RequestState(Enum):
    """How far a service request has come."""

    IN_PROGRESS = "IN_PROGRESS"
    READY = "READY"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"


class RequestTrigger(Enum):
    """What moves a service request on."""

    ALL_READY = "every component is ready"
    FAIL = "a component cannot be got, or is lost"
    CANCEL = "somebody cancels it"
    WINDOWS_ENDED = "the windows of all components have ended"


S, T = RequestState, RequestTrigger

REQUEST_LIFECYCLE: Final[Mapping[tuple[RequestState, RequestTrigger], RequestState]] = {
    (S.IN_PROGRESS, T.ALL_READY): S.READY,
    (S.IN_PROGRESS, T.FAIL): S.FAILED,
    (S.IN_PROGRESS, T.CANCEL): S.CANCELLED,
    (S.READY, T.FAIL): S.FAILED,
    (S.READY, T.CANCEL): S.CANCELLED,
    (S.READY, T.WINDOWS_ENDED): S.COMPLETED,
}
"""What is not in the table does not happen."""

LIVE_REQUESTS: Final = frozenset({S.IN_PROGRESS, S.READY})
"""States in which a service request gets resources, or keeps them."""

TRIGGERS: Final[Mapping[type[RequestEvent], RequestTrigger]] = {
    RequestReady: T.ALL_READY,
    RequestFailed: T.FAIL,
    RequestCancelled: T.CANCEL,
    RequestCompleted: T.WINDOWS_ENDED,
}
"""The events that move a service request on."""


@value
class Attempt:
    """An offer that was chosen for a component. A refused one is given up, whether its provider has answered or not."""

    contract_id: str
    provider_id: str
    flavour_id: str
    chosen_at: Instant
    refused: bool = False


@value
class ComponentRun:
    """How far one component has come. `ended` is why it has nothing any more; None while it may have something."""

    name: str
    source: Source | None = None
    window: Window | None = None
    attempts: tuple[Attempt, ...] = ()
    answers: tuple[ProviderAnswer, ...] = ()
    refusals: tuple[HeardRefusal, ...] = ()
    ready: bool = False
    ended: str | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The offer that counts: the newest, unless it was refused."""
        newest = self.attempts[-1] if self.attempts else None
        return None if newest is None or newest.refused else newest

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever taken for it."""
        return self.source is None or (isinstance(self.source, Elsewhere) and not self.attempts)


@value
class Failure:
    """Why a service request failed or was cancelled. `reason` is stable, `message` is for people."""

    reason: str
    message: str


@value
class CancelRequest:
    """A request that cancelled a service request."""

    request_id: str
    fingerprint: bytes


@value
class ServiceRequest:
    """A service request after its newest event; `version` is its revision."""

    id: str
    version: int
    intent: Intent
    submitted_by: str
    request_id: str
    fingerprint: bytes
    state: RequestState
    components: tuple[ComponentRun, ...]
    created_at: Instant
    updated_at: Instant
    purchasing: bool = False
    failure: Failure | None = None
    cancelled_by: CancelRequest | None = None
    operation_deleted: bool = False

    @property
    def live(self) -> bool:
        """Whether it gets resources, or keeps them."""
        return self.state in LIVE_REQUESTS

    @property
    def open(self) -> bool:
        """Whether anything is still to be done for it: to get resources, to keep them, or to give them back."""
        return self.live or any(run.ended is None for run in self.components)

    def run(self, component: str) -> ComponentRun:
        """How far a component has come. Raises KeyError."""
        for run in self.components:
            if run.name == component:
                return run
        raise KeyError(component)

    def wanted(self, component: str) -> Component:
        """What the intent says of a component. Raises KeyError."""
        return self.intent.component(component)


@value
class ForgottenRequest:
    """A service request that has come to its end, of which memory knows no more than that its operation is deleted."""

    id: str
    version: int
    updated_at: Instant


CANCELLED: Final = "CANCELLED"
"""The reason of a request that somebody cancelled."""


def service_request_id(node_id: str, caller: str, request_id: str) -> str:
    """The id that a caller's request has: asked again it is the same."""
    return str(uuid5(uuid5(NAMESPACE_URL, node_id), f"intent\n{caller}\n{request_id}"))


def evolve(request: ServiceRequest | None, event: RequestEvent) -> ServiceRequest:
    """The service request after `event`. Pure."""
    if isinstance(event, IntentAccepted):
        return ServiceRequest(
            event.originator_id,
            event.originator_version,
            event.intent,
            event.cause.caller,
            event.cause.request_id,
            event.fingerprint,
            RequestState.IN_PROGRESS,
            tuple([ComponentRun(component.name) for component in event.intent.components]),
            event.cause.at,
            event.cause.at,
        )
    if request is None:
        raise ValueError("a service request's first event must be IntentAccepted")
    moved = replace(
        request, version=event.originator_version, updated_at=Instant(max(request.updated_at, event.cause.at))
    )
    trigger = TRIGGERS.get(type(event))
    if trigger is not None:
        moved = replace(moved, state=REQUEST_LIFECYCLE[request.state, trigger])
    match event:
        case RequestFailed(reason=reason, message=message):
            return _closing(replace(moved, failure=Failure(reason, message)), message)
        case RequestCancelled(reason=why, fingerprint=fingerprint):
            message = why or f"{event.actor} cancelled it"
            return _closing(
                replace(
                    moved,
                    failure=Failure(CANCELLED, message),
                    cancelled_by=CancelRequest(event.cause.request_id, fingerprint),
                ),
                message,
            )
        case RequestReady() | RequestCompleted():
            return moved
        case PurchaseDecided():
            return replace(moved, purchasing=True)
        case OperationDeleted():
            return replace(moved, operation_deleted=True)
        case _:
            run = _evolve_component(request.run(event.component), event)
            return replace(moved, components=tuple([run if one.name == run.name else one for one in moved.components]))


def _evolve_component(
    run: ComponentRun,
    event: ComponentPlanned | ProvidersAsked | CandidateChosen | CandidateRefused | ComponentReady | ComponentEnded,
) -> ComponentRun:
    match event:
        case ComponentPlanned(source=source, window=window):
            return replace(run, source=source, window=window)
        case ProvidersAsked(answers=answers):
            return replace(run, answers=answers)
        case CandidateChosen(contract_id=contract_id, provider_id=provider_id, flavour_id=flavour_id):
            attempt = Attempt(contract_id, provider_id, flavour_id, event.cause.at)
            return replace(run, attempts=(*run.attempts, attempt))
        case CandidateRefused(contract_id=contract_id, refusal=refusal):
            attempts = [replace(one, refused=True) if one.contract_id == contract_id else one for one in run.attempts]
            return replace(run, attempts=tuple(attempts), refusals=(*run.refusals, refusal))
        case ComponentReady():
            return replace(run, ready=True)
        case ComponentEnded(reason=reason):
            return replace(run, ended=reason)


def _closing(request: ServiceRequest, because: str) -> ServiceRequest:
    """A component for which nothing was ever taken has nothing to give back."""
    runs = [replace(run, ended=because) if run.ended is None and run.untouched else run for run in request.components]
    return replace(request, components=tuple(runs))
