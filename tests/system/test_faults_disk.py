"""The disk of a node fills up to its last byte while buyers are at work, and has room again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.system.fixtures import NewNode
from tests.system.load import buyers
from tests.system.node_process import fixed_port
from tests.system.outages import (
    FLAVOURS,
    LASTING,
    POOLS,
    answers_in_time,
    answers_more,
    check_stands_still,
    operations,
    readyz,
    until_serving,
    whole_again,
)

DISK: Final = 160 << 20
FILLS: Final = int(os.environ.get("REAR_FILLS", "1"))
"""How often it fills up; each time somewhere else in what the node does."""
NOTICED_WITHIN: Final = 8.0
BACK_WITHIN: Final = 40.0
"""Seconds: a server that was sick on a full disk is given time to get well by itself before it is restarted."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own."""
    where = tmp_path / "disk"
    where.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(where)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield where
    finally:
        subprocess.run([umount, "-l", str(where)], check=True)


def fill(path: Path) -> None:
    """Takes all room there is, to the last byte, at once."""
    with path.open("ab") as file:
        while room := os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize:
            with contextlib.suppress(OSError):  # somebody else took a part of it meanwhile
                os.posix_fallocate(file.fileno(), file.tell(), room)
            file.seek(0, os.SEEK_END)


async def test_a_disk_that_fills_up_stops_the_node_from_writing_until_there_is_room(
    disk: Path, new_node: NewNode, tmp_path: Path
) -> None:
    node = new_node(*POOLS, port=fixed_port())
    node.state = disk / "state"
    ops = operations(node)
    await node.restart()
    async with buyers(8, "full", node.endpoint, FLAVOURS) as history:
        await answers_more(history)
        for turn in range(FILLS):
            began = time.monotonic()
            fill(disk / "filler")
            noticed = await until_serving(node, False, NOTICED_WITHIN)
            status, whys = await readyz(ops)
            assert status == 503
            assert any("make room" in why or "is full" in why for why in whys), whys
            told = await answers_in_time(node.endpoint, history)
            still = time.monotonic_ns()
            await asyncio.sleep(max(0.0, (1.0 if turn else LASTING) - (time.monotonic() - began)))
            check_stands_still(history, still)
            (disk / "filler").unlink()
            back = await until_serving(node, True, BACK_WITHIN)
            await answers_more(history)
            print(f"full disk: told {told}; not ready within {noticed:.1f} s; ready {back:.1f} s after")
    await whole_again(node, history, tmp_path)
