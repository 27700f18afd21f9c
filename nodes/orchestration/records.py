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
        self._placed: dict[str, set[tuple[str, str]]] = {}
        """Components that were placed on each virtual node, also those that have ended, or were not in the end."""

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

    def learn(self) -> None:
        """Looks through all service requests once for components that are on virtual nodes."""
        for request in self._state.requests.values():
            for run in request.components:
                if isinstance(run.source, VirtualNodeSource):
                    self.note(run.source.allocation_id, request.id, run.name)

    def note(self, allocation_id: str, request_id: str, component: str) -> None:
        """A component is about to be placed on a virtual node."""
        self._placed.setdefault(allocation_id, set()).add((request_id, component))

    def guests(self, allocation_id: str) -> list[tuple[ServiceRequest, ComponentRun]]:
        """The components that were placed on a virtual node and have not ended, in no order."""
        found = []
        for request_id, component in self._placed.get(allocation_id, ()):
            request = self._state.requests.get(request_id)
            run = None if request is None else request.run(component)
            if request is None or run is None or run.ended is not None:
                continue
            if isinstance(run.source, VirtualNodeSource) and run.source.allocation_id == allocation_id:
                found.append((request, run))
        return found

    def forget(self, allocation_id: str) -> None:
        """A virtual node is gone, and what was on it has been told."""
        self._placed.pop(allocation_id, None)

    def owner(self, allocation_id: str) -> tuple[ServiceRequest, ComponentRun] | None:
        """The component that a virtual node was bought for; None where that is not known any more."""
        allocation = self._state.allocations.get(allocation_id)
        purchase = None if allocation is None else self._state.purchases.get(allocation.contract_id)
        if purchase is None or not purchase.service_request_id:
            return None
        request = self._state.requests.get(purchase.service_request_id)
        return None if request is None else (request, request.run(purchase.component))

    def virtual_nodes(self) -> Iterator[tuple[Purchase, Allocation]]:
        """The virtual nodes that are active, and about to stay so."""
        for purchase in self._state.purchases.values():
            if purchase.cancelling:
                continue
            allocation = self._state.allocations.get(virtual_node_id(purchase.id))
            if allocation is not None and allocation.state is AllocationState.ACTIVE:
                yield purchase, allocation
