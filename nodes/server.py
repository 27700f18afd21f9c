"""A node: one provider with its ledger and tables, as their writer or standing by for it, run and drained."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import structlog

from nodes.gate import NodeGate
from nodes.opening import Opening
from nodes.settings import NodeSettings
from nodes.tenure import CONDITIONS, SERVICES, Tenure
from rear import failpoints
from rear.background import end
from rear.domain.refusals import TryAgain
from rear.ledger.commit import Identity
from rear.ledger.errors import LedgerError, LedgerUnavailable
from rear.ledger.following import Follower, adopt, listen_for_writer
from rear.ledger.landing import SteppedDown
from rear.ledger.opening import Overtaken
from rear.ledger.sources import Clock, Ids, RandomIds, SystemClock
from rear.ledger.store import StateDirectory, Store, open_store
from rear.managers.consumer.neighbours import Neighbours
from rear.operations.instrument import Instrument, Parts
from rear.projections.tables import Tables, TablesError
from rear.readiness import Readiness, Role
from rear.rpc.announcing import Announcing
from rear.rpc.identity import Anonymous, Callers
from rear.rpc.security import Security
from rear.rpc.server import RpcServer

__all__ = ["Node", "NodeSettings"]

log = structlog.get_logger(__name__)

DRAIN: Final = 10.0
"""Seconds that calls under way are given when the node stops."""

PAUSE: Final = 0.2
"""Seconds before a standby that could not take over stands by again."""

Prepare = Callable[[Tenure], Awaitable[None]]
"""What is done once a process has become the writer, before it answers."""


class WriterLives(LedgerError):
    """The ledger has a writer that says so."""


class Node:
    """One running node, as an async context manager: inside it serves or stands by, leaving it drains."""

    def __init__(
        self,
        settings: NodeSettings,
        prepare: Prepare,
        say: Callable[[str], None],
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        """`say` is told in one sentence whenever the node begins to serve or to stand by."""
        self.settings = settings
        self.endpoint = ""
        self.readiness = Readiness()
        self.instruments: list[Instrument] = []
        """What looks into the node; to be added before it opens."""
        self._prepare = prepare
        self._say = say
        self._gate = NodeGate()
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._stack = AsyncExitStack()
        self._tenure: Tenure | None = None
        self._life: asyncio.Task[None] | None = None
        self._neighbours: Neighbours
        self._store: Store
        self._opening: Opening
        self._server: RpcServer
        self._callers: Callers

    async def __aenter__(self) -> Node:
        """Opens the ledger and serves, or with `standby` stands by, and listens.

        Raises LedgerError, PortTaken, TlsError or DocumentError.
        """
        try:
            await self._open()
            if not self.settings.standby or self.settings.take_over:
                await self._begin(await self._writer_to_follow())
            await self._server.start()
        except BaseException:
            await self._close_tenure()
            await self._stack.aclose()
            raise
        if self._tenure is not None:
            self._serving()
        self._life = asyncio.get_running_loop().create_task(self._live(), name="node")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Takes nothing new, finishes what is under way, and closes everything."""
        self._gate.close("it is shutting down")
        self.readiness.become(Role.STOPPING)
        failpoints.reach("node.draining")
        await end(self._life)
        if self._tenure is not None:
            await self._tenure.rest()
        await self._server.stop(DRAIN)
        await self._close_tenure()
        await self._stack.aclose()
        log.info("stopped", provider=self.settings.provider_id)

    @property
    def tenure(self) -> Tenure:
        """The node's time as the ledger's writer, while it is."""
        assert self._tenure is not None, "it is not the writer"
        return self._tenure

    async def over(self) -> None:
        """Waits until the node can neither serve nor stand by any more, and raises why.

        That is SteppedDown where another process has become the writer and this one was not told to stand by.
        """
        assert self._life is not None
        await asyncio.shield(self._life)

    def look_again(self) -> None:
        """Reads the certificate, the authorities and the policy again where they have changed."""
        self._server.look_again()

    async def _open(self) -> None:
        settings, directory = self.settings, StateDirectory(self.settings.state)
        security = None if settings.security is None else Security(settings.security, settings.provider_id)
        self._callers = Anonymous(settings.domain) if security is None else security.callers
        self._server = RpcServer(SERVICES, self._gate.refusal, security, [one.around for one in self.instruments])
        port = self._server.bind(f"{settings.host}:{settings.port}")
        self.endpoint = f"{settings.host}:{port}"
        self._neighbours = Neighbours(settings.provider_id, self.endpoint, settings.neighbours)
        self.readiness.tell("neighbours", lambda: len(self._neighbours.all()))
        if settings.announce is not None:
            announcing = Announcing(
                settings.announce, settings.provider_id, self.endpoint, security is not None, lambda: self._gate.is_open
            )
            self._stack.push_async_callback(announcing.close)
            announcing.start(self._neighbours)
            self.readiness.warn("announcements", lambda: announcing.trouble)
        self._stack.push_async_callback(self._server.stop, 0)
        self.readiness.start(self._server.set_serving)
        self._stack.push_async_callback(self.readiness.stop)
        self.readiness.become(Role.STARTING, "opening the ledger")
        directory.claim(settings.provider_id)
        directory.keep_on(settings.servers)
        if settings.standby and directory.untouched:
            async with AsyncExitStack() as stack:
                store = await open_store(stack, directory, check=False)
                await adopt(store.stream, store.anchor, self._ids)
        self._store = await open_store(self._stack, directory)
        self.readiness.require("ledger connection", lambda: self._store.connection.trouble)
        self._server.warn_of_security(self.readiness.warn)
        tables = Tables(directory.tables)
        self._stack.callback(tables.close)
        identity = Identity(settings.name, settings.provider_id)
        self._opening = Opening(self._store, tables, identity, self.endpoint, self._clock, self._ids)

    async def _writer_to_follow(self) -> int | None:
        """The epoch of the writer that is gone; None where whoever it is may be deposed. Raises WriterLives."""
        if self.settings.servers is None or self.settings.take_over:
            return None
        beat = await listen_for_writer(self._store.connection, self.settings.name)
        if beat is not None:
            raise WriterLives(
                f"the process at {beat.endpoint} writes this ledger, in epoch {beat.epoch}: stop it, or start with "
                "--standby to follow it when it is gone, or with --take-over to depose it"
            )
        return None

    # -- life ----------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            if self._tenure is None:
                await self._wait_for_succession()
            assert self._tenure is not None
            lost = await self._tenure.lost()
            await self._leave(lost)
            if not self.settings.standby:
                raise lost

    async def _wait_for_succession(self) -> None:
        """Stands by until this process is the writer, and serves."""
        while self._tenure is None:
            follower = await self._stand_by()
            log.info("the writer is silent; taking over", writer=follower.writer)
            self._gate.send_on(lambda: "")
            try:
                await self._begin(follower.state.service.epoch, follower)
            except (Overtaken, LedgerUnavailable, TablesError, TryAgain) as error:
                log.warning("not taken over", because=str(error))
                await self._close_tenure()
                await asyncio.sleep(PAUSE)
        self._serving()

    async def _stand_by(self) -> Follower:
        """Follows the ledger until its writer is silent. What keeps it from that for a while it waits out."""
        while True:
            try:
                follower = await self._opening.follower()
                await self._follow(follower)
                return follower
            except (LedgerUnavailable, TablesError, OSError, sqlite3.Error) as error:
                log.warning("the ledger cannot be followed just now", because=str(error))
                self.readiness.become(Role.STANDBY, f"it cannot follow the ledger just now: {error}")
                await asyncio.sleep(PAUSE)

    async def _follow(self, follower: Follower) -> None:
        self._gate.send_on(lambda: follower.writer)
        self.readiness.become(Role.STANDBY, "reading the ledger")
        self.readiness.require("ledger", lambda: follower.trouble)
        self.readiness.tell("position", lambda: follower.tip.sequence)
        self.readiness.tell("epoch", lambda: follower.state.service.epoch)
        await follower.until_silent(lambda: self._standing_by(follower))

    async def _begin(self, deposing: int | None, follower: Follower | None = None) -> None:
        """Becomes the ledger's writer, and does all that comes before serving."""
        self.readiness.become(Role.STARTING, "reading the ledger")
        self.readiness.drop("ledger")
        if follower is None:
            writer = await self._opening.become_writer(deposing)
        else:
            writer = await self._opening.fence(follower.state, follower.tip, deposing)
        tenure = Tenure(self.settings, self._store, self._opening.tables, writer, self.endpoint, self._neighbours)
        self._tenure = tenure
        tenure.add_conditions(self.readiness)
        for one in self.instruments:
            one.attach(Parts(writer, tenure.feed, tenure.provider.timers, self._store))
        self.readiness.become(Role.STARTING, "doing what fell due, and taking over the inventory")
        await tenure.begin()
        await self._prepare(tenure)
        await tenure.follow_time()
        failpoints.reach("node.before_serving")
        self._server.connect(tenure.services(self._callers, self._gate))

    def _serving(self) -> None:
        assert self._tenure is not None
        self._gate.open()
        self.readiness.become(Role.WRITER)
        self._tenure.look_around(self.readiness)
        count = len(self._tenure.writer.state.pools)
        self._say(f"{self.settings.provider_id} serves {count} pool{'s' if count != 1 else ''} on {self.endpoint}")
        log.info("serving", endpoint=self.endpoint, provider=self.settings.provider_id)

    def _standing_by(self, follower: Follower) -> None:
        writer = follower.writer
        self.readiness.become(Role.STANDBY, f"the writer is at {writer}" if writer else "there is no writer yet")
        self._say(f"{self.settings.provider_id} stands by on {self.endpoint}")

    async def _leave(self, lost: SteppedDown) -> None:
        """Another process writes the ledger: calls are sent to it, those under way too."""
        self._gate.send_on(lambda: lost.endpoint)
        self._server.disconnect()
        self.readiness.become(Role.STANDBY, f"the writer is at {lost.endpoint}")
        await self._close_tenure()

    async def _close_tenure(self) -> None:
        tenure, self._tenure = self._tenure, None
        if tenure is not None:
            await tenure.close()
            for condition in CONDITIONS:
                self.readiness.drop(condition)
