"""A node on three nats-servers, of which the one that leads its ledger is killed: nothing is lost or doubled."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from rear.ledger.store import stream_name
from rear.rpc.client import Client
from tests.nats_servers import NatsCluster
from tests.system.evidence import agreeing, digests
from tests.system.fixtures import NewNode
from tests.system.load import buyers
from tests.system.node_process import pool
from tests.waiting import eventually

BUYERS: Final = 16
ROUNDS: Final = int(os.environ.get("REAR_ROUNDS", "1"))
"""Leaders that are killed; `make soak` asks for more."""
FLAVOURS: Final = {"a-1": False, "b-1": False, "gpu-1": True}
AWAY_AT_MOST: Final = 25.0
"""Seconds from a leader's death to the next answer: the servers take up to 10 to agree on another."""


async def test_leaders_that_are_killed_under_load_lose_nothing_and_double_nothing(
    new_node: NewNode, tmp_path: Path, seed: str
) -> None:
    away = []
    with NatsCluster(tmp_path / "servers", 3) as nats:
        await nats.ready()
        node = new_node(pool("a", cpu=20), pool("b", cpu=20), pool("gpu", cpu=40, gpus=4))
        node.options = nats.options
        await node.restart()
        async with buyers(BUYERS, seed, node.endpoint, FLAVOURS) as history:
            for _ in range(ROUNDS):
                before = len(history.granted)
                await eventually(lambda before=before: len(history.granted) >= before + 60, 60)  # type: ignore[misc]
                leader = await nats.leader_of(stream_name(node.name))
                nats.kill(leader)
                killed, then = time.monotonic(), len(history.granted)
                await eventually(lambda then=then: len(history.granted) >= then + BUYERS, AWAY_AT_MOST)  # type: ignore[misc]
                away.append(time.monotonic() - killed)
                nats.start(leader)
        print(f"away for {', '.join(f'{one:.1f}' for one in away)} s; {len(history.granted)} granted")
        async with Client(node.endpoint, patience=20) as client:
            ledger, listed = await agreeing(client)
        history.check(ledger, listed)
        ledger.check()
        ledger.check_request_ids()
        assert len(ledger.of("writer_changed")) == 1, "its writer has been the same all the time"
        assert node.terminate() == 0
        scratch = node.folder / "fresh"
        scratch.mkdir()
        kept, rebuilt = await digests(node.state, scratch)
        assert kept == rebuilt
