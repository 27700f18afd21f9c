"""A node as a process of its own: started, killed, stopped, and in the end gone with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil
import yaml

from rear.ledger import guardian
from rear.ledger.store import StateDirectory

READY_WITHIN: Final = 40.0
"""Seconds for a node to serve; it takes one or two where nobody else wants the processor."""
GONE_WITHIN: Final = 20.0
"""Seconds for a process to be gone that was killed, or told to end."""
POLL: Final = 0.02
FIXED_PORTS: Final = range(10_000, 30_000)
"""Below the ports that the kernel hands out, so that nobody gets the port of a node that is down for a while."""

PoolEntry = Mapping[str, object]


def pool(pool_id: str, *, cpu: int = 10, gpus: int = 0, price: str = "", whole: bool = False) -> PoolEntry:
    """A pool of whole cores with 4 GiB of memory for each; cores are sold by halves, unless all are sold as a whole."""
    entry: dict[str, object] = {
        "id": pool_id,
        "type": "k8slice",
        "quantities": {"cpu": cpu, "memory": f"{4 * cpu}GiB"},
    }
    if not whole:
        halves = {"cpu": "500m", "memory": "1GiB"}
        entry["policies"] = {"partitionability": {"minimum": halves, "step": dict(halves)}}
    if gpus:
        entry["units"] = [{"class": "gpu", "model": "T4", "count": gpus}]
    if price:
        entry["price"] = {"components": [{"amount": price, "kind": "cpu", "per": "1h"}]}
    return entry


def fixed_port() -> int:
    """A port to come back to after a restart."""
    width = len(FIXED_PORTS)
    for attempt in range(width):
        port = FIXED_PORTS[(os.getpid() * 97 + time.monotonic_ns() // 1_000 + attempt) % width]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class NodeProcess:
    """`rear up` over a state directory in `folder`. `port` 0 takes any free one at each start.

    The node dies with the thread that starts it, whatever becomes of the test.
    """

    def __init__(
        self, folder: Path, pools: Sequence[PoolEntry], *, name: str = "n1", domain: str = "system.test", port: int = 0
    ) -> None:
        self.folder = folder
        self.name = name
        self.domain = domain
        self.port = port
        self.state = folder / "state"
        self.log = folder / "node.log"
        self.environment: dict[str, str] = {}
        """What its processes find in theirs besides ours."""
        self.launcher: Sequence[str] = ()
        """A command that runs the one that follows, for starts from now on."""
        self.options: Sequence[str] = ()
        """Further options of `rear up`."""
        self._inventory = folder / "inventory.yaml"
        self._every = 1
        self._ready = folder / "ready"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.write_inventory(pools)

    @property
    def provider_id(self) -> str:
        return f"spiffe://{self.domain}/node/{self.name}"

    @property
    def directory(self) -> StateDirectory:
        return StateDirectory(self.state)

    @property
    def endpoint(self) -> str:
        """`host:port`, once it serves."""
        return self._ready.read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the node was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        assert self._process is not None, "the node was not started"
        return self._process.poll()

    @property
    def nats_pid(self) -> int:
        """The process id of its nats-server; 0 while there is none."""
        for found in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if found.name() == "nats-server":
                    return found.pid
        return 0

    def offer(self, inventory: Path, *, every: int = 1) -> None:
        """A file of the test's own, instead of pools, for the next start."""
        self._inventory, self._every = inventory, every

    def write_inventory(self, pools: Sequence[PoolEntry]) -> None:
        """What the next start is told to offer."""
        self._inventory.write_text(yaml.safe_dump({"pools": [dict(entry) for entry in pools]}))

    # -- life ----------------------------------------------------------------------------------------------

    def spawn(self, *, launcher: Sequence[str] = ()) -> None:
        """Start it, by a command that runs another one where there is a `launcher`, and return at once."""
        assert not self.running, "the node runs already"
        self._ready.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-I", "-S", guardian.__file__, str(os.getpid())),
            *(launcher or self.launcher),
            *(str(Path(sys.executable).with_name("rear")), "up"),
            *("--name", self.name, "--domain", self.domain, "--state", str(self.state)),
            *("--listen", f"127.0.0.1:{self.port}", "--inventory", str(self._inventory)),
            *("--every", str(self._every)),
            *("--ready-file", str(self._ready), "--log-format", "json"),
            *self.options,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | self.environment
            )

    def start(self) -> None:
        """Start it, and return once it serves."""
        self.spawn()
        for _ in self._until_ready():
            time.sleep(POLL)

    async def restart(self) -> None:
        """Start it over the same state, and return once it serves."""
        self.spawn()
        await self.serves()

    async def serves(self) -> None:
        """Return once it serves that was spawned."""
        for _ in self._until_ready():
            await asyncio.sleep(POLL)

    def kill(self) -> None:
        """SIGKILL. Returns once its nats-server is gone too."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(GONE_WITHIN)
        self._wait_gone()

    def signal_end(self) -> None:
        """SIGTERM, and return at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def terminate(self) -> int:
        """SIGTERM; returns the exit code, once its nats-server is gone too."""
        self.signal_end()
        return self.wait()

    def wait(self) -> int:
        """Wait for it to end by itself; returns the exit code."""
        assert self._process is not None
        code = self._process.wait(GONE_WITHIN)
        self._wait_gone()
        return code

    def close(self) -> None:
        """End it and all that it started. Fails where something stays behind that should be gone by itself."""
        if self.running:
            self.kill()
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert not left, f"left behind: {left}"

    # -- looking at it -------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Every process that was told of the state directory: the node, its nats-server, their beginnings."""
        state, found = os.fsencode(self.state), []
        for entry in Path("/proc").iterdir():
            # To ask psutil for every command would take three times as long. That of a zombie is empty.
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if entry.name.isdecimal() and state in (entry / "cmdline").read_bytes():
                    found.append(psutil.Process(int(entry.name)))
        return found

    def log_tail(self, lines: int = 60) -> str:
        """The end of what it wrote to stdout and stderr."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _until_ready(self) -> Iterator[None]:
        assert self._process is not None
        deadline = time.monotonic() + READY_WITHIN
        while not self._ready.exists():
            code = self._process.poll()
            assert code is None, f"the node ended with {code}:\n{self.log_tail(20)}"
            assert time.monotonic() < deadline, f"the node does not serve after {READY_WITHIN} s"
            yield

    def _wait_gone(self) -> None:
        deadline = time.monotonic() + GONE_WITHIN
        while left := self.processes():
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(POLL)
