"""Who follows a service request is woken when anything of it changes: itself, its purchases, its virtual nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from weakref import WeakValueDictionary

from rear.domain.allocation import Allocation
from rear.domain.events import AllocationSide
from rear.domain.purchase import Purchase
from rear.domain.service_request import ForgottenRequest, ServiceRequest
from rear.domain.state import Aggregate, Service, State
from rear.ledger.commit import Committed


class RequestNews:
    """A writer's listener. It costs nothing while nobody follows anything."""

    def __init__(self, state: State) -> None:
        self._state = state
        # Kept by those who wait, so that one who asked and went away leaves nothing.
        self._waiting: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def committed(self, batch: Sequence[Committed]) -> None:
        """Wakes those whose service requests the batch moved on."""
        if self._waiting:
            for item in batch:
                key = self._request_of(item.step.after)
                if key is not None:
                    self._wake(key)

    def wake(self) -> None:
        """Wakes all, to look again."""
        for key in list(self._waiting):
            self._wake(key)

    def waiting(self, request_id: str) -> asyncio.Event:
        """Set at the next change of a service request after this call."""
        return self._waiting.setdefault(request_id, asyncio.Event())

    def _wake(self, key: str) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            waiting.set()

    def _request_of(self, after: Aggregate | Service | ForgottenRequest) -> str | None:
        match after:
            case ServiceRequest() | ForgottenRequest():
                return after.id
            case Purchase():
                return after.service_request_id
            case Allocation(side=AllocationSide.CONSUMER):
                purchase = self._state.purchases.get(after.contract_id)
                return None if purchase is None else purchase.service_request_id
            case _:
                return None
