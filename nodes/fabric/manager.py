"""The Virtual Fabric Manager, consumer side: asks for what was bought, and attaches it (steps 25 and 27)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from nodes.fabric.driver import LONGEST_PAUSE, FabricDriver, Standing
from rear import failpoints, tracing
from rear.background import Pauses, Reconciler
from rear.domain import allocation as allocations
from rear.domain import peering
from rear.domain.allocation import CARRIED_STATES, Allocation
from rear.domain.events import AllocationSide, Cause
from rear.domain.fabric import FabricRefuses, FabricUnavailable, HeardOffer, request_for, slice_of
from rear.domain.purchase import Purchase
from rear.domain.refusals import (
    ContractNotFound,
    InvalidField,
    NotServed,
    PermissionDenied,
    Refusal,
    RefusedElsewhere,
    TryAgain,
)
from rear.domain.virtual_node import virtual_node_id
from rear.domain.window import SECOND, Instant
from rear.ledger.commit import Committed, Decision
from rear.ledger.writer import Writer
from rear.managers.consumer.peers import FabricPeers, Unanswered

log = structlog.get_logger(__name__)

DEADLINE: Final = 5.0
"""Seconds for a provider to answer."""

AT_ONCE: Final = 8
"""Questions to one provider side by side."""

FOR_GOOD: Final = (ContractNotFound, InvalidField, NotServed, PermissionDenied)
"""Refusals that asking again will not change. One of a contract's state is none: the copy here is behind."""


class VirtualFabricManager:
    """Brings a fabric to what the state says of the consumer's allocations. A listener of commits.

    It knows contracts by their ids. A pair is set up before the first of its contracts is attached, and taken down
    after the last was let go: which these are follows from state. A credential is in no state, so what is peered is
    asked for again after a restart.
    """

    def __init__(self, writer: Writer, peers: FabricPeers, driver: FabricDriver) -> None:
        self._writer = writer
        self._peers = peers
        self._driver = driver
        self._carried: dict[str, str] = {}
        """By contract, the peer of those that the state says are peered."""
        self._attached: dict[str, str] = {}
        """The same of those that the fabric has attached."""
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asking: defaultdict[str, asyncio.Semaphore] = defaultdict(partial(asyncio.Semaphore, AT_ONCE))
        self._pauses = Pauses(longest=LONGEST_PAUSE)
        self._peerings = Reconciler("peerings", self._step)
        self._pairs = Reconciler("pairs", self._take_down)

    @property
    def trouble(self) -> str | None:
        """Why some peerings do not come on; None where that is not our fault."""
        return self._peerings.trouble or self._pairs.trouble

    def start(self, standing: Standing, here: Mapping[str, str | None]) -> None:
        """Begins with what the fabric carries, and with the contracts that have an allocation here.

        `here` has the peers of those that are peered.
        """
        self._attached |= standing.attached
        self._carried |= {contract_id: peer_id for contract_id, peer_id in here.items() if peer_id}
        for contract_id in {*standing.attached, *here}:
            self._peerings.wake(contract_id)
        for peer_id in standing.connected:
            self._pairs.wake(peer_id)

    async def stop(self) -> None:
        """Leaves everything as it stands."""
        await self._peerings.stop()
        await self._pairs.stop()

    def committed(self, batch: Sequence[Committed]) -> None:
        """Looks at the consumer's allocations and purchases that moved on."""
        for item in batch:
            after = item.step.after
            if isinstance(after, Purchase):
                self._peerings.wake(after.id)
            elif isinstance(after, Allocation) and after.side is AllocationSide.CONSUMER:
                if after.peered is not None and after.state in CARRIED_STATES:
                    self._carried[after.contract_id] = after.peered.peer_id
                else:
                    self._carried.pop(after.contract_id, None)
                self._peerings.wake(after.contract_id)

    # -- one contract --------------------------------------------------------------------------------------

    async def _step(self, contract_id: str) -> float | None:
        stands, purchase = self._look(contract_id)
        try:
            if stands is None or stands.state not in CARRIED_STATES:
                await self._let_go(contract_id)
            elif purchase is not None and peering.to_be_peered(purchase) and not self._done(stands):
                with tracing.span("peer a virtual node", contract=contract_id):
                    await self._peer(stands, purchase)
        except (Unanswered, FabricUnavailable) as error:
            return self._again(contract_id, error)
        except TryAgain as error:
            return self._again(contract_id, error, error.retry_after / SECOND)
        except (Refusal, FabricRefuses) as error:
            if not _for_good(error):
                return self._again(contract_id, error)
            log.error("a contract cannot be peered", contract=contract_id, because=str(error))
            await self._writer.submit(partial(self._failed, contract_id, str(error)))
        self._pauses.over(contract_id)
        return None

    def _again(self, contract_id: str, because: Exception, at_least: float = 0.0) -> float:
        if not self._pauses.waiting(contract_id):  # once, and not each few seconds until the provider is back
            log.info("a contract is not peered yet", contract=contract_id, because=str(because))
        return max(at_least, self._pauses.longer(contract_id))

    async def _peer(self, stands: Allocation, purchase: Purchase) -> None:
        """Asks for what was bought, attaches it, and records that (steps 25 and 27)."""
        order = purchase.order
        failpoints.reach("fabric.before_asking")
        async with self._asking[order.provider_id]:
            heard = await self._peers.request_resources(
                order.endpoint, order.provider_id, request_for(stands), deadline=DEADLINE
            )
        failpoints.reach("fabric.offered")
        if heard.offer.fabric != self._driver.name:
            raise FabricRefuses(
                f"the provider's fabric is {heard.offer.fabric!r}, and this node's is {self._driver.name}"
            )
        endpoint = await self._attach(stands, order.provider_id, heard)
        await self._writer.submit(partial(self._peered, stands.contract_id, heard, endpoint))

    async def _attach(self, stands: Allocation, peer_id: str, heard: HeardOffer) -> str:
        async with self._locks[peer_id]:
            await self._driver.connect(peer_id, heard)
            endpoint = await self._driver.attach(slice_of(stands, peer_id), heard)
            self._attached[stands.contract_id] = peer_id
            return endpoint

    def _peered(self, contract_id: str, heard: HeardOffer, endpoint: str, now: Instant) -> Decision[None]:
        stands, purchase = self._look(contract_id)
        if stands is None or purchase is None or stands.state not in CARRIED_STATES:
            return Decision((), None)  # it ended meanwhile: what was attached is let go
        cause = Cause(now, now)
        return Decision(peering.peered(purchase, stands, heard, self._driver.name, endpoint, cause), None)

    def _failed(self, contract_id: str, reason: str, now: Instant) -> Decision[None]:
        stands, _ = self._look(contract_id)
        why = f"{reason}; what it was for cannot be had from this provider"
        failed = None if stands is None else allocations.fail(stands, why, Cause(now, now))
        return Decision(() if failed is None else (failed,), None)

    def _done(self, stands: Allocation) -> bool:
        return stands.peered is not None and stands.contract_id in self._attached

    def _look(self, contract_id: str) -> tuple[Allocation | None, Purchase | None]:
        state = self._writer.state
        return state.allocations.get(virtual_node_id(contract_id)), state.purchases.get(contract_id)

    async def _let_go(self, contract_id: str) -> None:
        peer_id = self._attached.get(contract_id)
        if peer_id is None:
            return
        async with self._locks[peer_id]:
            await self._driver.detach(contract_id)
            del self._attached[contract_id]
        self._pairs.wake(peer_id)

    # -- one pair ------------------------------------------------------------------------------------------

    async def _take_down(self, peer_id: str) -> float | None:
        """Disconnects a peer of which nothing is carried any more."""
        async with self._locks[peer_id]:
            if peer_id in self._carried.values() or peer_id in self._attached.values():
                return None
            try:
                await self._driver.disconnect(peer_id)
            except FabricRefuses as error:
                log.error("the fabric does not let go of a peer", peer=peer_id, because=str(error))
            except FabricUnavailable as error:
                log.warning("the fabric does not answer", peer=peer_id, because=str(error))
                return self._pauses.longer(peer_id)
            self._pauses.over(peer_id)
        return None


def _for_good(error: Refusal | FabricRefuses) -> bool:
    """Whether asking again will not help; so it is with a provider that has no such service."""
    if isinstance(error, RefusedElsewhere):
        return error.metadata.get("code") == "UNIMPLEMENTED"
    return isinstance(error, (FabricRefuses, *FOR_GOOD))
