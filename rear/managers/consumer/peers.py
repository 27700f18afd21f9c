"""Other services as the consumer's managers call them: domain values in and out."""

from __future__ import annotations

from typing import Protocol

from rear.domain.candidate import Candidate
from rear.domain.fabric import HeardOffer, ResourceRequest
from rear.domain.selector import FlavourOrder, Selector
from rear.domain.value import value
from rear.domain.window import Instant


class Unanswered(Exception):
    """No answer that can be used: what a change that was sent has done is not known.

    `code` is a number of `google.rpc.Code`; `reason` the stable one where there is one, such as NOT_READY, or
    UNTRUE_ANSWER and WRONG_SERVICE for a peer that is another, or answers something else, than was asked.
    """

    def __init__(self, code: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason


@value
class Question:
    """What a provider is asked for: at most `limit` flavours that `selector` selects, best first by `order`."""

    selector: Selector
    order: FlavourOrder
    limit: int


@value
class Listing:
    """A provider's answer. `skipped` counts what it offered and cannot be used: unknown types, absurd amounts."""

    candidates: tuple[Candidate, ...]
    skipped: int = 0
    truncated: bool = False
    complaint: str = ""
    """What is wrong with the first of those that were skipped."""


class Peers(Protocol):
    """Calls other services.

    Everything raises the refusals of `rear.domain.refusals` where the peer said no, and `Unanswered` where it said
    nothing that can be used. `provider_id` is who the peer must be; empty where that is not known.
    """

    async def list_flavours(
        self, endpoint: str, provider_id: str, question: Question, asked_at: Instant, *, deadline: float
    ) -> Listing:
        """LIST_FLAVOURS, answered within `deadline` seconds. `asked_at` becomes what the candidates are heard at."""
        ...


class FabricPeers(Protocol):
    """The same, for the resources of contracts."""

    async def request_resources(
        self, endpoint: str, provider_id: str, asked: ResourceRequest, *, deadline: float
    ) -> HeardOffer:
        """The resources of a contract, exactly as they were asked for (step 25)."""
        ...
