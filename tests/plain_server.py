"""A nats-server as somebody else would run it: not ours to supervise, on a port that stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from rear.ledger import guardian
from rear.ledger.nats_process import find_binary


class PlainServer:
    """`nats-server` with JetStream in `folder`, synced at each commit; it dies with the thread that starts it."""

    def __init__(self, folder: Path, *, sync: str = "always", more: str = "") -> None:
        """`sync` is its sync_interval; `more` goes into its configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = folder / "nats.conf"
        self._log = folder / "nats.log"
        self._config.write_text(
            f'host: "127.0.0.1"\nport: {self.port}\nlog_file: "{self._log}"\n'
            f'jetstream {{ store_dir: "{folder / "store"}", sync_interval: {sync} }}\n{more}\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> PlainServer:
        """Starts it, and returns once it takes connections and JetStream is up."""
        before = self._ready_times()
        command = [sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()), str(find_binary())]
        self._process = subprocess.Popen([*command, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while self._ready_times() == before:
            assert self._process.poll() is None, f"nats-server ended:\n{self._log.read_text()}"
            assert time.monotonic() < deadline, "nats-server does not start"
            time.sleep(0.01)
        return self

    def _ready_times(self) -> int:
        return self._log.read_text().count("Server is ready") if self._log.exists() else 0

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(20)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """Ends it, however it stands."""
        if self._process is not None:
            self.kill()
