"""nats-server as part of this process: one store, one server, restarted when it falls, gone when we go.

Two servers on one store lose events silently. So the store has a lock (`flock`), the server inherits the
lock's descriptor, and the kernel kills the server when the thread that started it dies: the lock is free only
when nobody is left who could write.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from rear import failpoints
from rear.background import end
from rear.ledger.connection import Endpoint
from rear.ledger.errors import LedgerUnavailable
from rear.ledger.lock import take_lock
from rear.ledger.nats_process import NatsProcess, find_binary

log = structlog.get_logger(__name__)

PROBE_EVERY: Final = 1.0
"""Seconds between looks at the server's health."""
PATIENCE: Final = 5.0
"""Seconds that the server may be sick, with room on the disk, before it is restarted."""
RESERVE: Final = 64 << 20
"""Bytes that stay free on the disk: a batch that the disk cannot hold is turned away before it is sent."""
GRACE: Final = 10.0
"""Seconds that the server gets to end by itself."""
SICK_GRACE: Final = 2.0
"""The same for one that is sick: with every acknowledged event on the disk, a kill loses nothing."""
FIRST_PAUSE: Final = 0.1
LAST_PAUSE: Final = 15.0
"""Seconds before a restart: doubled each time, back to the first after a minute of health."""


class EmbeddedServer:
    """A supervised nats-server on loopback, with its store in `directory`.

    To be started and stopped on one event loop, whose thread must outlive the server.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lock_timeout: float = 30.0,
        max_payload: int = 1 << 20,
        port: int | None = None,
        patience: float = PATIENCE,
        reserve: int = RESERVE,
    ) -> None:
        """`port` None takes any free one at each start of the server. Times are seconds, sizes bytes."""
        self._directory = directory.absolute()
        self._lock_timeout = lock_timeout
        self._max_payload = max_payload
        self._port = port
        self._patience = patience
        self._reserve = reserve
        self._lock: int | None = None
        self._process: NatsProcess | None = None
        self.restarts = 0
        """Counts how often the server was started anew."""
        self._ready = False
        self._restart_asked: asyncio.Future[None] | None = None
        self._nudge = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def replicas(self) -> int:
        """How many copies of the ledger there are."""
        return 1

    @property
    def endpoint(self) -> Endpoint:
        """Where the server is and how it lets us in. Another one after each start of the server.

        Raises LedgerUnavailable while there is none.
        """
        if self._process is None or not self._ready:
            raise LedgerUnavailable(f"the embedded nats-server in {self._directory} is not running just now")
        return self._process.endpoint

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def room(self) -> int:
        """Bytes that are free on the disk of the store."""
        return self._room()

    def admit(self) -> None:
        """Raises LedgerUnavailable where the disk has too little room for another batch.

        A disk that fills up in the middle of a batch leaves a part of it visible until the next restart.
        """
        room = self._room()
        if room < self._reserve:
            raise LedgerUnavailable(
                f"the disk of {self._directory} has {room >> 20} MiB left; nothing is written below "
                f"{self._reserve >> 20} MiB: make room"
            )

    async def start(self) -> None:
        """Lock the store, start the server, and return once JetStream answers.

        Raises StoreLocked where the lock is not free within `lock_timeout` seconds, LedgerUnavailable where
        there is no nats-server, no room on the disk, or the server ends instead of starting.
        """
        if self._supervisor is not None:
            raise RuntimeError(f"the embedded nats-server in {self._directory} is running already")
        find_binary()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = await take_lock(self._directory / "lock", self._lock_timeout)
        try:
            # A server that starts on a full disk drops what it should complete: a batch cut in two.
            self.admit()
            await self._launch()
        except BaseException:
            await self._end_process()
            self._release_lock()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="nats-server-supervisor")

    async def stop(self) -> None:
        """End the server and free the store."""
        supervisor, self._supervisor = self._supervisor, None
        await end(supervisor)
        await self._end_process()
        self._release_lock()

    async def restart(self) -> None:
        """Restart the server, and return once JetStream answers again."""
        if self._supervisor is None:
            raise LedgerUnavailable(f"the embedded nats-server in {self._directory} has not been started")
        if self._restart_asked is None:
            self._restart_asked = asyncio.get_running_loop().create_future()
            self._nudge.set()
        asked = asyncio.ensure_future(asyncio.shield(self._restart_asked))
        await asyncio.wait({asked, self._supervisor}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            raise LedgerUnavailable(f"the embedded nats-server in {self._directory} was stopped")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- the lock ------------------------------------------------------------------------------------------

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- the server ----------------------------------------------------------------------------------------

    async def _launch(self) -> None:
        assert self._lock is not None
        process = NatsProcess(self._directory, max_payload=self._max_payload, port=self._port)
        self._process = process
        failpoints.reach("server.locked")
        process.spawn(find_binary(), self._lock)
        failpoints.reach("server.spawned")
        await process.ready()
        self._ready = True
        log.info("nats-server runs", pid=process.pid, url=process.endpoint.url, directory=str(self._directory))

    async def _end_process(self, grace: float = GRACE) -> None:
        self._ready = False
        if self._process is not None:
            await self._process.stop(grace)
            self._process = None

    def _room(self) -> int:
        disk = os.statvfs(self._directory)
        return disk.f_bavail * disk.f_frsize

    # -- supervision ---------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            reason = await self._until_restart_is_due()
            if reason is not None:
                log.warning("restarting nats-server", reason=reason, pid=self.pid)
                pause = FIRST_PAUSE if time.monotonic() - began > 60 else min(pause * 2, LAST_PAUSE)
                await self._end_process(SICK_GRACE)
                failpoints.reach("server.fallen")
                await asyncio.sleep(pause)
            else:
                await self._end_process()
            while not await self._launched():
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
            self.restarts += 1
            asked, self._restart_asked = self._restart_asked, None
            if asked is not None:
                asked.set_result(None)

    async def _launched(self) -> bool:
        if self._room() < self._reserve:
            log.error("nats-server waits for room on its disk", directory=str(self._directory), room=self._room())
            return False
        try:
            await self._launch()
        except (LedgerUnavailable, OSError) as error:
            log.error("nats-server does not start", error=str(error))
            await self._end_process()
            return False
        return True

    async def _until_restart_is_due(self) -> str | None:
        """Wait for a reason to restart the server; None where somebody asks for it."""
        process = self._process
        assert process is not None
        exited = asyncio.ensure_future(process.exited())
        nudged = asyncio.ensure_future(self._nudge.wait())
        sick_since: float | None = None
        known: str | None = None
        try:
            while True:
                await asyncio.wait({exited, nudged}, timeout=PROBE_EVERY, return_when=asyncio.FIRST_COMPLETED)
                if exited.done():
                    return f"it ended with status {exited.result()}"
                if nudged.done():
                    self._nudge.clear()
                    return None
                asked_at = time.monotonic()
                ailment = await process.ailment(self._patience / 2)
                if ailment != known:
                    log.warning("nats-server is sick" if ailment else "nats-server is well", ailment=ailment)
                    known = ailment
                if ailment is None or self._room() < self._reserve:
                    sick_since = None  # nothing that a restart would cure now
                    continue
                if sick_since is None:
                    sick_since = asked_at
                elif time.monotonic() - sick_since >= self._patience:
                    return ailment
        finally:
            exited.cancel()
            nudged.cancel()
