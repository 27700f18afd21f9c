"""A lock file: held by one process at a time, and let go by the kernel when that process ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

import structlog

from rear.ledger.errors import StoreLocked

log = structlog.get_logger(__name__)

LOOK_AGAIN: Final = 0.02
"""Seconds between attempts."""


async def take_lock(path: Path, timeout: float) -> int:  # noqa: ASYNC109
    """The descriptor that holds the lock, until it and all that inherited it are closed.

    Raises StoreLocked where somebody else holds it for longer than `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    mentioned = False
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            if time.monotonic() >= deadline:
                raise StoreLocked(
                    f"another process holds {path}, and did not let go within {timeout} s: "
                    "stop the service that uses this directory, or name another one"
                )
            if not mentioned and time.monotonic() > deadline - timeout + 0.5:
                mentioned = True
                log.warning("another process holds the store; waiting for it to let go", lock=str(path))
            await asyncio.sleep(LOOK_AGAIN)
    except BaseException:
        os.close(lock)
        raise
