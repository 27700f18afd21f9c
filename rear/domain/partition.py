"""Whether a partition is one that a flavour may be divided into."""

from __future__ import annotations

from rear.domain.demand import Demand
from rear.domain.flavour import Partitionability, PoolTerms
from rear.domain.quantities import CORE_KINDS, Quantities
from rear.domain.refusals import InvalidField
from rear.domain.units import MILLIS_PER_UNIT, Unit

MAX_AMOUNT = 2**62
MAX_UNIT_REQUESTS = 16
MAX_UNITS = 1_024


def field_of(kind: str, parent: str) -> str:
    """The path of a kind's field below `parent`."""
    return f"{parent}.{kind}" if kind in CORE_KINDS else f"{parent}.extended[{kind}]"


def check_well_formed(demand: Demand, parent: str) -> None:
    """Refuses what no flavour could serve: an empty or negative partition, or impossible unit requests."""
    for kind, amount in demand.quantities.items():
        if 0 <= amount <= MAX_AMOUNT:
            continue
        path = field_of(kind, f"{parent}.quantities")
        if amount < 0:
            raise InvalidField(path, f"is {amount}; it must not be negative")
        raise InvalidField(path, f"is {amount}; the most that can be asked for is {MAX_AMOUNT}")
    if len(demand.units) > MAX_UNIT_REQUESTS:
        raise InvalidField(f"{parent}.units", f"has {len(demand.units)} requests; {MAX_UNIT_REQUESTS} at most")
    for index, request in enumerate(demand.units):
        if not request.unit_class:
            raise InvalidField(f"{parent}.units[{index}].unit_class", "is required")
        if not 1 <= request.count <= MAX_UNITS:
            raise InvalidField(
                f"{parent}.units[{index}].count", f"is {request.count}; it must be from 1 to {MAX_UNITS}"
            )
        if not 1 <= request.millis_each <= MILLIS_PER_UNIT:
            raise InvalidField(
                f"{parent}.units[{index}].millis_each",
                f"is {request.millis_each}; it must be from 1 to {MILLIS_PER_UNIT}",
            )
    if demand.empty:
        raise InvalidField(parent, "asks for nothing; ask for at least one kind or unit")


def check_against(demand: Demand, terms: PoolTerms, capacity: Quantities, units: tuple[Unit, ...], parent: str) -> None:
    """Refuses a partition that the pool has no such kind for, or that its policies forbid."""
    for kind in demand.quantities:
        if kind not in capacity:
            raise InvalidField(
                field_of(kind, f"{parent}.quantities"), f"is a kind that this flavour does not offer: {kind}"
            )
    classes = {unit.unit_class for unit in units} if demand.units else set()
    for index, request in enumerate(demand.units):
        if request.unit_class not in classes:
            raise InvalidField(
                f"{parent}.units[{index}].unit_class",
                f"is a class that this flavour does not offer: {request.unit_class}",
            )
    bounds = terms.policies.partitionability
    if bounds is None:
        _check_whole(demand, capacity, units, parent)
    else:
        _check_bounds(demand, bounds, parent)


def on_step(demand: Demand, terms: PoolTerms) -> Demand | None:
    """The largest partition within `demand` that the policies allow; None where that is nothing.

    Each kind comes down to its step; where a kind falls below its minimum nothing useful is left of it,
    and so nothing of the whole.
    """
    bounds = terms.policies.partitionability
    if bounds is None:
        return None
    amounts: dict[str, int] = {}
    for kind, amount in demand.quantities.items():
        low, step = bounds.minimum.of(kind), max(bounds.step.of(kind), 1)
        if amount < max(low, 1):
            return None
        amounts[kind] = low + (amount - low) // step * step
        if amounts[kind] <= 0:
            return None
    reduced = Demand(Quantities(amounts), tuple(request for request in demand.units if request.count > 0))
    return None if reduced.empty else reduced


def _check_whole(demand: Demand, capacity: Quantities, units: tuple[Unit, ...], parent: str) -> None:
    for kind, amount in capacity.items():
        if demand.quantities.of(kind) != amount:
            raise InvalidField(
                field_of(kind, f"{parent}.quantities"),
                f"is {demand.quantities.of(kind)}; this flavour is sold whole: ask for {amount}",
            )
    asked: dict[str, int] = {}
    for request in demand.units:
        asked[request.unit_class] = asked.get(request.unit_class, 0) + request.count * request.millis_each
    for unit_class in {unit.unit_class for unit in units}:
        whole = MILLIS_PER_UNIT * sum(1 for unit in units if unit.unit_class == unit_class)
        if asked.get(unit_class, 0) != whole:
            raise InvalidField(
                f"{parent}.units",
                f"ask for {asked.get(unit_class, 0)} millis of {unit_class}; "
                f"this flavour is sold whole: ask for all {whole // MILLIS_PER_UNIT} devices",
            )


def _check_bounds(demand: Demand, bounds: Partitionability, parent: str) -> None:
    for kind, amount in demand.quantities.items():
        if amount:
            low, step = bounds.minimum.of(kind), bounds.step.of(kind)
            if amount < low or (step > 1 and (amount - low) % step):
                raise _out_of_bounds(field_of(kind, f"{parent}.quantities"), amount, low, step)
    for index, request in enumerate(demand.units):
        millis, of_class = request.millis_each, request.unit_class
        low, step = bounds.unit_minimum_millis.of(of_class), bounds.unit_step_millis.of(of_class)
        if millis < low or (step > 1 and (millis - low) % step):
            raise _out_of_bounds(f"{parent}.units[{index}].millis_each", millis, low, step)


def _out_of_bounds(path: str, amount: int, low: int, step: int) -> InvalidField:
    if amount < low:
        return InvalidField(path, f"is {amount}; the least that may be asked for is {low}")
    return InvalidField(path, f"is {amount}; it must be {low} + n × {step}")
