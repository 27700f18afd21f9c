"""Looking in Available Resources: own pools, the smallest that fits first, then virtual nodes (steps 6 and 7)."""

from __future__ import annotations

from collections.abc import Sequence

from nodes.orchestration.records import Records
from rear.domain import pool as pools
from rear.domain.event import Cause
from rear.domain.intent import Component
from rear.domain.own_resources import (
    Guest,
    asked_window,
    hold_in,
    may_fit,
    place_on,
    terms_selector,
    tightest_first,
    together,
)
from rear.domain.ranking import Ratings
from rear.domain.refusals import InvalidField
from rear.domain.request_events import ComponentPlanned
from rear.domain.reservation import resolve_window
from rear.domain.service_request import ServiceRequest
from rear.domain.source import Elsewhere, LocalSource, VirtualNodeSource, local_hold_id
from rear.domain.trial import Trial
from rear.domain.window import Window
from rear.managers.provider import endings
from rear.managers.provider.contracts import MOST_EXPIRED_BY_ONE
from rear.managers.provider.provider import Provider


class Placing:
    """Finds places on this node."""

    def __init__(self, provider: Provider, records: Records, ratings: Ratings) -> None:
        self._provider = provider
        self._records = records
        self._ratings = ratings
        self._order: tuple[int, list[str]] = (-1, [])

    def place(self, request: ServiceRequest, name: str, trial: Trial, cause: Cause) -> None:
        """Adds to the trial where a component's resources are to come from: here, or from a provider."""
        component = request.wanted(name)
        asked = asked_window(component, cause.at)
        try:
            window = resolve_window(asked, self._provider.promises, cause.at)
        except InvalidField:  # such as one beyond what this node promises: a provider may
            window = None
        if window is None or not (
            self._in_a_pool(request, component, window, trial, cause)
            or self._on_a_virtual_node(request, component, window, trial, cause)
            or self._after_overdue(request, component, window, trial, cause)
        ):
            trial.add(ComponentPlanned(request.id, request.version + 1, cause, name, Elsewhere(), None))

    def _in_a_pool(
        self, request: ServiceRequest, component: Component, window: Window, trial: Trial, cause: Cause
    ) -> bool:
        state, selector = self._provider.state, terms_selector(component.constraints)
        hold_id = local_hold_id(request.id, component.name)
        for pool_id in self._tightest_first():
            pool = state.pools[pool_id]
            if pool.offer is None:
                continue
            calendar = state.calendar(pool_id)
            hold = hold_in(pool, calendar, component, selector, window, hold_id)
            if hold is not None:
                trial.add(
                    ComponentPlanned(
                        request.id,
                        request.version + 1,
                        cause,
                        component.name,
                        LocalSource(pool_id, hold_id),
                        window,
                    ),
                    pools.hold(pool, calendar, hold, self._provider.promises.default_lease, cause),
                )
                return True
        return False

    def _on_a_virtual_node(
        self, request: ServiceRequest, component: Component, window: Window, trial: Trial, cause: Cause
    ) -> bool:
        nodes = [one for one in self._records.virtual_nodes() if may_fit(one[1], component.partition, window)]
        nodes.sort(key=lambda one: (-self._ratings.score(one[0].order.provider_id), one[1].id))
        for purchase, node in nodes:
            owner = self._records.owner(node.id)
            if owner is None:
                continue
            bought_for = purchase.order.partition
            if owner[1].ended is None and not may_fit(node, together(bought_for, component.partition), window):
                continue
            guests = [
                Guest(guest.wanted(run.name).partition, run.window, run.source.units)
                for guest, run in self._records.guests(node.id)
                if run.window is not None and isinstance(run.source, VirtualNodeSource)
            ]
            if owner[1].ended is None:
                guests.append(Guest(bought_for, node.window))
            units = place_on(node, owner[0].wanted(owner[1].name), guests, component, window)
            if units is not None:
                source = VirtualNodeSource(node.id, units)
                self._records.note(node.id, request.id, component.name)
                trial.add(ComponentPlanned(request.id, request.version + 1, cause, component.name, source, window))
                return True
        return False

    def _after_overdue(
        self, request: ServiceRequest, component: Component, window: Window, trial: Trial, cause: Cause
    ) -> bool:
        """Expires reservations that are overdue, where there are any, and looks once more."""
        overdue = endings.overdue(self._provider, cause.at)[:MOST_EXPIRED_BY_ONE]
        for contract in overdue:
            trial.add(*endings.by_time(self._provider, contract, cause.at))
        return bool(overdue) and self._in_a_pool(request, component, window, trial, cause)

    def _tightest_first(self) -> Sequence[str]:
        state = self._provider.state
        if self._order[0] != state.offers_changed:
            self._order = (state.offers_changed, [pool.id for pool in tightest_first(state.pools.values())])
        return self._order[1]
