"""The Discovery Manager, consumer side: asks every neighbour for flavours (workflow 1, steps 10 to 13)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from rear import failpoints, tracing
from rear.domain.answers import OK, ProviderAnswer
from rear.domain.candidate import Candidate
from rear.domain.refusals import InvalidField, NotAuthenticated, NotServed, PermissionDenied, Refusal
from rear.domain.selection import selects
from rear.domain.value import value
from rear.domain.window import MINUTE, Duration, Instant
from rear.ledger.sources import Clock
from rear.managers.consumer.candidates import PeeringCandidates
from rear.managers.consumer.neighbours import Neighbour
from rear.managers.consumer.peers import Listing, Peers, Question, Unanswered

log = structlog.get_logger(__name__)

AT_A_TIME: Final = 64
"""Neighbours that one question is with at the same time."""

DEADLINE: Final = 2.0
"""Seconds that each neighbour has for its answer."""

CODES: Final[Mapping[type[Refusal], int]] = {InvalidField: 3, PermissionDenied: 7, NotServed: 12, NotAuthenticated: 16}
FAILED_PRECONDITION: Final = 9
INTERNAL: Final = 13
"""What of `google.rpc.Code` is noted of a neighbour that said no, and of one whose answer was too much for us."""

WITHDRAWN_SLACK: Final = MINUTE
"""How much later than the known window one may end for which an offer is missing."""


class Known(Protocol):
    """Says whom there is to ask."""

    def all(self) -> Sequence[Neighbour]:
        """Every neighbour, each endpoint once."""
        ...

    async def settled(self) -> None:
        """Returns once it can be known who is there."""
        ...


@value
class Heard:
    """What neighbours answered to one question, in their order, and what they offer.

    `truncated` is so where one of them has more than it was asked for.
    """

    question: Question
    asked_at: Instant
    neighbours: tuple[Neighbour, ...]
    answers: tuple[ProviderAnswer, ...]
    candidates: tuple[Candidate, ...]
    truncated: bool

    @property
    def complete(self) -> bool:
        """Whether every neighbour answered."""
        return all(answer.ok for answer in self.answers)


@value
class _Reply:
    answer: ProviderAnswer
    listing: Listing


class DiscoveryManager:
    """Asks neighbours, and keeps what they offer in Peering Candidates."""

    def __init__(
        self,
        own_id: str,
        neighbours: Known,
        peers: Peers,
        candidates: PeeringCandidates,
        clock: Clock,
        *,
        deadline: float = DEADLINE,
        at_a_time: int = AT_A_TIME,
    ) -> None:
        """`own_id` is who must never be a candidate: the node itself. `deadline` is in seconds, for each neighbour."""
        self._own_id = own_id
        self._neighbours = neighbours
        self._peers = peers
        self._candidates = candidates
        self._clock = clock
        self._deadline = deadline
        self._at_a_time = at_a_time

    def neighbours(self) -> tuple[Neighbour, ...]:
        """Who would be asked now."""
        return tuple(each for each in self._neighbours.all() if each.provider_id != self._own_id)

    async def ask(self, question: Question, among: Sequence[Neighbour] | None = None) -> Heard:
        """Puts a question to every neighbour, and waits for each until it has answered or its deadline has passed.

        `among` are those that are asked, where not all are. Nobody's failure keeps another's answer away. When this
        returns, Peering Candidates has what was heard.
        """
        await self._neighbours.settled()
        neighbours, now = self.neighbours() if among is None else tuple(among), self._clock.now()
        failpoints.reach("discovery.before_asking")
        with tracing.span("ask neighbours", neighbours=len(neighbours)):
            gate = asyncio.Semaphore(self._at_a_time)
            replies = await asyncio.gather(*(self._ask(each, question, now, gate) for each in neighbours))
        candidates = _one_for_each_pool(replies)
        gone = self._withdrawn(replies, question, now)
        await self._candidates.take(candidates, gone, now)
        truncated = any(reply.listing.truncated for reply in replies)
        return Heard(question, now, neighbours, tuple(reply.answer for reply in replies), tuple(candidates), truncated)

    async def _ask(self, neighbour: Neighbour, question: Question, now: Instant, gate: asyncio.Semaphore) -> _Reply:
        async with gate:
            began = time.monotonic_ns()
            try:
                listing = await self._peers.list_flavours(
                    neighbour.endpoint, neighbour.provider_id, question, now, deadline=self._deadline
                )
                code, message = OK, _complaint(listing)
            except Unanswered as nothing:
                listing, code, message = Listing(()), nothing.code, nothing.message
            except Refusal as refusal:
                listing, code = Listing(()), CODES.get(type(refusal), FAILED_PRECONDITION)
                message = f"{refusal.reason}: {refusal.message}"
            except Exception as error:  # of whatever kind: it must not keep away what the others say
                log.exception("a neighbour's answer cannot be taken", endpoint=neighbour.endpoint)
                listing, code, message = Listing(()), INTERNAL, f"its answer cannot be taken: {type(error).__name__}"
            elapsed = Duration(time.monotonic_ns() - began)
        if any(candidate.provider_id == self._own_id for candidate in listing.candidates):
            listing, message = Listing(()), "it is this node itself"
        provider_id = neighbour.provider_id or next((each.provider_id for each in listing.candidates), "")
        if code != OK:
            log.info("a neighbour did not answer", endpoint=neighbour.endpoint, provider=provider_id, because=message)
        answer = ProviderAnswer(provider_id, neighbour.endpoint, code, message, elapsed, len(listing.candidates))
        return _Reply(answer, listing)

    def _withdrawn(self, replies: Sequence[_Reply], question: Question, now: Instant) -> list[Candidate]:
        """What its provider would have listed, by what was known of it, and did not."""
        told = {reply.answer.provider_id for reply in replies if reply.answer.ok and not reply.listing.truncated}
        listed = {candidate.pool for reply in replies for candidate in reply.listing.candidates}
        return [
            known
            for known in self._candidates.of(told - {"", self._own_id})
            if known.pool not in listed and selects(question.selector, known, now, slack=WITHDRAWN_SLACK)
        ]


def _one_for_each_pool(replies: Sequence[_Reply]) -> list[Candidate]:
    """A provider that was reached at several endpoints is taken at the first of them."""
    found: dict[str, Candidate] = {}
    for reply in replies:
        for candidate in reply.listing.candidates:
            found.setdefault(candidate.pool, candidate)
    return list(found.values())


def _complaint(listing: Listing) -> str:
    if not listing.skipped:
        return ""
    return f"{listing.skipped} of its offers cannot be used; the first: {listing.complaint}"
