"""The Node Orchestrator: brings every service request to where it should be (workflow steps 5 to 7, 13, 14, 22, 28).

It asks nobody for resources itself: what is to be asked of providers it commits, and looks at what becomes of it. So a
restart at any point goes on from what the ledger says, and nothing is reserved twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import structlog

from nodes.orchestration.agenda import Agenda
from nodes.orchestration.deciding import Again, Deciding, Found
from nodes.orchestration.placing import Placing
from nodes.orchestration.records import Archive, Records
from rear import failpoints, tracing
from rear.background import Reconciler
from rear.domain.allocation import Allocation
from rear.domain.choosing import choose, excluded
from rear.domain.events import AllocationSide, AnyEvent
from rear.domain.fulfilment import PATIENCE
from rear.domain.intent import Component
from rear.domain.link import Order
from rear.domain.link_events import LinkRequested
from rear.domain.moves import Move, Search, Wait
from rear.domain.purchase import Purchase
from rear.domain.ranking import Ratings
from rear.domain.request_events import (
    CandidateChosen,
    ComponentPlanned,
    IntentAccepted,
    PurchaseDecided,
    RequestCancelled,
    RequestReady,
)
from rear.domain.service_request import ServiceRequest
from rear.domain.window import SECOND, Duration, Instant
from rear.ledger.commit import Committed, Decision
from rear.managers.consumer.rear import Search as Searched
from rear.managers.provider.provider import Provider

log = structlog.get_logger(__name__)

SEARCH_AGAIN: Final = 0.5
"""Seconds until providers are asked again, where nothing was found and some of them did not answer."""

SEARCH_FOR: Final = Duration(2 * SECOND)
"""How long that goes on. Whoever let a deadline pass has had it by then, and whoever restarts is back."""


class RearSearch(Protocol):
    """The consumer's REAR Manager, which finds candidates."""

    async def search(
        self, component: Component, *, excluded: frozenset[str] = frozenset(), fresh: bool = False
    ) -> Searched:
        """Candidates that have all that a component needs, best first. With `fresh` everybody is asked."""
        ...


class Orchestrator:
    """A listener of the writer: each service request is brought on by itself."""

    def __init__(
        self,
        provider: Provider,
        archive: Archive,
        rear: RearSearch,
        ratings: Ratings,
        contract_id: Callable[[Order, str], str],
        *,
        patience: Duration = PATIENCE,
        search_for: Duration = SEARCH_FOR,
    ) -> None:
        """`contract_id` gives the contract that an order leads to under a request id. `search_for` is how long
        neighbours that do not answer are asked again, where nobody else has anything.
        """
        self._provider = provider
        self._rear = rear
        self._search_for = search_for
        self._records = Records(provider.state, archive)
        placing = Placing(provider, self._records, ratings)
        self._deciding = Deciding(provider, self._records, placing, contract_id, patience)
        self._requests = Reconciler("service requests", self._bring_on)
        self._agenda = Agenda(provider.writer.now, self._requests.wake)
        self._searching_since: dict[str, Instant] = {}
        self._searches: dict[str, asyncio.Task[dict[str, Found]]] = {}

    @property
    def trouble(self) -> str | None:
        """Why some service requests do not come on; None while none is in trouble of our making."""
        return self._requests.trouble or self._agenda.trouble

    def start(self) -> None:
        """Goes on with every service request that is open."""
        self._records.learn()
        self._agenda.start()
        for request_id in [*self._provider.state.requests]:
            self._requests.wake(request_id)

    async def stop(self) -> None:
        """Ends what is under way, wherever it stands."""
        await self._agenda.stop()
        await self._requests.stop()

    def committed(self, batch: Sequence[Committed]) -> None:
        """Wakes the service requests that what has happened concerns. What this does itself wakes nobody."""
        for item in batch:
            after, event = item.step.after, item.step.event
            match after:
                case ServiceRequest() if isinstance(event, IntentAccepted | RequestCancelled):
                    if after.id in self._searches and not after.live:
                        self._searches[after.id].cancel()  # nobody waits any more for what it may find
                    self._requests.wake(after.id)
                case Purchase(service_request_id=request_id) if request_id and not isinstance(event, LinkRequested):
                    self._requests.wake(request_id)
                case Allocation(side=AllocationSide.CONSUMER):
                    self._wake_users(after)

    # -- one request ---------------------------------------------------------------------------------------

    async def _bring_on(self, request_id: str) -> float | None:
        """Decides all that can be decided, and searches for what is to be found elsewhere."""
        if self._looks(request_id):
            failpoints.reach("orchestrator.looking")
        with tracing.span("bring on a service request", service_request=request_id):
            decided = _Decided(lambda now: self._deciding.go_on(request_id, now))
            done = self._provider.writer.enqueue(decided)
            move = decided.move
            if not isinstance(move, Search):
                move = (await done).answer
                _on_record(decided.events)
                return self._later(request_id, move)
            # Asking changes nothing, so it need not wait until what was decided is durable.
            searching = asyncio.get_running_loop().create_task(self._search(request_id, move.components))
            self._searches[request_id] = searching
            try:
                await done
                _on_record(decided.events)
                await asyncio.wait((searching,))
                return 0.0 if searching.cancelled() else await self._take(request_id, searching.result())
            finally:
                del self._searches[request_id]
                searching.cancel()

    async def _take(self, request_id: str, found: dict[str, Found]) -> float | None:
        failpoints.reach("orchestrator.asked")
        decided = _Decided(lambda now: self._deciding.take(request_id, found, now))
        move = (await self._provider.writer.submit(decided)).answer
        _on_record(decided.events)
        if isinstance(move, Search):
            return 0.0 if any(name not in found for name in move.components) else SEARCH_AGAIN
        return self._later(request_id, move)

    def _later(self, request_id: str, move: Move | Again | None) -> float | None:
        if isinstance(move, Again | Search):
            return 0.0
        self._searching_since.pop(request_id, None)
        self._agenda.put(request_id, move.until if isinstance(move, Wait) else None)
        return None

    # -- searching -----------------------------------------------------------------------------------------

    async def _search(self, request_id: str, names: Sequence[str]) -> dict[str, Found]:
        """Searches for several components at once."""
        request = self._provider.state.requests[request_id]
        found = await asyncio.gather(*(self._find(request, name) for name in names))
        return dict(zip(names, found, strict=True))

    async def _find(self, request: ServiceRequest, name: str) -> Found:
        """What there is for a component; where all that is known will not do, everybody is asked."""
        component, run = request.wanted(name), request.run(name)
        out, since = excluded(run), self._searching_since.setdefault(request.id, self._provider.writer.now())
        search = await self._rear.search(component, excluded=out)
        now = self._provider.writer.now()
        if not search.asked and choose(request.intent, component, run, search.candidates, now) is None:
            search = await self._rear.search(component, excluded=out, fresh=True)
        silent = any(answer.silent for answer in search.answers)
        final = not silent or self._provider.writer.now() >= since + self._search_for
        return Found(search.candidates, search.answers, final, search.asked)

    # -- waking --------------------------------------------------------------------------------------------

    def _looks(self, request_id: str) -> bool:
        request = self._provider.state.requests.get(request_id)
        return request is not None and any(run.source is None for run in request.components) and request.live

    def _wake_users(self, node: Allocation) -> None:
        purchase = self._provider.state.purchases.get(node.contract_id)
        if purchase is not None and purchase.service_request_id:
            self._requests.wake(purchase.service_request_id)
        for request, _ in self._records.guests(node.id):
            self._requests.wake(request.id)
        if not node.stands:
            self._records.forget(node.id)


def _on_record(events: Iterable[AnyEvent]) -> None:
    kinds = {type(event) for event in events}
    if ComponentPlanned in kinds:
        failpoints.reach("orchestrator.planned")
    if CandidateChosen in kinds:
        failpoints.reach("orchestrator.chosen")
    if PurchaseDecided in kinds:
        failpoints.reach("orchestrator.purchasing")
    if RequestReady in kinds:
        failpoints.reach("orchestrator.ready")


class _Decided:
    """A decision that says at once what it came to, before it is durable."""

    def __init__(self, decide: Callable[[Instant], Decision[Move | Again | None]]) -> None:
        self._decide = decide
        self.move: Move | Again | None = None
        self.events: Sequence[AnyEvent] = ()

    def __call__(self, now: Instant) -> Decision[Move | Again | None]:
        decision = self._decide(now)
        self.move, self.events = decision.answer, decision.events
        return decision
