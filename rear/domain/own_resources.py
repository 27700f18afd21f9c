"""Looking for a component's resources on this node: in its pools, and on its virtual nodes (workflow steps 6 and 7).

What is a node's own is not bound by the terms under which it is sold: no price, no latency, no partitionability.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from rear.domain.allocation import Allocation
from rear.domain.calendar import PoolCalendar
from rear.domain.demand import Demand
from rear.domain.flavour import GPU, MODEL
from rear.domain.hold import Hold, HoldKind
from rear.domain.intent import Component, Constraints
from rear.domain.pool import Pool
from rear.domain.quantities import Quantities
from rear.domain.selector import Selector, SetFilter, TextFilter
from rear.domain.units import MILLIS_PER_UNIT, Attributes, Unit, UnitRequest, UnitShare, attributes
from rear.domain.value import value
from rear.domain.window import BEGINNING, FOREVER, SECOND, AskedWindow, Instant, Window, after

SOON: Final = SECOND
"""A start that is no further away than this is "now": by the time it is asked for, by another clock, it has passed."""


@value
class Guest:
    """A component that is on a virtual node already. Without `units` it is the one that the node was bought for."""

    partition: Demand
    window: Window
    units: tuple[UnitShare, ...] | None = None


def asked_window(component: Component, now: Instant) -> AskedWindow:
    """The window to ask for at `now`: a start that has come is left out, and the end stays where it was meant to be.

    What may begin later has a length instead of an end, and keeps that.
    """
    asked = component.window
    if asked.start is None or asked.start > now + SOON:
        return asked
    if asked.duration is not None and component.latest_start is not None:
        return replace(asked, start=None)
    end = asked.end if asked.duration is None else after(asked.start, asked.duration)
    return AskedWindow(None, end)


def demands(component: Component) -> Iterator[Demand]:
    """What the component asks for, once for each model of GPU that will do."""
    wanted, models = component.partition, component.constraints.gpu_models
    if not any(request.unit_class == GPU for request in wanted.units) or not models:
        yield wanted
        return
    for model in models:
        yield replace(wanted, units=tuple([_of_model(request, model) for request in wanted.units]))


def terms_selector(constraints: Constraints) -> Selector:
    """What of the constraints pools of this node have to meet."""
    return Selector(
        architecture=TextFilter(any_of=frozenset(constraints.architectures)) if constraints.architectures else None,
        gpu_model=TextFilter(any_of=frozenset(constraints.gpu_models)) if constraints.gpu_models else None,
        location=constraints.location,
        security_standards=SetFilter(frozenset(constraints.security_standards))
        if constraints.security_standards
        else None,
        tags=tuple([(name, TextFilter(exact=text)) for name, text in constraints.tags]),
    )


def tightest_first(pools: Iterable[Pool]) -> list[Pool]:
    """Smaller pools before larger ones, so that large ones stay whole."""
    return sorted(pools, key=lambda pool: (len(pool.units), *pool.capacity.values(), pool.id))


def hold_in(
    pool: Pool, calendar: PoolCalendar, component: Component, selector: Selector, window: Window, hold_id: str
) -> Hold | None:
    """The hold that gives the component its resources in a pool; None where they are not there."""
    if pool.offer is None or not selector.matches_terms(pool.id, pool.terms, pool.units):
        return None
    for demand in demands(component):
        units = calendar.place(demand, window)
        if units is not None:
            return Hold(hold_id, HoldKind.LOCAL, window, demand.quantities, units)
    return None


def may_fit(node: Allocation, demand: Demand, window: Window) -> bool:
    """Whether a virtual node is large enough, and there for long enough, if nothing else were on it."""
    return (
        node.window.start <= window.start
        and window.end <= node.window.end
        and all(node.quantities.of(kind) >= amount for kind, amount in demand.quantities.items())
    )


def together(one: Demand, other: Demand) -> Demand:
    """Both, of what can be divided."""
    kinds = {*one.quantities, *other.quantities}
    return Demand(Quantities({kind: one.quantities.of(kind) + other.quantities.of(kind) for kind in kinds}))


def place_on(
    node: Allocation, owner: Component, guests: Iterable[Guest], component: Component, window: Window
) -> tuple[UnitShare, ...] | None:
    """The devices that a component gets on a virtual node that was bought for `owner`; None where it has no place.

    What a provider's machine is like is known by what it was bought for: a constraint is met that the owner had too.
    """
    if not may_fit(node, component.partition, window):
        return None
    if not _implied(component.constraints, owner.constraints):
        return None
    calendar = _calendar_of(node, owner.partition, guests)
    return calendar.place(component.partition, window)


def _of_model(request: UnitRequest, model: str) -> UnitRequest:
    described = dict(request.attributes)
    if request.unit_class != GPU or MODEL in described:
        return request
    return replace(request, attributes=attributes({**described, MODEL: model}))


def _implied(wanted: Constraints, had: Constraints) -> bool:
    return (
        (not wanted.architectures or (bool(had.architectures) and set(had.architectures) <= set(wanted.architectures)))
        and (not wanted.gpu_models or (bool(had.gpu_models) and set(had.gpu_models) <= set(wanted.gpu_models)))
        and (wanted.location is None or wanted.location == had.location)
        and (wanted.max_latency is None or (had.max_latency is not None and had.max_latency <= wanted.max_latency))
        and set(wanted.security_standards) <= set(had.security_standards)
        and set(wanted.tags) <= set(had.tags)
    )


def _calendar_of(node: Allocation, bought_for: Demand, guests: Iterable[Guest]) -> PoolCalendar:
    """What is taken of a virtual node. Whose devices the first component has is not written down: it gets its own
    again, since it is placed alone, first, and in the same way each time.
    """
    calendar = PoolCalendar(node.quantities, [_unit(share, bought_for) for share in node.units])
    always = Window(BEGINNING, FOREVER)
    for share in node.units:
        if share.millis < MILLIS_PER_UNIT:
            rest = replace(share, millis=MILLIS_PER_UNIT - share.millis)
            calendar.occupy(Hold("", HoldKind.BUFFER, always, units=(rest,)))
    placed = sorted(guests, key=lambda guest: guest.units is not None)
    for guest in placed:
        units = guest.units if guest.units is not None else calendar.place(guest.partition, guest.window) or ()
        calendar.occupy(Hold("", HoldKind.LOCAL, guest.window, guest.partition.quantities, units))
    return calendar


def _unit(share: UnitShare, bought_for: Demand) -> Unit:
    """A device with the attributes that it was asked for with, where no other request of its class leaves a doubt."""
    described: set[Attributes] = {
        request.attributes for request in bought_for.units if request.unit_class == share.unit_class
    }
    return Unit(share.unit_class, share.name, described.pop() if len(described) == 1 else ())
