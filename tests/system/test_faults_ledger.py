"""A ledger that is shorter or other than what was acknowledged, or has lost its anchor: refused, and where is said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from rear.event.v1.envelope_pb2 import Envelope
from rear.ledger.chain import link
from rear.ledger.connection import Connection
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.store import stream_name, stream_subjects
from rear.ledger.stream import EventStream, Outgoing
from rear.rpc.client import Client
from rear.v1.audit_service_pb2 import RecordedEvent
from tests.system.asking import reserve
from tests.system.evidence import Ledger
from tests.system.failing import Failpoints
from tests.system.fixtures import NewNode
from tests.system.load import History
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.system.outages import LONG, answers_in_time, logged, until_serving
from tests.waiting import eventually

Damage = Callable[[NodeProcess, list[RecordedEvent]], Awaitable[str]]
"""Does it, and returns what must be said of it."""


async def put_store(node: NodeProcess, events: list[Outgoing]) -> None:
    """Puts a store with just these events in the place of the node's. The server finds nothing wrong with it."""
    folder = node.folder / "forged"
    async with EmbeddedServer(folder) as server:
        connection = Connection(lambda: server.endpoint, name="forger")
        stream = EventStream(connection, stream_name(node.name), stream_subjects(node.name))
        await connection.open(10)
        await stream.ensure()
        await stream.append(events, 0, timeout=10)
        await connection.close()
    shutil.rmtree(node.directory.nats / "store")
    (folder / "store").rename(node.directory.nats / "store")


def as_written(events: list[RecordedEvent]) -> list[Outgoing]:
    return [Outgoing(event.subject, event.payload, event.hash.hex()) for event in events]


async def shortened(node: NodeProcess, events: list[RecordedEvent]) -> str:
    await put_store(node, as_written(events[:-3]))
    return f"the ledger ends at {len(events) - 3}, but {len(events)} was acknowledged: its end is lost"


async def last_altered(node: NodeProcess, events: list[RecordedEvent]) -> str:
    """By somebody who knows how hashes are made."""
    forged = Envelope.FromString(events[-1].payload)
    forged.caller = "spiffe://somebody.else/node/n9"
    payload = forged.SerializeToString()
    last = Outgoing(events[-1].subject, payload, link(events[-2].hash.hex(), events[-1].subject, payload))
    await put_store(node, [*as_written(events[:-1]), last])
    return f"the event at {len(events)} is not the one that was acknowledged there"


async def anchor_gone(node: NodeProcess, events: list[RecordedEvent]) -> str:
    node.directory.anchor.unlink()
    return f"the ledger has {len(events)} events but its anchor {node.directory.anchor} is gone"


POOLS: Final = (pool("a", cpu=20), pool("spare", cpu=20))
DAMAGES: Final = [shortened, last_altered, anchor_gone]
AT_A_START: Final = DAMAGES if LONG else [last_altered]
AT_A_CONNECT: Final = DAMAGES if LONG else [shortened, anchor_gone]


@pytest.fixture
async def node(new_node: NewNode) -> NodeProcess:
    node = new_node(*POOLS, port=fixed_port())
    await node.restart()
    return node


async def what_was_written(node: NodeProcess) -> list[RecordedEvent]:
    async with Client(node.endpoint) as client:
        for _ in range(3):
            await client.reserve_flavour(reserve("a-1"))
        return (await Ledger.read(client)).recorded


def verify(state: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("rear")), "ledger", "verify", "--state", str(state)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("damage", AT_A_START)
async def test_it_is_refused_at_a_start_and_by_verify(node: NodeProcess, damage: Damage) -> None:
    events = await what_was_written(node)
    assert node.terminate() == 0
    expected = await damage(node, events)
    node.spawn()
    assert node.wait() == 1
    assert expected in node.log_tail(5)
    verified = verify(node.state)
    assert verified.returncode == 1
    assert expected in verified.stderr


@pytest.mark.parametrize("damage", AT_A_CONNECT)
async def test_it_is_refused_at_the_next_connect(new_node: NewNode, damage: Damage) -> None:
    node = new_node(*POOLS, port=fixed_port())
    failpoints = Failpoints(node)
    await node.restart()
    events = await what_was_written(node)
    failpoints.arm("server.fallen=stop")
    os.kill(node.nats_pid, signal.SIGKILL)
    await failpoints.struck("server.fallen", "stop")
    expected = await damage(node, events)
    failpoints.disarm()
    failpoints.go_on()

    await eventually(lambda: bool(logged(node, "the ledger was refused")))
    assert expected in logged(node, "the ledger was refused")[0]["error"]
    await until_serving(node, False, 5.0)
    history = History()
    for _ in range(3):
        assert await answers_in_time(node.endpoint, history) in {"LEDGER_UNAVAILABLE", "OUTCOME_PENDING"}
    await eventually(lambda: any(expected in str(entry) for entry in logged(node, "not ready")))
    assert node.running, "it stays to say so"
