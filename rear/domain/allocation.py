"""The Allocation aggregate: a provider's NODE or a consumer's VIRTUAL_NODE for a contract's resources."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from rear.domain.events import AllocationCreated, AllocationEvent, AllocationReleased, AllocationSide, Cause
from rear.domain.quantities import Quantities
from rear.domain.units import UnitShare
from rear.domain.value import value
from rear.domain.window import Instant, Window


class AllocationState(Enum):
    """Where in its life an allocation is."""

    INACTIVE = "INACTIVE"
    RELEASED = "RELEASED"


@value
class Allocation:
    """An allocation after its newest event."""

    id: str
    version: int
    contract_id: str
    side: AllocationSide
    pool_id: str
    window: Window
    quantities: Quantities
    units: tuple[UnitShare, ...]
    state: AllocationState
    updated_at: Instant


def allocation_id(contract_id: str, side: AllocationSide) -> str:
    """`<contract>-<side>`: there is one on each side of a contract."""
    return f"{contract_id}-{side.value.lower()}"


def evolve(allocation: Allocation | None, event: AllocationEvent) -> Allocation:
    """The allocation after `event`. Pure."""
    if isinstance(event, AllocationCreated):
        return Allocation(
            id=event.originator_id,
            version=event.originator_version,
            contract_id=event.contract_id,
            side=event.side,
            pool_id=event.pool_id,
            window=event.window,
            quantities=event.quantities,
            units=event.units,
            state=AllocationState.INACTIVE,
            updated_at=event.cause.at,
        )
    if allocation is None:
        raise ValueError("an allocation's first event must be AllocationCreated")
    return replace(
        allocation,
        version=event.originator_version,
        state=AllocationState.RELEASED,
        updated_at=event.cause.at,
    )


def release(allocation: Allocation, reason: str, cause: Cause) -> AllocationReleased:
    """Ends the allocation."""
    return AllocationReleased(allocation.id, allocation.version + 1, cause, reason=reason)
