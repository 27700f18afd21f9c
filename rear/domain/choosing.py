"""Which offer is taken for a component (workflow step 14): the best that was found, else the best counter-offer.

What was refused is not asked for a second time, but for a flavour that has changed since. A pool is tried a few times
at most, so that every search comes to an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid5

from rear.domain.answers import HeardRefusal
from rear.domain.candidate import Candidate, expected_window, pool_key
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand, devices
from rear.domain.flavour import parse_flavour_id
from rear.domain.fulfilment import UNANSWERED
from rear.domain.intent import Agreement, Component, Intent
from rear.domain.lifecycle import ContractState
from rear.domain.link import Order
from rear.domain.own_resources import asked_window, demands
from rear.domain.price import Money
from rear.domain.service_request import Attempt, ComponentRun
from rear.domain.value import value
from rear.domain.window import MINUTE, AskedWindow, Instant, Window, after

TRIES: Final = 3
"""Attempts at one pool for one component."""

CLOCKS_DIFFER: Final = MINUTE
"""How much shorter a window "until then" may be by the clock of whoever offers it."""

MOST_ATTEMPTS: Final = 32
"""Attempts for one component in all."""

FLAVOUR_CHANGED: Final = "FLAVOUR_CHANGED"
RAN_OUT: Final = ContractState.EXPIRED.value
"""Reasons for which a pool may be tried once more: under its new terms, and where a reservation ran out before all
other components were held."""

OF_THE_PROVIDER: Final = frozenset(
    {UNANSWERED, "PERMISSION_DENIED", "NOT_AUTHENTICATED", "WRONG_PROVIDER", "NOT_SERVED", "UNTRUE_ANSWER"}
)
"""Reasons that hold for all that a provider offers: it is not asked for another of its flavours."""


@value
class Choice:
    """An order for a component, out of how many offers, and why this one."""

    order: Order
    considered: int
    reason: str


def link_request_id(request_id: str, component: str, attempt: int, verb: str) -> str:
    """The id of a request to a provider: after a restart the same one is sent."""
    return str(uuid5(UUID(request_id), f"{component}/{attempt}/{verb}"))


def tried(attempt: Attempt) -> str:
    """The pool that was tried, unique among all providers."""
    parsed = parse_flavour_id(attempt.flavour_id)
    return pool_key(attempt.provider_id, parsed[0] if parsed is not None else attempt.flavour_id)


def excluded(run: ComponentRun) -> frozenset[str]:
    """Pools that need not be found again. Those may be whose terms have changed, or where a reservation ran out."""
    pools = [tried(attempt) for attempt in run.attempts]
    once_more = {
        tried(attempt)
        for attempt in run.attempts
        if {FLAVOUR_CHANGED, RAN_OUT} & {refusal.reason for refusal in _refusals(run, attempt)}
    }
    return frozenset(pool for pool in pools if pool not in once_more or pools.count(pool) >= TRIES)


def choose(
    intent: Intent, component: Component, run: ComponentRun, candidates: Sequence[Candidate], now: Instant
) -> Choice | None:
    """The best candidate that has everything; None where there is none."""
    if len(run.attempts) >= MOST_ATTEMPTS:
        return None
    out = excluded(run)
    known = {
        (attempt.provider_id, attempt.flavour_id)
        for attempt in run.attempts
        if all(refusal.reason != RAN_OUT for refusal in _refusals(run, attempt))
    }
    shunned = {refusal.provider_id for refusal in run.refusals if refusal.reason in OF_THE_PROVIDER}
    good = [
        one
        for one in candidates
        if one.pool not in out and one.provider_id not in shunned and (one.provider_id, one.flavour.id) not in known
    ]
    if not good:
        return None
    best = good[0]
    window = asked_window(component, now)
    order = Order(
        best.provider_id,
        best.route.endpoint,
        best.flavour.id,
        _partition(component, best),
        window,
        confirm=intent.agreement is Agreement.DIRECT,
        max_price=_most(component, best.total_price, window),
        priority=intent.priority,
    )
    first = "the only offer" if len(good) == 1 else f"the best of {len(good)} offers"
    return Choice(order, len(good), f"{first} by {component.objective.value}")


def _most(component: Component, listed: Money | None, window: AskedWindow) -> Money | None:
    """What the contract may cost: no more than was listed, where no clock or default has a say in how long it lasts."""
    fixed = window.duration is not None or (window.start is not None and window.end is not None)
    return listed if fixed and listed is not None else component.constraints.max_price


def _partition(component: Component, candidate: Candidate) -> Demand:
    """What to ask for: of models of GPUs that will do, the first that is there."""
    units = candidate.flavour.pool_units
    for demand in demands(component):
        if all(
            any(unit.unit_class == one.unit_class and unit.matches(one.attributes) for unit in units)
            for one in demand.units
        ):
            return demand
    return component.partition


def choose_counter_offer(
    component: Component, run: ComponentRun, order_of: Callable[[Attempt], Order], now: Instant
) -> Choice | None:
    """The best counter-offer that is good enough: one in the asked window, the largest first, else the earliest.

    `order_of` gives what was asked for in an attempt.
    """
    found = [
        (rank, order)
        for attempt, offer in _counter_offers(run)
        for rank, order in _orders(component, order_of(attempt), attempt.chosen_at, offer, now)
    ]
    if not found:
        return None
    rank, order = min(found, key=lambda one: one[0])
    how = "of less than was asked for" if rank[0] == 0 else "of a later window"
    return Choice(order, len(found), f"a counter-offer {how}: nobody has all of it in time")


def _counter_offers(run: ComponentRun) -> Iterator[tuple[Attempt, CounterOffer]]:
    """The newest of each pool that may be tried once more."""
    pools = [tried(attempt) for attempt in run.attempts]
    newest = {tried(attempt): attempt for attempt in run.attempts} if len(pools) < MOST_ATTEMPTS else {}
    for pool, attempt in newest.items():
        heard = _refusals(run, attempt)
        if heard and heard[-1].counter_offer is not None and pools.count(pool) < TRIES:
            yield attempt, heard[-1].counter_offer


def _refusals(run: ComponentRun, attempt: Attempt) -> list[HeardRefusal]:
    """What was heard of the flavour of an attempt, the newest last."""
    asked = (attempt.provider_id, attempt.flavour_id)
    return [refusal for refusal in run.refusals if (refusal.provider_id, refusal.flavour_id) == asked]


def _orders(
    component: Component, asked: Order, asked_at: Instant, offer: CounterOffer, now: Instant
) -> Iterator[tuple[tuple[float, ...], Order]]:
    """What would be ordered on a counter-offer, each with its rank: smaller is better.

    Who offers it may say what it likes: nothing is taken that is more than was asked for, or does not last as long.
    """

    def again(partition: Demand, window: AskedWindow) -> Order:
        most_paid = _most(component, asked.max_price, window)
        flavour_id = offer.flavour_id or asked.flavour_id
        return replace(asked, flavour_id=flavour_id, partition=partition, window=window, max_price=most_paid)

    most = offer.most_in_window
    if most is not None and enough(component, most) and most != asked.partition:
        share = sum(
            most.quantities.of(kind) / amount for kind, amount in component.partition.quantities.items() if amount
        )
        yield (0, -share), again(most, asked_window(component, now))
    later = offer.earliest_window
    if later is not None and component.latest_start is not None and later.start <= component.latest_start:
        window = _as_long(later, asked.window, asked_at, now)
        if window is not None and window != asked.window:
            yield (1, later.start), again(component.partition, window)


def _as_long(later: Window, asked: AskedWindow, asked_at: Instant, now: Instant) -> AskedWindow | None:
    """What to ask for of a later window, so that it is as long as the one that was asked for; None where it is not.

    How long "until then" was, the provider has reckoned by its own clock, and how long the default is, it alone knows.
    """
    end = later.end
    if asked.end is not None or asked.duration is not None:
        length = expected_window(asked, asked_at).duration
        slack = CLOCKS_DIFFER if asked.start is None and asked.end is not None else 0
        if later.duration + slack < length:
            return None
        end = min(end, after(later.start, length))
    return AskedWindow(later.start if later.start > now else None, end)


def enough(component: Component, offered: Demand) -> bool:
    """Whether a component can do with that: the least of each kind, no more than it asks for, all of its devices."""
    wanted = component.partition.quantities
    if any(offered.quantities.of(kind) < amount for kind, amount in component.least.items()):
        return False
    if any(amount > wanted.of(kind) for kind, amount in offered.quantities.items()):
        return False
    return any(devices(offered.units) == devices(demand.units) for demand in demands(component))
