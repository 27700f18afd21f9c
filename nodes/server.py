"""A node: one provider with its ledger, tables and managers, put together, run, and drained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from nodes.pool_spec import PoolSpec
from rear import failpoints
from rear.domain.reservation import Promises
from rear.domain.state import State
from rear.ledger.commit import Committed, Identity
from rear.ledger.external import NatsServers
from rear.ledger.opening import Tip, become_writer
from rear.ledger.scrub import Pace, Scrub
from rear.ledger.sources import Clock, Ids, RandomIds, SystemClock
from rear.ledger.store import StateDirectory, Store, open_store
from rear.ledger.writer import Writer
from rear.managers.contracts import ContractManager
from rear.managers.discovery import DiscoveryManager
from rear.managers.provider import Provider
from rear.managers.rear import RearManager, Reconciled
from rear.managers.timekeeper import Timekeeper
from rear.managers.timers import Timers
from rear.managers.warming import Warming
from rear.operations.instrument import Instrument, Parts
from rear.projections.feed import TablesFeed
from rear.projections.rebuild import Replayed, forget_ended, rebuild
from rear.projections.tables import Standing, Tables, TablesError
from rear.readiness import Readiness, Role
from rear.rpc.audit_service import AuditServicer, CommitSignal
from rear.rpc.contract_service import ContractServicer
from rear.rpc.discovery_service import DiscoveryServicer
from rear.rpc.identity import Anonymous, Callers
from rear.rpc.security import Security, SecuritySettings
from rear.rpc.server import RpcServer, Service
from rear.v1 import (
    audit_service_pb2_grpc,
    contract_service_pb2_grpc,
    discovery_service_pb2_grpc,
)

log = structlog.get_logger(__name__)

DRAIN: Final = 10.0
"""Seconds that calls under way are given when the node stops."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node is told at its start. `host` and `port` are where it listens; port 0 takes a free one."""

    name: str
    domain: str
    state: Path
    host: str = "127.0.0.1"
    port: int = 0
    promises: Promises = field(default_factory=Promises)
    servers: NatsServers | None = None
    """Who keeps the ledger; None for an embedded server."""
    security: SecuritySettings | None = None
    scrub: Pace = field(default_factory=Pace)

    @property
    def provider_id(self) -> str:
        """The node's identity."""
        return f"spiffe://{self.domain}/node/{self.name}"


class NodeGate:
    """Whether the node answers: not before it has caught up, and not once it drains."""

    def __init__(self) -> None:
        self._why: str | None = "it is starting"

    @property
    def closed_because(self) -> str | None:
        """Why the node does not answer; None while it does."""
        return self._why

    def open(self) -> None:
        """Lets calls in."""
        self._why = None

    def close(self, why: str) -> None:
        """Keeps calls out."""
        self._why = why


class Node:
    """One running node, as an async context manager: inside it stands ready, leaving it drains.

    It answers nothing before `serve`.
    """

    def __init__(self, settings: NodeSettings, *, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self.settings = settings
        self.endpoint = ""
        self.readiness = Readiness()
        self.instruments: list[Instrument] = []
        """What looks into the node; to be added before it opens."""
        self.writer: Writer
        self.tables: Tables
        self.feed: TablesFeed
        self.store: Store
        self.contracts: ContractManager
        self.timekeeper: Timekeeper
        self._gate = NodeGate()
        self._signal = CommitSignal()
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._stack = AsyncExitStack()
        self._rear: RearManager
        self._warming: Warming
        self._server: RpcServer
        self._callers: Callers

    async def __aenter__(self) -> Node:
        """Opens the ledger, becomes its writer, does what fell due meanwhile, and listens.

        Raises LedgerError, PortTaken, TlsError or DocumentError.
        """
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Takes nothing new, finishes what is under way, and closes everything."""
        self._gate.close("it is shutting down")
        self.readiness.become(Role.STOPPING)
        failpoints.reach("node.draining")
        self._signal.wake()
        await self._stack.aclose()
        log.info("stopped", provider=self.settings.provider_id)

    async def take(self, inventory: Sequence[PoolSpec], progress: Callable[[int], None] = lambda _: None) -> Reconciled:
        """Makes the pools what the inventory says."""
        return await self._rear.reconcile(inventory, progress)

    async def serve(self) -> None:
        """Begins to answer."""
        await self.timekeeper.work_off()
        self.timekeeper.start()
        self._stack.push_async_callback(self.timekeeper.stop)
        failpoints.reach("node.before_serving")
        self._gate.open()
        self.readiness.become(Role.WRITER)
        self._scrub_ledger()
        self._warming.start()
        self._stack.push_async_callback(self._warming.stop)
        log.info("serving", endpoint=self.endpoint, provider=self.settings.provider_id)

    def look_again(self) -> None:
        """Reads the certificate, the authorities and the policy again where they have changed."""
        self._server.look_again()

    async def _open(self) -> None:
        directory = StateDirectory(self.settings.state)
        secured = self.settings.security
        security = None if secured is None else Security(secured, self.settings.provider_id)
        self._callers = Anonymous(self.settings.domain) if security is None else security.callers
        self._server = RpcServer(security, [one.around for one in self.instruments])
        port = self._server.bind(f"{self.settings.host}:{self.settings.port}")
        self.endpoint = f"{self.settings.host}:{port}"
        self._stack.push_async_callback(self._server.stop, 0)
        self.readiness.start(self._server.set_serving)
        self._stack.push_async_callback(self.readiness.stop)
        self.readiness.become(Role.STARTING, "opening the ledger")
        directory.claim(self.settings.provider_id)
        directory.keep_on(self.settings.servers)
        self.store = await open_store(self._stack, directory)
        self.readiness.become(Role.STARTING, "reading the ledger")
        self.tables = Tables(directory.tables)
        self._stack.callback(self.tables.close)
        self.writer = await self._become_writer()
        self.feed = TablesFeed(self.tables, self.writer.state, self._written)
        self._add_services()
        self._add_conditions()
        self.readiness.become(Role.STARTING, "doing what fell due, and taking over the inventory")
        self.feed.start()
        self._stack.push_async_callback(self.feed.close)
        self.writer.start()
        self._stack.push_async_callback(self.writer.close)
        overdue = await self.timekeeper.work_off()
        if overdue:
            log.info("worked off what fell due while the node was down", contracts=overdue)
        await self._server.start()
        self._stack.push_async_callback(self._server.stop, DRAIN)

    async def _become_writer(self) -> Writer:
        try:
            return await self._fence(*await self._load())
        except TablesError as error:  # in a row that was read late, for an event that came after it
            log.warning("the tables are rebuilt", because=str(error))
        return await self._fence(*await self._rebuilt())

    async def _fence(self, state: State, tip: Tip) -> Writer:
        return await become_writer(
            self.store.stream,
            self.store.anchor,
            state,
            tip,
            Identity(self.settings.name, self.settings.provider_id),
            endpoint=self.endpoint,
            clock=self._clock,
            ids=self._ids,
            replayed=Replayed(self.tables, state),
        )

    async def _load(self) -> tuple[State, Tip]:
        """The state at the tables' position; from nothing where they are lost, damaged, or not this ledger's."""
        try:
            standing = self.tables.standing()
            if await self._follows(standing):
                return self.tables.load(), Tip(standing.sequence, standing.hash)
            because = "there are none" if not standing.sequence else "they do not follow from this ledger"
        except TablesError as error:
            because = str(error)
        log.warning("the tables are rebuilt", because=because)
        return await self._rebuilt()

    async def _rebuilt(self) -> tuple[State, Tip]:
        tip = await rebuild(self.store.stream, self.tables)
        return self.tables.load(), tip

    async def _follows(self, standing: Standing) -> bool:
        if not standing.sequence:
            return await self.store.stream.tip() == 0
        stored = await self.store.stream.get(standing.sequence)
        return stored is not None and stored.hash == standing.hash

    def _add_services(self) -> None:
        writer, gate = self.writer, self._gate
        provider = Provider(
            self.settings.provider_id,
            self.settings.promises,
            writer,
            self.feed,
            Timers(self.tables.due()),
        )
        self.contracts = ContractManager(provider)
        self.timekeeper = Timekeeper(provider)
        self._warming = Warming(provider)
        self._rear = RearManager(provider)
        writer.listeners += [provider, self.feed, self._signal]
        for one in self.instruments:
            one.attach(Parts(writer, self.feed, provider.timers, self.store))
        discovery = DiscoveryServicer(DiscoveryManager(provider), provider, self.endpoint, gate)
        contracts = ContractServicer(self.contracts, provider, self._callers, gate)
        audit = AuditServicer(self.store.stream, provider, self.settings.name, self._signal, gate)
        self._server.add(
            [
                Service(
                    "rear.v1.DiscoveryService",
                    lambda server: discovery_service_pb2_grpc.add_DiscoveryServiceServicer_to_server(discovery, server),
                ),
                Service(
                    "rear.v1.ContractService",
                    lambda server: contract_service_pb2_grpc.add_ContractServiceServicer_to_server(contracts, server),
                ),
                Service(
                    "rear.v1.AuditService",
                    lambda server: audit_service_pb2_grpc.add_AuditServiceServicer_to_server(audit, server),
                ),
            ]
        )

    def _scrub_ledger(self) -> None:
        writer, path = self.writer, StateDirectory(self.settings.state).scrub
        scrub = Scrub(
            self.store.stream, path, writer.state.service.log_id, lambda: writer.tip[0], pace=self.settings.scrub
        )
        self.readiness.warn("scrub", lambda: scrub.trouble)
        self.readiness.tell("scrub", lambda: scrub.record.sequence)
        scrub.start()
        self._stack.push_async_callback(scrub.stop)

    def _written(self, batch: Sequence[Committed]) -> None:
        forget_ended(self.writer.state, batch)

    def _add_conditions(self) -> None:
        """Says what must hold for requests to be served, and where the ledger stands."""
        require, tell, writer = self.readiness.require, self.readiness.tell, self.writer
        require("ledger connection", lambda: self.store.connection.trouble)
        require("writer", lambda: writer.trouble)
        require("tables", lambda: self.feed.trouble)
        require("timers", lambda: self.timekeeper.trouble)
        self._server.warn_of_security(self.readiness.warn)
        tell("position", lambda: str(writer.position))
        tell("epoch", lambda: writer.state.service.epoch)
