"""The time in which a process is its ledger's writer: from the fence until it stops, or another process fences it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog

from nodes import consumer
from nodes.consumer import Consumer
from nodes.intent_service import IntentServicer, RequestOperations
from nodes.request_news import RequestNews
from nodes.service_handler import ServiceHandler
from nodes.settings import NodeSettings
from rear.domain.refusals import TryAgain
from rear.ledger.commit import Committed
from rear.ledger.heartbeat import Beat, Ears, Heart
from rear.ledger.landing import STALE_AFTER, SteppedDown
from rear.ledger.scrub import Scrub
from rear.ledger.store import StateDirectory, Store
from rear.ledger.writer import Writer
from rear.managers.consumer.neighbours import Neighbours
from rear.managers.provider.contract_watches import ContractWatches
from rear.managers.provider.contract_watching import ContractWatching
from rear.managers.provider.contracts import ContractManager
from rear.managers.provider.discovery import DiscoveryManager
from rear.managers.provider.fabric import FabricManager
from rear.managers.provider.provider import Provider
from rear.managers.provider.rear import PoolDescription, RearManager, Reconciled
from rear.managers.provider.timekeeper import Timekeeper
from rear.managers.provider.timers import Timers
from rear.managers.provider.warming import Warming
from rear.projections.feed import TablesFeed
from rear.projections.rebuild import forget_ended
from rear.projections.tables import Tables
from rear.readiness import Readiness
from rear.rpc import operations_service
from rear.rpc.answering import Gate
from rear.rpc.audit_service import AuditServicer, CommitSignal
from rear.rpc.contract_service import ContractServicer
from rear.rpc.discovery_service import DiscoveryServicer
from rear.rpc.fabric_service import FabricServicer
from rear.rpc.identity import Callers
from rear.rpc.operations_service import OperationsServicer
from rear.rpc.switchboard import Service
from rear.v1 import (
    audit_service_pb2_grpc,
    contract_service_pb2_grpc,
    discovery_service_pb2_grpc,
    fabric_service_pb2_grpc,
    intent_service_pb2_grpc,
)

log = structlog.get_logger(__name__)

SERVICES: Final = (
    "rear.v1.DiscoveryService",
    "rear.v1.ContractService",
    "rear.v1.FabricService",
    "rear.v1.AuditService",
    "rear.v1.IntentService",
    operations_service.SERVICE,
)
"""What a node serves."""

CONDITIONS: Final = ("writer", "tables", "timers", *consumer.CONDITIONS, "scrub")


class Tenure:
    """A writer, and all that follows from it: the tables' feed, timers, managers, services and heartbeat."""

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        tables: Tables,
        writer: Writer,
        endpoint: str,
        neighbours: Neighbours,
    ) -> None:
        self.writer = writer
        self.neighbours = neighbours
        self.feed = TablesFeed(tables, writer.state, self._written)
        self.provider = Provider(settings.provider_id, settings.promises, writer, self.feed, Timers(tables.due()))
        self.timekeeper = Timekeeper(self.provider)
        self.contracts = ContractManager(self.provider)
        self.requests = ServiceHandler(writer, self.feed, RequestNews(writer.state))
        self._settings = settings
        self._store = store
        self._endpoint = endpoint
        self._warming = Warming(self.provider)
        self._pools = RearManager(self.provider)
        self._signal = CommitSignal()
        self._watches = ContractWatches(writer.tip[0])
        self._began = asyncio.get_running_loop().time()
        self._challenged: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self.consumer = Consumer(settings, store, tables, self.provider, self.feed, neighbours, endpoint)
        writer.listeners += [self.provider, self.feed, self._signal, self._watches, self.requests.news, self.consumer]

    async def begin(self) -> None:
        """Commits from now on, and does what is overdue. Raises TryAgain where the ledger cannot be written."""
        self.feed.start()
        self._stack.push_async_callback(self.feed.close)
        self.writer.start()
        self._stack.push_async_callback(self.writer.close)
        self._stack.push_async_callback(self.consumer.close)
        if self._settings.servers is not None:
            heart = Heart(self._store.connection, self._settings.name, self._beat)
            ears = Ears(self._store.connection, self._settings.name, self._hear)
            for one in (heart, ears):
                one.start()
                self._stack.push_async_callback(one.stop)
        overdue = await self.timekeeper.work_off()
        if overdue:
            log.info("worked off what fell due while the node was down", contracts=overdue)

    async def take(
        self, inventory: Sequence[PoolDescription], progress: Callable[[int], None] = lambda _: None
    ) -> Reconciled:
        """Makes the pools what the inventory says."""
        return await self._pools.reconcile(inventory, progress)

    async def follow_time(self) -> None:
        """Does what is due, from now on when it is.

        A writer before us may still answer questions from what it saw up to half a second ago, before our fence. So
        with an external server nothing is answered here for that long.
        """
        await self.timekeeper.work_off()
        if self._settings.servers is not None and self.writer.state.service.epoch > 1:
            await asyncio.sleep(self._began + STALE_AFTER - asyncio.get_running_loop().time())
        self.timekeeper.start()
        await self.consumer.start()

    async def lost(self) -> SteppedDown:
        """Waits until another process has become the writer, and tells which."""
        await self.writer.ended.wait()
        stepped_down = self.writer.stepped_down
        if stepped_down is None:  # it has stopped for another reason, which readiness tells
            await asyncio.Event().wait()
        assert stepped_down is not None
        return stepped_down

    async def rest(self) -> None:
        """Does nothing of itself any more; calls under way are still answered."""
        self._signal.wake()
        self._watches.wake()
        self.requests.news.wake()
        await asyncio.gather(self.timekeeper.stop(), self.consumer.stop())

    async def close(self) -> None:
        """Finishes what is under way, and ends."""
        await self.rest()
        for task in self._challenged:
            task.cancel()
        await self._stack.aclose()

    def look_around(self, readiness: Readiness) -> None:
        """Begins in the background to read the ledger again, which tells what it finds, and what may be asked for."""
        self._warming.start()
        self._stack.push_async_callback(self._warming.stop)
        path = StateDirectory(self._settings.state).scrub
        log_id, writer = self.writer.state.service.log_id, self.writer
        scrub = Scrub(self._store.stream, path, log_id, lambda: writer.tip[0], pace=self._settings.scrub)
        readiness.warn("scrub", lambda: scrub.trouble)
        readiness.tell("scrub", lambda: scrub.record.sequence)
        scrub.start()
        self._stack.push_async_callback(scrub.stop)

    def add_conditions(self, readiness: Readiness) -> None:
        """Says what must hold for requests to be served, and where the ledger stands."""
        readiness.require("writer", lambda: self.writer.trouble)
        readiness.require("tables", lambda: self.feed.trouble)
        readiness.require("timers", lambda: self.timekeeper.trouble)
        self.consumer.add_conditions(readiness)
        readiness.tell("position", lambda: str(self.writer.position))
        readiness.tell("epoch", lambda: self.writer.state.service.epoch)

    def services(self, callers: Callers, gate: Gate) -> Sequence[Service]:
        """What calls reach while this lasts."""
        provider, stream = self.provider, self._store.stream
        discovery = DiscoveryServicer(DiscoveryManager(provider), provider, self._endpoint, gate)
        watching = ContractWatching(provider, stream, self._settings.name, self._watches)
        contracts = ContractServicer(self.contracts, watching, provider, callers, gate)
        fabric = FabricServicer(FabricManager(provider, self.consumer.fabric.granting), provider, callers, gate)
        audit = AuditServicer(stream, provider, self._settings.name, self._signal, gate)
        intents = IntentServicer(self.requests, provider, callers, gate)
        operations = OperationsServicer(RequestOperations(self.requests), callers, gate)
        adding = (
            lambda server: discovery_service_pb2_grpc.add_DiscoveryServiceServicer_to_server(discovery, server),
            lambda server: contract_service_pb2_grpc.add_ContractServiceServicer_to_server(contracts, server),
            lambda server: fabric_service_pb2_grpc.add_FabricServiceServicer_to_server(fabric, server),
            lambda server: audit_service_pb2_grpc.add_AuditServiceServicer_to_server(audit, server),
            lambda server: intent_service_pb2_grpc.add_IntentServiceServicer_to_server(intents, server),
            lambda server: operations_service.add_operations_to_server(operations, server),
        )
        return [Service(name, add) for name, add in zip(SERVICES, adding, strict=True)]

    def _written(self, batch: Sequence[Committed]) -> None:
        forget_ended(self.writer.state, batch)

    def _beat(self) -> Beat | None:
        if not self.writer.able:
            return None
        service = self.writer.state.service
        return Beat(service.log_id, service.epoch, self._endpoint, self.writer.tip[0])

    def _hear(self, beat: Beat) -> None:
        """Another process that says it is the writer: whether that is so stands in the ledger."""
        service = self.writer.state.service
        if beat.log_id == service.log_id and beat.epoch > service.epoch and not self._challenged:
            task = asyncio.get_running_loop().create_task(self._look())
            self._challenged.add(task)
            task.add_done_callback(self._challenged.discard)

    async def _look(self) -> None:
        try:
            await self.writer.look()
        except TryAgain as refusal:
            log.info("another process says that it writes the ledger", found=str(refusal))
