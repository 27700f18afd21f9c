"""Events of service requests: one for each step of an intent's run that has to be remembered."""

from __future__ import annotations

from rear.domain.answers import HeardRefusal, ProviderAnswer
from rear.domain.event import Event
from rear.domain.intent import Intent
from rear.domain.source import Source
from rear.domain.value import value
from rear.domain.window import Window


@value
class OfRequest(Event):
    """One change of a service request."""


@value
class IntentAccepted(OfRequest):
    """An intent was accepted (step 3); `fingerprint` is over the request's body."""

    intent: Intent
    fingerprint: bytes


@value
class ComponentPlanned(OfRequest):
    """It was found where a component's resources are to come from (step 7). `window` is of resources of this node."""

    component: str
    source: Source
    window: Window | None


@value
class ProvidersAsked(OfRequest):
    """Providers were asked for flavours, and this is how each of them answered (step 13).

    Where that was `known_before`, nobody was asked, and these are the answers to an earlier question.
    """

    component: str
    answers: tuple[ProviderAnswer, ...]
    known_before: bool = False


@value
class CandidateChosen(OfRequest):
    """An offer was chosen (step 14). The request to its provider is in the same commit."""

    component: str
    contract_id: str
    provider_id: str
    flavour_id: str
    considered: int
    reason: str


@value
class CandidateRefused(OfRequest):
    """The offer that was chosen could not be got."""

    component: str
    contract_id: str
    refusal: HeardRefusal


@value
class PurchaseDecided(OfRequest):
    """Every component's resources are held: those of providers are to be purchased (step 22)."""


@value
class ComponentReady(OfRequest):
    """A component's resources are active (step 28)."""

    component: str


@value
class ComponentEnded(OfRequest):
    """A component's resources are gone or given back."""

    component: str
    reason: str


@value
class RequestReady(OfRequest):
    """Every component is ready (step 28)."""


@value
class RequestFailed(OfRequest):
    """The service request cannot be fulfilled; what there is will be given back. `reason` is stable."""

    reason: str
    message: str


@value
class RequestCancelled(OfRequest):
    """Somebody cancelled the service request; what there is will be given back."""

    actor: str
    reason: str
    fingerprint: bytes


@value
class RequestCompleted(OfRequest):
    """The windows of all components have ended."""


@value
class OperationDeleted(OfRequest):
    """Nobody is interested in the operation any more."""


RequestEvent = (
    IntentAccepted
    | ComponentPlanned
    | ProvidersAsked
    | CandidateChosen
    | CandidateRefused
    | PurchaseDecided
    | ComponentReady
    | ComponentEnded
    | RequestReady
    | RequestFailed
    | RequestCancelled
    | RequestCompleted
    | OperationDeleted
)
