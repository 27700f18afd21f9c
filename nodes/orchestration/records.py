"""What the Node Orchestrator knows of purchases, allocations, and of who uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rear.domain.allocation import Allocation, AllocationState
from rear.domain.purchase import Purchase
from rear.domain.service_request import ComponentRun, ServiceRequest
from rear.domain.source import VirtualNodeSource
from rear.domain.state import State
from rear.domain.virtual_node import virtual_node_id


class Archive(Protocol):
    """The tables of purchases and service requests: also of those that are no longer in memory."""

    def purchase(self, contract_id: str) -> Purchase | None:
        """A purchase by its id; None where there is none."""
        ...

    def service_request(self, request_id: str) -> ServiceRequest | None:
        """A service request by its id; None where there is none."""
        ...


class Records:
    """The newest state, and behind it the tables. Satisfies `rear.domain.fulfilment.Known`."""

    def __init__(self, state: State, archive: Archive) -> None:
        self._state = state
        self._archive = archive

    def request(self, request_id: str) -> ServiceRequest | None:
        """A service request, also one that has ended; None where there is none."""
        return self._state.requests.get(request_id) or self._archive.service_request(request_id)

    def purchase(self, contract_id: str) -> Purchase:
        """A purchase, also one that has ended. Raises LookupError where there is none."""
        found = self._state.purchases.get(contract_id) or self._archive.purchase(contract_id)
        if found is None:
            raise LookupError(f"there is no purchase of contract {contract_id}")
        return found

    def allocation(self, allocation_id: str) -> Allocation | None:
        """An allocation; None for one that is gone."""
        return self._state.allocations.get(allocation_id)

    def shared(self, request_id: str, component: str, allocation_id: str) -> bool:
        """Whether another component uses that virtual node: one that was placed there, or the one it was bought for."""
        if any((request.id, run.name) != (request_id, component) for request, run in self.guests(allocation_id)):
            return True
        owner = self.owner(allocation_id)
        return owner is not None and owner[1].ended is None and (owner[0].id, owner[1].name) != (request_id, component)

    def guests(self, allocation_id: str) -> Iterator[tuple[ServiceRequest, ComponentRun]]:
        """The components that were placed on a virtual node and have not ended."""
        for request in self._state.requests.values():
            for run in request.components:
                source = run.source
                if (
                    isinstance(source, VirtualNodeSource)
                    and source.allocation_id == allocation_id
                    and run.ended is None
                ):
                    yield request, run

    def owner(self, allocation_id: str) -> tuple[ServiceRequest, ComponentRun] | None:
        """The component that a virtual node was bought for; None where that is not known any more."""
        allocation = self._state.allocations.get(allocation_id)
        purchase = None if allocation is None else self._state.purchases.get(allocation.contract_id)
        if purchase is None or not purchase.service_request_id:
            return None
        request = self._state.requests.get(purchase.service_request_id)
        return None if request is None else (request, request.run(purchase.component))

    def virtual_nodes(self) -> Iterator[tuple[Purchase, Allocation]]:
        """The virtual nodes that are active."""
        for purchase in self._state.purchases.values():
            allocation = self._state.allocations.get(virtual_node_id(purchase.id))
            if allocation is not None and allocation.state is AllocationState.ACTIVE:
                yield purchase, allocation
