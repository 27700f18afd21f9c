"""The Allocation aggregate: a provider's NODE or a consumer's VIRTUAL_NODE for a contract's resources."""

from __future__ import annotations

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

    @property
    def stands(self) -> bool:
        """Whether it stands for resources that are held."""
        return self.state is not AllocationState.RELEASED


def allocation_id(contract_id: str, side: AllocationSide) -> str:
    """`<contract>-<side>`: there is one on each side of a contract."""
    return f"{contract_id}-{side.value.lower()}"


def evolve(allocation: Allocation | None, event: AllocationEvent) -> Allocation:
    """The allocation after `event`. Pure."""
    if isinstance(event, AllocationCreated):
        return Allocation(
            event.originator_id,
            event.originator_version,
            event.contract_id,
            event.side,
            event.pool_id,
            event.window,
            event.quantities,
            event.units,
            AllocationState.INACTIVE,
            event.cause.at,
        )
    if allocation is None:
        raise ValueError("an allocation's first event must be AllocationCreated")
    return Allocation(
        allocation.id,
        event.originator_version,
        allocation.contract_id,
        allocation.side,
        allocation.pool_id,
        allocation.window,
        allocation.quantities,
        allocation.units,
        AllocationState.RELEASED,
        event.cause.at,
    )


def release(allocation: Allocation, reason: str, cause: Cause) -> AllocationReleased:
    """Ends the allocation."""
    return AllocationReleased(allocation.id, allocation.version + 1, cause, reason=reason)
