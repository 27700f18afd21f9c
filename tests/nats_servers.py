"""nats-servers as others would run them: one, or a cluster on loopback, with the access that a test asks for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rear.ledger import guardian
from rear.ledger.client import frame
from rear.ledger.connection import dial
from rear.ledger.errors import LedgerError
from rear.ledger.external import NatsServers
from rear.ledger.nats_process import find_binary

READY_WITHIN: Final = 30.0
POLL: Final = 0.02
OPEN: Final = 'authorization { users: [ {user: rear, password: "a secret"} ] }'
"""The access of servers that are told nothing else."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class PlainServer:
    """One nats-server with its files in `folder`; it dies with the thread that starts it."""

    def __init__(
        self, folder: Path, *, port: int = 0, jetstream: str | None = "sync_interval: always", more: str = ""
    ) -> None:
        """`jetstream` is how it keeps what it is given, None for not at all; `more` goes into its configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_ports(1)[0]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.jetstream = jetstream
        self.more = more
        self._folder = folder
        self._log = folder / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> PlainServer:
        """Starts it, and returns once it takes connections and JetStream is up."""
        self.spawn()
        self.wait_ready()
        return self

    def spawn(self) -> None:
        """Starts it."""
        store = f'jetstream {{ store_dir: "{self._folder / "store"}", {self.jetstream} }}' if self.jetstream else ""
        config = self._folder / "nats.conf"
        config.write_text(f'listen: "127.0.0.1:{self.port}"\n{store}\n{self.more}\n')
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", guardian.__file__, str(os.getpid())),
                    *(str(find_binary()), "-c", str(config)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_ready(self) -> None:
        """Returns once it takes connections."""
        deadline = time.monotonic() + READY_WITHIN
        while b"Server is ready" not in self._log.read_bytes():
            assert self._process is not None
            assert self._process.poll() is None, f"nats-server ended:\n{self._log.read_text()}"
            assert time.monotonic() < deadline, "nats-server does not start"
            time.sleep(POLL)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """SIGKILL, however it stands, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(20)


class NatsCluster:
    """That many servers in folders below `folder`; they die with the thread that starts them.

    `access` is what their configuration says of who may come in, `jetstream` how they keep what they are given.
    """

    def __init__(
        self, folder: Path, size: int = 1, *, access: str = OPEN, jetstream: str = "sync_interval: always"
    ) -> None:
        self.size = size
        self.access = access
        self.jetstream: str | None = jetstream
        ports = free_ports(2 * size)
        self._servers = [PlainServer(folder / str(number), port=ports[number]) for number in range(size)]
        self._routes = ports[size:]
        self.password_file = folder / "password"
        self.password_file.write_text("a secret\n")

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(server.url for server in self._servers)

    @property
    def url(self) -> str:
        return ",".join(self.urls)

    def servers(self, **access: Any) -> NatsServers:
        """How a service is told of them; without other words as `OPEN` lets it in."""
        password: dict[str, Any] = {"user": "rear", "password_file": str(self.password_file)}
        return NatsServers(self.urls, replicas=self.size, **(access or password))

    @property
    def options(self) -> Sequence[str]:
        """The same for `rear up`."""
        return (
            *("--nats", self.url, "--nats-replicas", str(self.size)),
            *("--nats-user", "rear", "--nats-password-file", str(self.password_file)),
        )

    # -- life ----------------------------------------------------------------------------------------------

    def start(self, *numbers: int) -> None:
        """Start all of them, or some, and return once they listen."""
        for number in numbers or range(self.size):
            server = self._servers[number]
            server.jetstream = self.jetstream
            server.more = f"server_name: server-{number}\n{self.access}\n{self._links(number)}"
            server.spawn()
        for number in numbers or range(self.size):
            self._servers[number].wait_ready()

    def _links(self, number: int) -> str:
        if self.size == 1:
            return ""
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self._routes)
        return f'cluster {{ name: c, listen: "127.0.0.1:{self._routes[number]}", routes: [{routes}] }}'

    def kill(self, number: int) -> None:
        """SIGKILL."""
        self._servers[number].stop()

    def signal(self, number: int, which: signal.Signals) -> None:
        self._servers[number].signal(which)

    def stop(self) -> None:
        """End all of them, without a word."""
        for server in self._servers:
            server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- looking at them -----------------------------------------------------------------------------------

    async def leader_of(self, stream: str) -> int:
        """Which one leads a stream."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                leader = (await self._ask(f"$JS.API.STREAM.INFO.{stream}"))["cluster"]["leader"]
                return int(leader.removeprefix("server-"))
            except (LedgerError, KeyError, TimeoutError, ValueError):
                assert time.monotonic() < deadline, f"nobody leads {stream}"
                await asyncio.sleep(POLL)

    async def ready(self) -> None:
        """Wait until JetStream takes streams of as many replicas as there are servers."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            wanted = {"name": "READY", "subjects": ["ready"], "num_replicas": self.size}
            try:
                answer = await self._ask("$JS.API.STREAM.CREATE.READY", wanted)
                if "error" not in answer:
                    await self._ask("$JS.API.STREAM.DELETE.READY")
                    return
            except (LedgerError, TimeoutError, ValueError):
                pass
            assert time.monotonic() < deadline, "the cluster is not ready"
            await asyncio.sleep(POLL)

    async def _ask(self, subject: str, body: object = None) -> dict[str, Any]:
        payload = b"" if body is None else json.dumps(body).encode()
        client = await dial(self.servers().endpoint(), "test")
        try:
            async with asyncio.timeout(2):
                _, data = await client.request_one(lambda reply: frame(subject, reply, b"", payload))
        finally:
            await client.close()
        answer: dict[str, Any] = json.loads(data)
        return answer
