"""From a component to a question for flavours, and which candidates answer it (workflow 1, steps 8 and 9)."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from rear.domain.candidate import Candidate, expected_window
from rear.domain.demand import Demand
from rear.domain.intent import Component, Objective
from rear.domain.matching import assign
from rear.domain.own_resources import asked_window
from rear.domain.partition import check_against
from rear.domain.refusals import InvalidField
from rear.domain.selector import FlavourOrder, NumberFilter, Selector, SetFilter, TextFilter
from rear.domain.units import OfferedUnit, Unit
from rear.domain.window import AskedWindow, Duration, Instant, Window

ORDERS: Final = {
    Objective.PRICE: FlavourOrder.PRICE,
    Objective.LATENCY: FlavourOrder.LATENCY,
    Objective.CARBON: FlavourOrder.CARBON,
    Objective.RATING: FlavourOrder.PRICE,
}
"""What a provider is asked to list first, so that a limit keeps nothing better away. It rates nobody."""

_EVERYTHING: Final = Selector()
_COMPARED: Final = tuple(each.name for each in fields(Selector) if each.name != "window")


def selector_of(component: Component, now: Instant) -> Selector:
    """What a provider is asked for a component: all of its partition, for its window, where its constraints hold."""
    limits = component.constraints
    return Selector(
        partition=component.partition,
        window=asked_window(component, now),
        architecture=_any_of(limits.architectures),
        gpu_model=_any_of(limits.gpu_models),
        location=limits.location,
        max_price=limits.max_price,
        max_latency=limits.max_latency,
        security_standards=SetFilter(frozenset(limits.security_standards)) if limits.security_standards else None,
        tags=tuple((name, TextFilter(text)) for name, text in limits.tags),
    )


def near_selectors(component: Component, now: Instant) -> tuple[Selector, ...]:
    """Questions for those who have not all of it, and whose counter-offer may do all the same.

    One for as much as will do in the asked window, where less will do, and one for all of it at the latest start, where
    there is one: what fits then has its earliest window no later.
    """
    whole, selectors = selector_of(component, now), []
    if component.minimum:
        least = tuple((kind, NumberFilter(min=amount)) for kind, amount in component.least.items() if amount)
        units = Demand(units=component.partition.units) if component.partition.units else None
        selectors.append(replace(whole, partition=units, quantities=least))
    if component.latest_start is not None and component.latest_start > now:
        length = expected_window(component.window, now).duration
        selectors.append(replace(whole, window=AskedWindow(component.latest_start, duration=length)))
    return tuple(selectors)


def selects(selector: Selector, candidate: Candidate, now: Instant, *, slack: Duration) -> bool | None:
    """Whether the candidate's provider would have listed it for this question, by what is known of it.

    None where that is not known: what was free was said of another window. A window that begins or ends up to `slack`
    outside of the known one is taken for inside: the windows of two questions that say "from now" are never the same.
    """
    flavour, terms = candidate.flavour, candidate.flavour.terms
    if selector.provider_ids and candidate.provider_id not in selector.provider_ids:
        return False
    if not selector.matches_terms(flavour.pool_id, terms, flavour.pool_units):
        return False
    window, partition = expected_window(selector.window, now), selector.partition
    if not selector.matches_price(candidate.price_of(partition or Demand(candidate.available), window.duration)):
        return False
    if partition is not None and not _is_allowed(partition, candidate):
        return False
    if not _covers(candidate.window, window, slack):
        return None
    if not selector.matches_available(candidate.available):
        return False
    return partition is None or fits(partition, candidate)


def fits(partition: Demand, candidate: Candidate) -> bool:
    """Whether so much of it was free when it was heard."""
    for kind, amount in partition.quantities.items():
        if candidate.available.of(kind) < amount:
            return False
    if not partition.units:
        return True
    known = {(unit.unit_class, unit.name): unit for unit in candidate.flavour.pool_units}
    free = [
        OfferedUnit(known.get((share.unit_class, share.name), Unit(share.unit_class, share.name)), share.millis)
        for share in candidate.available_units
    ]
    servable = [
        sum(
            1 << at
            for at, wanted in enumerate(partition.units)
            if device.unit.unit_class == wanted.unit_class
            and device.millis >= wanted.millis_each
            and device.unit.matches(wanted.attributes)
        )
        for device in free
    ]
    counts = [wanted.count for wanted in partition.units]
    return [len(served) for served in assign(servable, counts)] == counts


def covers(earlier: Selector, later: Selector) -> bool:
    """Whether every flavour that `later` selects is one that `earlier` selects too, apart from their windows.

    No where that is not plain: it costs a question then. A partition that is smaller does not cover a larger one,
    because the larger may be on a pool's step and the smaller not.
    """
    return all(getattr(earlier, name) in (getattr(later, name), getattr(_EVERYTHING, name)) for name in _COMPARED)


def _covers(known: Window, asked: Window, slack: Duration) -> bool:
    return known.start - slack <= asked.start and asked.end <= known.end + slack


def _is_allowed(partition: Demand, candidate: Candidate) -> bool:
    flavour = candidate.flavour
    try:
        check_against(partition, flavour.terms, flavour.offer.quantities, flavour.pool_units, "partition")
    except InvalidField:
        return False
    return True


def _any_of(texts: tuple[str, ...]) -> TextFilter | None:
    return TextFilter(any_of=frozenset(texts)) if texts else None
