"""A seller without an API: the ledger, the tables and the managers of a node over a stream, and a clock of its own.

It stands on a directory and a stream, and can be opened again on both after it was closed, or dropped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from rear.domain.contract import VerbCommand, contract_id
from rear.domain.demand import Demand
from rear.domain.flavour import FlavourType, Partitionability, Policies, PoolTerms
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import Quantities
from rear.domain.reservation import Promises, ReserveCommand
from rear.domain.state import State
from rear.domain.units import Unit
from rear.domain.window import HOUR, AskedWindow, Duration, Instant
from rear.ledger.anchor import Anchor, AnchorPoint
from rear.ledger.commit import Committed, Identity
from rear.ledger.opening import Tip, become_writer
from rear.ledger.sources import RandomIds
from rear.ledger.stream import EventStream
from rear.ledger.writer import Writer
from rear.managers.provider.contracts import Answered, ContractManager
from rear.managers.provider.provider import Provider
from rear.managers.provider.rear import RearManager
from rear.managers.provider.timekeeper import Timekeeper
from rear.managers.provider.timers import Timers
from rear.projections.feed import TablesFeed
from rear.projections.rebuild import Replayed, forget_ended, rebuild
from rear.projections.tables import Tables

SERVICE: Final = "n1"
PROVIDER: Final = "spiffe://campus.example/node/n1"
OPERATOR: Final = "spiffe://campus.example/administrator/root"
BUYER: Final = "spiffe://edge.example/node/n2"
NOW: Final = AskedWindow()
T0: Final = Instant(1_767_225_600_000_000_000)


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved."""

    at: Instant = T0

    def now(self) -> Instant:
        return self.at

    def advance(self, by: int) -> None:
        self.at = Instant(self.at + by)


@dataclass(frozen=True, slots=True)
class Stock:
    """A pool as an inventory describes it."""

    pool_id: str
    terms: PoolTerms
    capacity: Quantities
    units: tuple[Unit, ...] = ()


def divisible(minimum: int = 1_000, step: int = 500) -> PoolTerms:
    """Terms under which CPUs are sold by steps, for a price."""
    bounds = Partitionability(Quantities({"cpu_millicores": minimum}), Quantities({"cpu_millicores": step}))
    price = Price((PriceComponent("cpu_millicores", Money("EUR", 20_000_000), 1_000, HOUR),))
    return PoolTerms(FlavourType.VM, policies=Policies(bounds), price=price)


def gpus(*models: str) -> tuple[Unit, ...]:
    return tuple(Unit("gpu", f"gpu-{number}", (("model", model),)) for number, model in enumerate(models))


MACHINE: Final = Stock("machine", divisible(), Quantities({"cpu_millicores": 8_000, "memory_bytes": 16}), gpus("T4"))


def cpus(millicores: int) -> Demand:
    return Demand(Quantities({"cpu_millicores": millicores}))


def fingerprint(*body: object) -> bytes:
    return sha256(repr(body).encode()).digest()


def wish(
    request_id: str,
    partition: Demand,
    flavour_id: str = "machine-1",
    window: AskedWindow = NOW,
    *,
    caller: str = BUYER,
    ttp: Duration | None = None,
    confirm: bool = False,
    max_price: Money | None = None,
) -> ReserveCommand:
    """A reservation as the API hands it on: its id and its fingerprint follow from the rest."""
    return ReserveCommand(
        contract_id=contract_id(PROVIDER, caller, request_id),
        flavour_id=flavour_id,
        partition=partition,
        window=window,
        ttp=ttp,
        confirm=confirm,
        max_price=max_price,
        priority=0,
        fingerprint=fingerprint(flavour_id, partition, window, ttp, confirm, max_price),
        chain_id="",
    )


def verb(request_id: str, revision: int | None = None, *body: object) -> VerbCommand:
    return VerbCommand(request_id, fingerprint(revision, *body), revision)


class MortalAnchor(Anchor):
    """An anchor that no straggling thread writes any more once its process is dead."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._alive = threading.Lock()
        self._dead = False

    def write(self, point: AnchorPoint) -> None:
        with self._alive:
            if not self._dead:
                super().write(point)

    def die(self) -> None:
        with self._alive:
            self._dead = True
            self.close()


class Seller:
    """One provider in memory, open from `open` to `close` or `drop`."""

    def __init__(
        self, stream: EventStream, directory: Path, clock: ManualClock | None = None, *, service: str = SERVICE
    ) -> None:
        self.service = service
        self.stream = stream
        self.directory = directory
        self.clock = clock or ManualClock()
        self.promises = Promises()
        self.writer: Writer
        self.tables: Tables
        self.feed: TablesFeed
        self.provider: Provider
        self.contracts: ContractManager
        self.pools: RearManager

    @property
    def state(self) -> State:
        return self.writer.state

    async def open(self) -> Seller:
        """Becomes the writer; nothing that fell due is worked off yet."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._anchor = MortalAnchor(self.directory / "anchor")
        self.tables = Tables(self.directory / "tables.sqlite")
        try:
            standing, state = self.tables.standing(), self.tables.load()
            self.writer = await become_writer(
                self.stream,
                self._anchor,
                state,
                Tip(standing.sequence, standing.hash),
                Identity(self.service, PROVIDER),
                endpoint="127.0.0.1:1",
                clock=self.clock,
                ids=RandomIds(),
                replayed=Replayed(self.tables, state),
            )
        except BaseException:
            self.tables.close()
            self._anchor.close()
            raise
        self.feed = TablesFeed(self.tables, state, self._written)
        timers = Timers(self.tables.due())
        self.provider = Provider(PROVIDER, self.promises, self.writer, self.feed, timers)
        self.contracts = ContractManager(self.provider)
        self.timekeeper = Timekeeper(self.provider)
        self.pools = RearManager(self.provider)
        self.writer.listeners += [self.provider, self.feed]
        self.feed.start()
        self.writer.start()
        return self

    def _written(self, batch: Sequence[Committed]) -> None:
        forget_ended(self.state, batch)

    async def close(self) -> None:
        """Finishes what is under way, and closes everything."""
        await self.writer.close()
        await self.feed.close()
        self.tables.close()
        self._anchor.close()

    async def drop(self) -> None:
        """Ends as if killed: what is under way, in the ledger or on its way to the tables, is not waited for."""
        for task in (self.writer._task, self.feed._task):
            assert task is not None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.tables.close()
        await asyncio.to_thread(self._anchor.die)

    async def reserve(self, request_id: str, command: ReserveCommand, *, caller: str = BUYER) -> Answered:
        return await self.contracts.reserve(command, caller=caller, request_id=request_id, validate_only=False)

    async def purchase(self, key: str, command: VerbCommand, *, caller: str = BUYER) -> Answered:
        return await self.contracts.purchase(key, command, caller=caller, validate_only=False)

    async def cancel(self, key: str, command: VerbCommand, *, caller: str = BUYER) -> Answered:
        return await self.contracts.cancel(
            key, command, "no longer needed", caller=caller, owner=caller, validate_only=False
        )

    async def revoke(self, key: str, command: VerbCommand) -> Answered:
        return await self.contracts.revoke(
            key, command, "the machine is broken", caller=OPERATOR, owner=None, validate_only=False
        )

    async def digests(self) -> tuple[str, str]:
        """The digest of the tables as they are, and that of new ones that are filled from the ledger."""
        await self.feed.at_least(self.writer.tip[0])
        path = self.directory / "rebuilt.sqlite"
        path.unlink(missing_ok=True)
        rebuilt = Tables(path)
        try:
            await rebuild(self.stream, rebuilt)
            return self.tables.digest(), rebuilt.digest()
        finally:
            rebuilt.close()
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
