"""From the next moves of a service request to events: everything that can be decided now, in one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nodes.orchestration.placing import Placing
from nodes.orchestration.records import Records
from rear import tracing
from rear.domain import pool as pools
from rear.domain import purchase as purchases
from rear.domain.answers import ProviderAnswer, same_said
from rear.domain.candidate import Candidate
from rear.domain.choosing import Choice, choose, choose_counter_offer, link_request_id
from rear.domain.event import Cause
from rear.domain.fulfilment import contract_of, next_move, nothing_fits
from rear.domain.link import LinkVerb, Order
from rear.domain.moves import AllReady, Buy, Cancel, Complete, End, Fail, Look, MarkReady, Move, Refuse, Search, Wait
from rear.domain.request_events import (
    CandidateChosen,
    CandidateRefused,
    ComponentEnded,
    ComponentReady,
    ProvidersAsked,
    PurchaseDecided,
    RequestCompleted,
    RequestFailed,
    RequestReady,
)
from rear.domain.service_request import Attempt, ServiceRequest
from rear.domain.source import LocalSource, VirtualNodeSource
from rear.domain.trial import Trial
from rear.domain.value import value
from rear.domain.window import Duration, Instant
from rear.ledger.commit import Decision
from rear.managers.provider.provider import Provider

ENOUGH: Final = 100
"""Events after which a commit goes out, and the rest is decided in the next one."""


@value
class Found:
    """What a search for a component came to. `final` tells whether it is given up where none of it will do.

    Where nobody was `asked`, the answers are those to an earlier question.
    """

    candidates: tuple[Candidate, ...]
    answers: tuple[ProviderAnswer, ...]
    final: bool
    asked: bool = True


@value
class Again:
    """There is more to decide at once."""


class Deciding:
    """Decides for service requests, on the newest state."""

    def __init__(
        self,
        provider: Provider,
        records: Records,
        placing: Placing,
        contract_id: Callable[[Order, str], str],
        patience: Duration,
    ) -> None:
        """`contract_id` gives the contract that an order leads to under a request id."""
        self._provider = provider
        self._records = records
        self._placing = placing
        self._contract_id = contract_id
        self._patience = patience

    def go_on(self, request_id: str, now: Instant) -> Decision[Move | Again | None]:
        """All that can be decided now, and what is to be done then; None for a request that has come to its end."""
        with Trial(self._provider.state) as trial:
            move = self._go_on(request_id, trial, Cause(now, now))
            return Decision(tuple(trial.events), move)

    def take(self, request_id: str, found: Mapping[str, Found], now: Instant) -> Decision[Move | Again | None]:
        """What searches came to, each for a component that still needs it, and all that follows from that."""
        cause = Cause(now, now)
        with Trial(self._provider.state) as trial:
            move = self._go_on(request_id, trial, cause)
            if isinstance(move, Search):
                for component in [name for name in move.components if name in found]:
                    request = self._provider.state.requests[request_id]
                    if request.live:
                        self._take(request, component, found[component], trial, cause)
                move = self._go_on(request_id, trial, cause)
            return Decision(tuple(trial.events), move)

    # -- moves ---------------------------------------------------------------------------------------------

    def _go_on(self, request_id: str, trial: Trial, cause: Cause) -> Move | Again | None:
        while len(trial.events) < ENOUGH:
            request = self._provider.state.requests.get(request_id)
            if request is None or not request.open:
                return None
            move = next_move(request, self._records, cause.at, self._patience)
            if isinstance(move, Search | Wait):
                return move
            self._make(move, request, trial, cause)
        return Again()

    def _make(self, move: Move, request: ServiceRequest, trial: Trial, cause: Cause) -> None:
        key, version = request.id, request.version + 1
        match move:
            case Look(component=component):
                with tracing.span("look in available resources", component=component):
                    self._placing.place(request, component, trial, cause)
            case Refuse(component=component, contract_id=contract_id, refusal=refusal, cancel=cancel):
                trial.add(CandidateRefused(key, version, cause, component, contract_id, refusal))
                if cancel:
                    self._cancel(contract_id, refusal.message, trial, cause)
            case Buy(contract_ids=contract_ids):
                trial.add(PurchaseDecided(key, version, cause))
                for contract_id in contract_ids:
                    self._purchase(contract_id, trial, cause)
            case MarkReady(component=component):
                trial.add(ComponentReady(key, version, cause, component))
            case AllReady():
                trial.add(RequestReady(key, version, cause))
            case Cancel(contract_id=contract_id, reason=reason):
                self._cancel(contract_id, reason, trial, cause)
            case End(component=component, reason=reason):
                self._end(request, component, reason, trial, cause)
            case Fail(reason=reason, message=message):
                trial.add(RequestFailed(key, version, cause, reason, message))
            case Complete():
                trial.add(RequestCompleted(key, version, cause))

    def _purchase(self, contract_id: str, trial: Trial, cause: Cause) -> None:
        purchase = self._records.purchase(contract_id)
        asked = purchases.request_purchase(purchase, self._next_id(contract_id, LinkVerb.PURCHASE), cause)
        if asked is not None:
            trial.add(asked)

    def _cancel(self, contract_id: str, reason: str, trial: Trial, cause: Cause) -> None:
        purchase = self._records.purchase(contract_id)
        asked = purchases.request_cancel(purchase, self._next_id(contract_id, LinkVerb.CANCEL), reason, cause)
        if asked is not None:
            trial.add(asked)

    def _next_id(self, contract_id: str, verb: LinkVerb) -> str:
        """The id of a verb's request: it derives from the attempt that led to the contract."""
        purchase = self._records.purchase(contract_id)
        request = self._records.request(purchase.service_request_id)
        if request is None:
            return link_request_id(contract_id, purchase.component, 0, verb.value)
        ids = [attempt.contract_id for attempt in request.run(purchase.component).attempts]
        return link_request_id(request.id, purchase.component, ids.index(contract_id), verb.value)

    def _end(self, request: ServiceRequest, component: str, reason: str, trial: Trial, cause: Cause) -> None:
        run = request.run(component)
        trial.add(ComponentEnded(request.id, request.version + 1, cause, component, reason))
        state = self._provider.state
        match run.source:
            case LocalSource(pool_id=pool_id, hold_id=hold_id):
                lease = self._provider.promises.default_lease
                trial.add(pools.release(state.pools[pool_id], state.calendar(pool_id), hold_id, lease, cause))
            case VirtualNodeSource(allocation_id=key) if not self._records.shared(request.id, component, key):
                self._cancel(contract_of(key), f"no component uses it any more: {reason}", trial, cause)
            case _:
                pass

    # -- what searches found -------------------------------------------------------------------------------

    def _take(self, request: ServiceRequest, name: str, found: Found, trial: Trial, cause: Cause) -> None:
        key, run, component = request.id, request.run(name), request.wanted(name)
        version = request.version + 1
        if found.answers and not same_said(found.answers, run.answers):
            trial.add(ProvidersAsked(key, version, cause, name, found.answers, known_before=not found.asked))
            version += 1
        choice = choose(request.intent, component, run, found.candidates, cause.at)
        if choice is None and found.final:
            choice = choose_counter_offer(component, run, self._order_of, cause.at)
        if choice is not None:
            self._choose(request, name, version, choice, trial, cause)
        elif found.final:
            answers = found.answers or run.answers
            reason, message = nothing_fits(component, answers, run.refusals)
            trial.add(RequestFailed(key, version, cause, reason, message))

    def _choose(
        self, request: ServiceRequest, name: str, version: int, choice: Choice, trial: Trial, cause: Cause
    ) -> None:
        order = choice.order
        asked = link_request_id(request.id, name, len(request.run(name).attempts), LinkVerb.RESERVE.value)
        contract_id = self._contract_id(order, asked)
        link = purchases.request_reserve(None, contract_id, asked, order, request.id, name, cause)
        assert link is not None, "it is the first request of a new purchase"
        trial.add(
            CandidateChosen(
                request.id,
                version,
                cause,
                name,
                contract_id,
                order.provider_id,
                order.flavour_id,
                choice.considered,
                choice.reason,
            ),
            link,
        )

    def _order_of(self, attempt: Attempt) -> Order:
        return self._records.purchase(attempt.contract_id).order
