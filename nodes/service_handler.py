"""The Service Handler: takes intents, and tells what becomes of them (workflow steps 1 to 4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from nodes.request_news import RequestNews
from rear import failpoints
from rear.domain import request_decisions as decisions
from rear.domain.allocation import Allocation
from rear.domain.event import Cause
from rear.domain.intent import Intent
from rear.domain.purchase import Purchase
from rear.domain.refusals import InvalidField, ServiceRequestNotFound
from rear.domain.request_decisions import RequestFilter
from rear.domain.service_request import ServiceRequest, evolve
from rear.domain.value import value
from rear.domain.window import Instant
from rear.ledger.commit import Decision, Outcome
from rear.ledger.writer import Writer
from rear.projections.histories import RequestRows
from rear.v1 import service_request_pb2
from rear.wire.service_requests import service_request_to_proto


class RequestArchive(Protocol):
    """The tables: all service requests and purchases, also those that are no longer in memory."""

    def service_request(self, request_id: str) -> ServiceRequest | None:
        """A service request by its id; None where there is none."""
        ...

    def purchase(self, contract_id: str) -> Purchase | None:
        """A purchase by its id; None where there is none."""
        ...

    async def at_least(self, sequence: int) -> None:
        """Waits until the tables stand at `sequence` or later."""
        ...

    async def service_requests(self, wanted: RequestFilter, after: int, limit: int) -> RequestRows:
        """Service requests, oldest first, that began after a sequence; fewer where they are large."""
        ...


@value
class Submission:
    """A request to take an intent; `fingerprint` is over its body."""

    id: str
    request_id: str
    fingerprint: bytes
    validate_only: bool = False


@value
class Answered:
    """A service request, the instant of the answer, and the position of the ledger that it stands on."""

    request: ServiceRequest
    at: Instant
    position: str


@value
class RequestPage:
    """Service requests, each with the sequence that it began at, and whether there are more after them."""

    rows: tuple[tuple[int, ServiceRequest], ...]
    more: bool
    at: Instant
    position: str


ReadIntent = Callable[[Instant], Awaitable[Intent]]
"""Gives the intent of a submission, checked as of an instant by every rule; may take its time. Raises InvalidField."""


class ServiceHandler:
    """Keeps the callers' side of service requests; the Node Orchestrator does the rest. Every answer is durable.

    `owner` is whose service requests a caller may see; None: everybody's.
    """

    def __init__(self, writer: Writer, archive: RequestArchive, news: RequestNews) -> None:
        self.news = news
        self._writer = writer
        self._archive = archive

    # -- what a node knows of links ------------------------------------------------------------------------

    def purchase(self, contract_id: str) -> Purchase | None:
        """A purchase, also one that has ended."""
        return self._writer.state.purchases.get(contract_id) or self._archive.purchase(contract_id)

    def allocation(self, allocation_id: str) -> Allocation | None:
        """An allocation that stands."""
        return self._writer.state.allocations.get(allocation_id)

    def shown(self, request: ServiceRequest) -> service_request_pb2.ServiceRequest:
        """A service request as the API shows it."""
        return service_request_to_proto(request, self.purchase, self.allocation)

    # -- verbs ---------------------------------------------------------------------------------------------

    async def submit(self, submission: Submission, read: ReadIntent, *, caller: str) -> Answered:
        """Takes an intent (steps 2 to 4), or finds what the same request led to before.

        Raises InvalidField for an intent that cannot be meant, and RequestIdReused.
        """

        def known(now: Instant) -> Decision[tuple[ServiceRequest | None, Instant]]:
            found = self._find(submission.id)
            if found is not None:
                decisions.check_same_intent(found, submission.fingerprint, submission.request_id)
            return Decision((), (found, now))

        failpoints.reach("intents.received")
        before = await self._writer.submit(known)
        found, at = before.answer
        if found is not None:
            return Answered(found, at, str(before.position))
        intent = await read(self._writer.now())
        failpoints.reach("intents.checked")

        def decide(now: Instant) -> Decision[tuple[ServiceRequest, Instant]]:
            other = known(now).answer[0]
            if other is not None:
                return Decision((), (other, now))
            cause = Cause(now, now, caller, submission.request_id)
            event = decisions.accept(submission.id, intent, submission.fingerprint, cause)
            return Decision(() if submission.validate_only else (event,), (evolve(None, event), now))

        committed = await self._writer.submit(decide)
        failpoints.reach("intents.recorded")
        return _answered(committed)

    async def get(self, key: str, *, owner: str | None) -> Answered:
        """A service request. Raises InvalidField without a key, and ServiceRequestNotFound."""

        def decide(now: Instant) -> Decision[tuple[ServiceRequest, Instant]]:
            return Decision((), (self._owned(key, owner), now))

        return _answered(await self._writer.submit(decide))

    async def watch(self, key: str, owner: Callable[[], str | None]) -> AsyncIterator[Answered]:
        """A service request as it is, and again whenever anything of it has changed, as fast as that is taken.

        `owner` is asked before each look, and raises the Refusal that ends it. It ends of itself where nothing can
        change any more.
        """
        while True:
            changed = self.news.waiting(key)
            answer = await self.get(key, owner=owner())
            yield answer
            if not answer.request.open:
                return
            await changed.wait()

    async def cancel(
        self, key: str, request_id: str, reason: str, fingerprint: bytes, *, caller: str, owner: str | None
    ) -> Answered:
        """Ends a service request; one that has ended already stays as it is."""

        def decide(now: Instant) -> Decision[tuple[ServiceRequest, Instant]]:
            found = self._owned(key, owner)
            event = decisions.cancel(found, caller, reason, fingerprint, Cause(now, now, caller, request_id))
            if event is None:
                return Decision((), (found, now))
            return Decision((event,), (evolve(found, event), now))

        return _answered(await self._writer.submit(decide))

    async def cancel_operation(self, key: str, *, caller: str, owner: str | None) -> None:
        """Ends a service request whose operation is not done. Raises OperationNotFound."""

        def decide(now: Instant) -> Decision[None]:
            event = decisions.cancel_operation(self._owned(key, owner), caller, Cause(now, now, caller, ""))
            return Decision(() if event is None else (event,), None)

        await self._writer.submit(decide)

    async def delete_operation(self, key: str, *, caller: str, owner: str | None) -> None:
        """Forgets the operation of a service request, which goes on. Raises OperationNotFound."""

        def decide(now: Instant) -> Decision[None]:
            found = self._owned(key, owner)
            event = decisions.delete_operation(found, Cause(now, now, caller, ""))
            self._writer.state.requests[key] = found  # an event moves on what is in memory only
            return Decision((event,), None)

        await self._writer.submit(decide)

    async def page(self, wanted: RequestFilter, after: int, limit: int) -> RequestPage:
        """A page of service requests, oldest first, after the one that began at the sequence `after`.

        From the tables, once they have what is durable now.
        """
        position, now = await self._writer.settled(), self._writer.now()
        await self._archive.at_least(position.sequence)
        found = await self._archive.service_requests(wanted, after, limit)
        return RequestPage(tuple(found.rows), found.more, now, str(position))

    # -- finding -------------------------------------------------------------------------------------------

    def _find(self, key: str) -> ServiceRequest | None:
        return self._writer.state.requests.get(key) or self._archive.service_request(key)

    def _owned(self, key: str, owner: str | None) -> ServiceRequest:
        if not key:
            raise InvalidField("service_request_id", "is required")
        found = self._find(key)
        if found is None or (owner is not None and found.submitted_by != owner):
            raise ServiceRequestNotFound(f"there is no service request {key}", {"service_request_id": key})
        return found


def _answered(outcome: Outcome[tuple[ServiceRequest, Instant]]) -> Answered:
    request, at = outcome.answer
    return Answered(request, at, str(outcome.position))
