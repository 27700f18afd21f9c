"""Node processes that find each other by multicast."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from rear.rpc.announcements import Announcement, write_announcement
from tests.multicast import a_group, say
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually

REAR = str(Path(sys.executable).with_name("rear"))


def neighbours_of(node: NodeProcess, ops: str) -> int:
    with urllib.request.urlopen(f"http://{ops}/readyz", timeout=10) as answer:
        return int(json.load(answer)["neighbours"])


async def test_two_nodes_find_each_other_and_lose_each_other(new_node: NewNode) -> None:
    group = a_group()
    first, second, stranger = (new_node(pool("p", cpu=2), name=name) for name in ("n1", "n2", "n3"))
    stranger.domain = "other.test"
    ops = {}
    for node in (first, second, stranger):
        ops[node] = f"127.0.0.1:{fixed_port()}"
        node.options = ["--announce", str(group), "--announce-every", "0.3", "--ops", ops[node]]
        node.spawn()
    for node in (first, second, stranger):
        await node.serves()
    await eventually(lambda: neighbours_of(first, ops[first]) == neighbours_of(second, ops[second]) == 1)
    assert neighbours_of(stranger, ops[stranger]) == 0
    assert f'"endpoint": "{second.endpoint}"' in first.log_tail()

    say(group, b"\xff" * 5_000, b"", write_announcement(Announcement("spiffe://system.test/node/x", "10.0.0.1:1", 60)))
    second.kill()
    await eventually(lambda: neighbours_of(first, ops[first]) == 0, within=10)
    assert first.terminate() == 0


def test_a_node_that_cannot_announce_says_so_and_does_not_start(tmp_path: Path) -> None:
    command = [REAR, "up", "--state", str(tmp_path / "state"), "--listen", "0.0.0.0:0", "--insecure-any-address"]
    refused = subprocess.run(
        [*command, "--announce", "--announce-interface", "192.0.2.7"], capture_output=True, text=True, timeout=30
    )
    assert refused.returncode == 1
    assert "cannot announce on 239.255.82.69:7401 by 192.0.2.7" in refused.stderr
    assert "name the nodes to each other with --neighbour" in refused.stderr
