"""Damage far from the end of a ledger: the node starts and sells, and its operator is told where it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rear.ledger.scrub_record import Damage, Flaw, read_scrub
from rear.ledger.store import StateDirectory
from rear.rpc.client import Client
from tests.system.asking import CONFIRMED, reserve
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool
from tests.waiting import eventually

POOLS = 30


def rear(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("rear")), *arguments]
    return subprocess.run(command, timeout=60, capture_output=True, text=True)


def flip_a_bit(node: NodeProcess, of: str) -> None:
    """In the payload of the first event of a pool, in the server's own file."""
    (block,) = node.state.glob("nats/store/jetstream/*/streams/*_LEDGER/msgs/*.blk")
    content = bytearray(block.read_bytes())
    content[content.index(f"rear.log.{node.name}.pool.{of}".encode()) + 200] ^= 1
    block.write_bytes(content)


def damage(node: NodeProcess) -> tuple[Damage, ...]:
    record = read_scrub(node.directory.scrub)
    return () if record is None else record.damage


async def test_a_flipped_bit_is_reported_at_its_position_while_the_node_sells(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REAR_SCRUB_RATE", "100000")
    monkeypatch.setenv("REAR_SCRUB_EVERY", "0.1")
    node = new_node(*(pool(f"p-{number:02}") for number in range(POOLS)))
    await node.restart()
    assert node.terminate() == 0
    status = rear("ledger", "scrub-status", "--state", str(node.state))
    assert status.returncode == 0, status.stderr
    assert "no damage was found" in status.stdout

    flip_a_bit(node, "p-05")
    await node.restart()
    # Two events of the service are before the pools'.
    expected = Damage(8, 8, Flaw.LOST)
    await eventually(lambda: damage(node) == (expected,))
    async with Client(node.endpoint) as client:
        sold = await client.reserve_flavour(reserve("p-05-1", confirm=True))
    assert sold.contract.state == CONFIRMED
    await eventually(lambda: "ready, with warnings" in node.log_tail())
    assert "the ledger is damaged at 8 (lost)" in node.log_tail()

    status = rear("ledger", "scrub-status", "--state", str(node.state), "--json")
    assert status.returncode == 1
    assert json.loads(status.stdout)["damage"] == [{"first": 8, "last": 8, "flaw": "lost"}]
    assert node.terminate() == 0
    verified = rear("ledger", "verify", "--state", str(node.state))
    assert verified.returncode != 0
    assert "message 8 is missing or cannot be read" in verified.stderr


def test_before_the_first_reading_the_status_says_so(tmp_path: Path) -> None:
    assert "is not the state directory of a service" in rear("ledger", "scrub-status", "--state", str(tmp_path)).stderr
    StateDirectory(tmp_path).claim("spiffe://local.test/node/node-1")
    status = rear("ledger", "scrub-status", "--state", str(tmp_path))
    assert status.returncode == 1
    assert "has not scrubbed its ledger yet" in status.stderr
