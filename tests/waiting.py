"""Waiting for a condition, with a deadline; and making others wait."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


async def eventually(condition: Callable[[], bool], within: float = 20.0) -> None:
    """Return once `condition` holds; fail the test where that takes longer than `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s"
        await asyncio.sleep(0.01)


async def freeze(pid: int) -> None:
    """Stop a process, and return once every thread of it stands still."""
    os.kill(pid, signal.SIGSTOP)

    def frozen() -> bool:
        threads = Path(f"/proc/{pid}/task").iterdir()
        return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)

    await eventually(frozen)
