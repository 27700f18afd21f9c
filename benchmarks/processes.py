"""The servers under test, each a process of its own that ends with this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from rear.ledger import guardian

START_TIMEOUT: Final = 300.0
"""Seconds that a server may take until it serves."""

STOP_TIMEOUT: Final = 30.0
POLL: Final = 0.005


class DidNotStart(Exception):
    """A server under test ended, or took too long, before it served. The message has its log's end."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that serves: where, its process, and how many seconds it took from its spawn."""

    endpoint: str
    process: psutil.Process
    started_in: float

    @property
    def resident(self) -> int:
        """Resident memory in bytes, without that of its children."""
        return int(self.process.memory_info().rss)

    @property
    def worked(self) -> float:
        """Seconds of processor time so far, without its children's."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    @property
    def nats_resident(self) -> int:
        """Resident memory in bytes of the nats-servers that it runs."""
        return sum(child.memory_info().rss for child in self.process.children(recursive=True))


@contextlib.asynccontextmanager
async def running_node(
    state: Path, inventory: Path | None = None, options: Sequence[str] = ()
) -> AsyncIterator[Running]:
    """`rear up` on a state directory, with default settings but for `options`: embedded NATS that syncs always."""
    arguments = ["--state", str(state), "--listen", "127.0.0.1:0", "--log-format", "json", *options]
    if inventory is not None:
        arguments += ["--inventory", str(inventory)]
    rear = Path(sys.executable).with_name("rear")
    async with _running([str(rear), "up", *arguments], state.with_suffix(".ready")) as node:
        yield node


@contextlib.asynccontextmanager
async def running_echo(directory: Path, response_bytes: int) -> AsyncIterator[Running]:
    """The bare echo server, which answers every call with a message of that size."""
    command = [sys.executable, "-m", "benchmarks.echo_server", "--response-bytes", str(response_bytes)]
    async with _running(command, directory / "echo.ready") as echo:
        yield echo


@contextlib.asynccontextmanager
async def _running(command: list[str], ready: Path) -> AsyncIterator[Running]:
    begun = time.perf_counter()
    process = _spawn(command, ready)
    try:
        while (endpoint := _endpoint(ready)) is None:
            if process.poll() is not None or time.perf_counter() - begun > START_TIMEOUT:
                raise DidNotStart(f"{' '.join(command)} did not start: {_log(ready).read_text()[-2_000:]}")
            await asyncio.sleep(POLL)
        yield Running(endpoint, psutil.Process(process.pid), time.perf_counter() - begun)
    finally:
        await asyncio.to_thread(_stop, process)


def _spawn(command: list[str], ready: Path) -> subprocess.Popen[bytes]:
    ready.unlink(missing_ok=True)
    with _log(ready).open("wb") as output:
        return subprocess.Popen(
            (sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()), *command, "--ready-file", ready),
            stdout=output,
            stderr=output,
        )


def _log(ready: Path) -> Path:
    return ready.with_suffix(".log")


def _endpoint(ready: Path) -> str | None:
    try:
        return ready.read_text()
    except FileNotFoundError:
        return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
