"""How far a component of a service request has come, as its submitter is told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from rear.domain.allocation import Allocation
from rear.domain.lifecycle import ContractState
from rear.domain.purchase import Purchase
from rear.domain.service_request import ComponentRun, ServiceRequest
from rear.domain.source import Elsewhere


class ComponentState(Enum):
    """How far a component has come."""

    SEARCHING = "SEARCHING"
    RESERVING = "RESERVING"
    HELD = "HELD"
    AGREED = "AGREED"
    PEERED = "PEERED"
    READY = "READY"
    ENDING = "ENDING"
    ENDED = "ENDED"


C = ComponentState

BY_CONTRACT: Final[Mapping[ContractState | None, ComponentState]] = {
    None: C.RESERVING,
    ContractState.RESERVED: C.HELD,
    ContractState.CONFIRMED: C.AGREED,
    ContractState.ACTIVE: C.AGREED,
    ContractState.EXPIRED: C.SEARCHING,
    ContractState.CANCELLED: C.SEARCHING,
    ContractState.REVOKED: C.SEARCHING,
    ContractState.COMPLETED: C.ENDING,
}
"""How far a component has come whose resources are a provider's, by the state of the contract."""


def component_state(
    request: ServiceRequest, run: ComponentRun, purchase: Purchase | None, allocation: Allocation | None
) -> ComponentState:
    """How far a component has come, given the purchase and the allocation of the offer that counts."""
    if run.ended is not None:
        return C.ENDED
    if not request.live:
        return C.ENDING
    if run.ready:
        return C.READY
    if run.source is None:
        return C.SEARCHING
    if not isinstance(run.source, Elsewhere):
        return C.HELD
    if purchase is None:
        return C.SEARCHING
    if allocation is not None and allocation.peered is not None and purchase.state is not ContractState.RESERVED:
        return C.PEERED
    return BY_CONTRACT[purchase.state]
