"""The Allocation aggregate: a provider's NODE or a consumer's VIRTUAL_NODE for a contract's resources."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from rear.domain.events import (
    AllocationActivated,
    AllocationCreated,
    AllocationEvent,
    AllocationFailed,
    AllocationPeered,
    AllocationReleased,
    AllocationSide,
    Cause,
)
from rear.domain.lifecycle import ContractState
from rear.domain.quantities import Quantities
from rear.domain.units import UnitShare
from rear.domain.value import value
from rear.domain.window import Instant, Window


class AllocationState(Enum):
    """Where in its life an allocation is."""

    INACTIVE = "INACTIVE"
    ACTIVE = "ACTIVE"
    RELEASED = "RELEASED"
    FAILED = "FAILED"


class AllocationTrigger(Enum):
    """What happens to an allocation."""

    PEER = "a fabric carries it"
    ACTIVATE = "peered, and its contract is active"
    FAIL = "no fabric can carry it"
    RELEASE = "its contract ended"


S, T = AllocationState, AllocationTrigger

ALLOCATION_LIFECYCLE: Final[Mapping[tuple[AllocationState, AllocationTrigger], AllocationState]] = {
    (S.INACTIVE, T.PEER): S.INACTIVE,
    (S.INACTIVE, T.ACTIVATE): S.ACTIVE,
    (S.INACTIVE, T.FAIL): S.FAILED,
    (S.INACTIVE, T.RELEASE): S.RELEASED,
    (S.ACTIVE, T.PEER): S.ACTIVE,
    (S.ACTIVE, T.FAIL): S.FAILED,
    (S.ACTIVE, T.RELEASE): S.RELEASED,
    (S.FAILED, T.RELEASE): S.RELEASED,
}
"""What is not in the table cannot happen.

One that is peered is peered again where its fabric has moved; one that failed stands for what is held until its
contract ends.
"""

CARRIED_STATES: Final = frozenset({S.INACTIVE, S.ACTIVE})
"""Those in which a fabric carries what is peered."""

_TRIGGERS: Final = {
    AllocationPeered: T.PEER,
    AllocationActivated: T.ACTIVATE,
    AllocationFailed: T.FAIL,
    AllocationReleased: T.RELEASE,
}


@value
class Peering:
    """Which fabric carries an allocation, to whom, and, on the consumer's side, where it is reached."""

    peer_id: str
    fabric: str
    endpoint: str


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
    peered: Peering | None = None

    @property
    def stands(self) -> bool:
        """Whether it stands for resources that are held."""
        return self.state is not AllocationState.RELEASED


def allocation_id(contract_id: str, side: AllocationSide) -> str:
    """`<contract>-<side>`: there is one on each side of a contract."""
    return f"{contract_id}-{side.value.lower()}"


def evolve(allocation: Allocation | None, event: AllocationEvent) -> Allocation:
    """The allocation after `event`. Pure. Raises KeyError for one that the lifecycle has no row for."""
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
    peered = allocation.peered
    if isinstance(event, AllocationPeered):
        peered = Peering(event.peer_id, event.fabric, event.endpoint)
    return Allocation(
        allocation.id,
        event.originator_version,
        allocation.contract_id,
        allocation.side,
        allocation.pool_id,
        allocation.window,
        allocation.quantities,
        allocation.units,
        ALLOCATION_LIFECYCLE[allocation.state, _TRIGGERS[type(event)]],
        event.cause.at,
        peered,
    )


def peer(allocation: Allocation, peering: Peering, cause: Cause) -> AllocationPeered | None:
    """A fabric carries the allocation (steps 26, 27); None where that very one does already, or none can any more."""
    if allocation.peered == peering or not _can(allocation, T.PEER):
        return None
    return AllocationPeered(
        allocation.id,
        allocation.version + 1,
        cause,
        peer_id=peering.peer_id,
        fabric=peering.fabric,
        endpoint=peering.endpoint,
    )


def activate_if_due(allocation: Allocation, contract_state: ContractState, cause: Cause) -> AllocationActivated | None:
    """The allocation becomes active, where it is peered and its contract is ACTIVE; None where there is nothing to do.

    Whoever moves a contract to ACTIVE, and whoever peers an allocation, commits this with it.
    """
    if allocation.peered is None or contract_state is not ContractState.ACTIVE or not _can(allocation, T.ACTIVATE):
        return None
    return AllocationActivated(allocation.id, allocation.version + 1, cause)


def fail(allocation: Allocation, reason: str, cause: Cause) -> AllocationFailed | None:
    """No fabric can carry the allocation, for good; None where that is known, or it was released."""
    if not _can(allocation, T.FAIL):
        return None
    return AllocationFailed(allocation.id, allocation.version + 1, cause, reason=reason)


def release(allocation: Allocation, reason: str, cause: Cause) -> AllocationReleased:
    """Ends the allocation."""
    return AllocationReleased(allocation.id, allocation.version + 1, cause, reason=reason)


def _can(allocation: Allocation, trigger: AllocationTrigger) -> bool:
    return (allocation.state, trigger) in ALLOCATION_LIFECYCLE
