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
POLL: Final = 0.05
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


class NatsCluster:
    """That many servers in folders below `folder`; they die with the thread that starts them.

    `access` is what their configuration says of who may come in, `jetstream` how they keep what they are given.
    """

    def __init__(
        self, folder: Path, size: int = 1, *, access: str = OPEN, jetstream: str = "sync_interval: always"
    ) -> None:
        self.folder = folder
        self.size = size
        self.access = access
        self.jetstream: str | None = jetstream
        self._ports = free_ports(2 * size)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.password_file = folder / "password"
        self.password_file.write_text("a secret\n")

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(f"nats://127.0.0.1:{port}" for port in self._ports[: self.size])

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
            self._spawn(number)
        for number in numbers or range(self.size):
            self._wait_listening(number)

    def kill(self, number: int) -> None:
        """SIGKILL."""
        process = self._running.pop(number)
        process.kill()
        process.wait(10)

    def signal(self, number: int, which: signal.Signals) -> None:
        self._running[number].send_signal(which)

    def stop(self) -> None:
        """End all of them, without a word."""
        for number in list(self._running):
            self.signal(number, signal.SIGCONT)
            self.kill(number)

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

    def _spawn(self, number: int) -> None:
        port, route = self._ports[number], self._ports[self.size + number]
        home = self.folder / str(number)
        home.mkdir(exist_ok=True)
        routes = [f'"nats://127.0.0.1:{other}"' for other in self._ports[self.size :]]
        cluster = f'cluster {{ name: c, listen: "127.0.0.1:{route}", routes: [{", ".join(routes)}] }}'
        store = f'jetstream {{ store_dir: "{home}/js", {self.jetstream} }}' if self.jetstream is not None else ""
        config = home / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{port}"\nserver_name: server-{number}\n{store}\n{self.access}\n'
            f"{cluster if self.size > 1 else ''}\n"
        )
        with open(home / "log", "ab") as log:
            self._running[number] = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", guardian.__file__, str(os.getpid())),
                    *(str(find_binary()), "-c", str(config)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait_listening(self, number: int) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._ports[number])) == 0:
                    return
            assert self._running[number].poll() is None, (self.folder / str(number) / "log").read_text()
            assert time.monotonic() < deadline, f"server {number} does not listen"
            time.sleep(POLL)
