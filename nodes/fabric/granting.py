"""The provider's side of the fabric: what is peered is granted, and what was released is withdrawn."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

import structlog

from nodes.fabric.driver import LONGEST_PAUSE, FabricDriver
from rear.background import Pauses, Reconciler
from rear.domain import allocation as allocations
from rear.domain.allocation import CARRIED_STATES, Allocation, AllocationState
from rear.domain.events import AllocationPeered, AllocationSide, Cause
from rear.domain.fabric import FabricRefuses, FabricUnavailable, Grant, Slice, slice_of
from rear.domain.window import Instant
from rear.ledger.commit import Committed, Decision
from rear.ledger.writer import Writer

log = structlog.get_logger(__name__)


class Granting:
    """Brings a fabric to what the state says of the provider's allocations, and grants for whoever answers requests.

    A listener of commits. It knows contracts by their ids.
    """

    def __init__(self, writer: Writer, driver: FabricDriver) -> None:
        self._writer = writer
        self._driver = driver
        self._granted: set[str] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pauses = Pauses(longest=LONGEST_PAUSE)
        self._reconciler = Reconciler("grants", self._step)

    @property
    def name(self) -> str:
        """Which fabric it is."""
        return self._driver.name

    @property
    def trouble(self) -> str | None:
        """Why some grants do not come on; None where that is not our fault."""
        return self._reconciler.trouble

    def start(self, granted: Iterable[str], peered: Iterable[str]) -> None:
        """Begins with what the fabric says that it grants, and what the state says is peered."""
        self._granted |= set(granted)
        for contract_id in {*self._granted, *peered}:
            self._reconciler.wake(contract_id)

    async def stop(self) -> None:
        """Leaves everything as it stands."""
        await self._reconciler.stop()

    def committed(self, batch: Sequence[Committed]) -> None:
        """Looks at what was peered, and at what was and is no more."""
        for item in batch:
            after = item.step.after
            if isinstance(after, Allocation) and after.peered and after.side is AllocationSide.PROVIDER:
                new = isinstance(item.step.event, AllocationPeered)
                if new or after.state not in CARRIED_STATES:
                    self._reconciler.wake(after.contract_id)

    async def grant(self, asked: Slice) -> Grant:
        """Opens a contract's resources to its consumer. Raises FabricUnavailable or FabricRefuses."""
        async with self._locks[asked.contract_id]:
            if self._peered(asked.contract_id) is None:
                stands = self._allocation(asked.contract_id)
                if stands is not None and stands.state is AllocationState.FAILED:
                    raise FabricRefuses("the allocation has failed meanwhile")
                raise FabricUnavailable("the allocation was released meanwhile")
            granted = await self._driver.grant(asked)
            self._granted.add(asked.contract_id)
            return granted

    async def _step(self, contract_id: str) -> float | None:
        try:
            async with self._locks[contract_id]:
                await self._bring_on(contract_id)
        except FabricUnavailable as error:
            log.warning("the fabric does not answer", contract=contract_id, because=str(error))
            return self._pauses.longer(contract_id)
        except FabricRefuses as error:
            log.error("the fabric cannot carry a contract", contract=contract_id, because=str(error))
            await self._writer.submit(partial(self._fail, contract_id, str(error)))
        self._pauses.over(contract_id)
        if self._peered(contract_id) is None:
            self._locks.pop(contract_id, None)
        return None

    async def _bring_on(self, contract_id: str) -> None:
        stands, granted = self._peered(contract_id), contract_id in self._granted
        if stands is not None and stands.peered is not None and not granted:
            await self._driver.grant(slice_of(stands, stands.peered.peer_id))
            self._granted.add(contract_id)
        if stands is None and granted:
            await self._driver.withdraw(contract_id)
            self._granted.discard(contract_id)

    def _peered(self, contract_id: str) -> Allocation | None:
        """The contract's allocation, where a fabric is to carry it."""
        stands = self._allocation(contract_id)
        return stands if stands is not None and stands.peered is not None and stands.state in CARRIED_STATES else None

    def _allocation(self, contract_id: str) -> Allocation | None:
        key = allocations.allocation_id(contract_id, AllocationSide.PROVIDER)
        return self._writer.state.allocations.get(key)

    def _fail(self, contract_id: str, reason: str, now: Instant) -> Decision[None]:
        stands = self._peered(contract_id)
        failed = None if stands is None else allocations.fail(stands, reason, Cause(now, now))
        return Decision(() if failed is None else (failed,), None)
