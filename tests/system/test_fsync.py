"""What is acknowledged is on the disk: the order of system calls, seen from outside.

A machine's power cannot be cut in a test. What can be shown is that each write of an event is followed by a sync of its
file, and that only then the acknowledgement leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rear.ledger.connection import Connection, Endpoint
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.stream import EventStream, Outgoing
from rear.rpc.client import Client
from tests.nats_servers import PlainServer
from tests.system.asking import reserve
from tests.system.fixtures import NewNode
from tests.system.node_process import pool
from tests.system.tracer import Call, read_trace, strace, traced

__all__ = ["strace"]

pytestmark = pytest.mark.usefixtures("strace")

SYNCS = ("fsync", "fdatasync")


def not_synced(calls: Sequence[Call], file: str, before: Call) -> list[str]:
    """Files whose path has `file` in it that were written before a call, and not synced between the two."""
    written = {
        call.file: call for call in calls if file in call.file and call.name not in SYNCS and call.began < before.began
    }
    assert written, f"nothing was written to {file}"
    return [
        path
        for path, last in written.items()
        if not any(
            call.name in SYNCS and call.file == path and last.ended < call.began and call.ended < before.began
            for call in calls
        )
    ]


def first(calls: Sequence[Call], to: str, said: str) -> Call:
    """The first call that hands something to a connection."""
    found = [call for call in calls if to in call.file and said in call.text and call.name not in SYNCS]
    assert found, f"nothing that says {said} went to {to}"
    return found[0]


async def append_traced(endpoint: Endpoint, pid: int, trace: Path) -> None:
    """Appends one message, a batch of three, and a batch over several blocks, while the server is traced."""
    connection = Connection(lambda: endpoint, name="traced")
    await connection.open(10)
    stream = EventStream(connection, "TEST", ["t.>"])
    await stream.ensure()
    await stream.append([Outgoing("t.before", b"", "0" * 64)], 0, timeout=10)
    large = [Outgoing(f"t.large{number}", b"x" * 20_000, "0" * 64) for number in range(600)]
    async with traced(pid, trace):
        await stream.append([Outgoing("t.single", b"", "0" * 64)], 1, timeout=10)
        await stream.append([Outgoing(f"t.batch{number}", b"", "0" * 64) for number in range(3)], 2, timeout=10)
        await stream.append(large, 5, timeout=60)
    await connection.close()


BLOCKS = "/streams/TEST/msgs/"
APPENDS = {2: ["t.single"], 5: ["t.batch0", "t.batch1", "t.batch2"], 605: []}


async def test_events_are_synced_in_the_main_blocks_before_the_server_acknowledges_them(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "nats") as server:
        assert server.pid is not None
        await append_traced(server.endpoint, server.pid, tmp_path / "trace")
    calls = read_trace(tmp_path / "trace")

    for sequence, subjects in APPENDS.items():
        acknowledgement = first(calls, "TCP:", f'\\"seq\\":{sequence}')
        for subject in subjects:
            assert first(calls, BLOCKS, subject).ended < acknowledgement.began
        assert not_synced(calls, BLOCKS, acknowledgement) == []
    # The last batch went into more than one block, and each was synced.
    assert len({call.file for call in calls if BLOCKS in call.file and ".blk" in call.file}) > 1


async def test_the_proof_fails_for_a_server_that_syncs_later(tmp_path: Path) -> None:
    server = PlainServer(tmp_path / "nats", jetstream="sync_interval: 2m").start()
    try:
        await append_traced(Endpoint(server.url), server.pid, tmp_path / "trace")
    finally:
        server.stop()
    calls = read_trace(tmp_path / "trace")

    for sequence in (2, 5):
        assert not_synced(calls, BLOCKS, first(calls, "TCP:", f'\\"seq\\":{sequence}'))


async def test_the_anchor_is_synced_before_the_caller_is_answered(new_node: NewNode, tmp_path: Path) -> None:
    node = new_node(pool("a"))
    await node.restart()
    async with Client(node.endpoint) as client:
        await client.reserve_flavour(reserve("a-1"))
        async with traced(node.pid, tmp_path / "trace"):
            response = await client.reserve_flavour(reserve("a-2"))
    calls = read_trace(tmp_path / "trace")

    answer = first(calls, f":{node.endpoint.rpartition(':')[2]}->", response.contract.contract_id)
    assert not_synced(calls, "/state/anchor", answer) == []
    # The commit was sent to the ledger's server before.
    sent = first(calls, "TCP:", "Nats-Batch-Commit")
    anchored = [call for call in calls if "/state/anchor" in call.file and call.name == "pwrite64"]
    assert sent.ended < anchored[0].began
