"""Nodes that are told to fail at a point, and the proof that they did."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Sequence
from typing import Any, Final

import psutil

from rear.failpoints import VARIABLE
from tests.system.node_process import NodeProcess

SEED: Final = (
    os.environ.get("REAR_SEED")
    or os.environ.get("PYTEST_XDIST_TESTRUNUID")  # the same in all processes that share a run
    or str(random.SystemRandom().getrandbits(32))
)
"""Of all that is left to chance; $REAR_SEED repeats a run as far as the machine's own timing allows."""
SHARD, SHARDS = (int(part) for part in os.environ.get("REAR_SHARD", "0/1").split("/"))
"""Which part of a long run this one does: several run side by side."""

AT_START: Final = (
    "server.locked",
    "server.spawned",
    "opening.begun",
    "opening.replayed",
    "opening.after_publish",
    "opening.after_fence",
    "opening.after_anchor",
    "node.before_serving",
)
"""Points that a node comes to once, when it starts."""

AT_WORK: Final = (
    "writer.before_publish",
    "writer.after_publish",
    "writer.after_ack",
    "anchor.before_sync",
    "writer.after_anchor",
    "tables.before_commit",
    "tables.after_commit",
    "timers.in_the_middle",
    "rpc.before_reply",
)
"""Points that it comes to again and again while it works."""

PROVOKED: Final = ("server.fallen", "connection.checked", "node.draining")
"""Points that it comes to when something else happens first."""

SUBMITTING: Final = ("intents.received", "intents.checked", "intents.recorded")
"""Points that it comes to when it takes an intent."""

SEARCHING: Final = ("candidates.selected", "candidates.looked", "discovery.before_asking", "candidates.written")
"""Points that it comes to when it looks for resources elsewhere."""

ORCHESTRATING: Final = (
    "orchestrator.looking",
    "orchestrator.planned",
    "orchestrator.asked",
    "orchestrator.chosen",
    "orchestrator.purchasing",
    "orchestrator.ready",
)
"""Points that it comes to when it brings a service request on."""

LINKING: Final = ("links.before_sending", "links.answered", "links.observed")
"""Points that it comes to when it asks a seller for something."""

PEERING: Final = ("fabric.before_asking", "fabric.granted", "fabric.offered")
"""Points that two nodes come to between them."""

ELSEWHERE: Final = ("mending.before_anchor",)
"""Points that no node comes to; a test of their own is in test_failpoints."""

NOTHING_TO_CUT: Final = frozenset({"server.locked", "server.spawned", "server.fallen"})
"""Points at which there is no connection."""

STRUCK_WITHIN: Final = 20.0
POLL: Final = 0.005


class Failpoints:
    """What a node is told to do to itself; it may be told anew while it runs."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._file = node.folder / "failpoints"
        self._log_at = 0
        node.environment[VARIABLE] = f"@{self._file}"

    def arm(self, *entries: str) -> None:
        """From now on, counting from now on."""
        self._log_at = self._node.log.stat().st_size if self._node.log.exists() else 0
        draft = self._file.with_suffix(".draft")
        draft.write_text(",".join(entries))
        draft.rename(self._file)

    def disarm(self) -> None:
        self._file.unlink(missing_ok=True)

    def logged(self) -> list[dict[str, Any]]:
        """What the node has logged since `arm`."""
        if not self._node.log.exists():
            return []
        with self._node.log.open() as log:
            log.seek(self._log_at)
            lines = log.read().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def has_struck(self, point: str, action: str) -> bool:
        """Whether the node did that to itself there: its log says so, and its process shows it."""
        logged = self.logged()
        if not any(
            line["event"] == "failpoint" and (line["point"], line["action"]) == (point, action) for line in logged
        ):
            return False
        match action:
            case "kill":
                return self._node.exit_code == -signal.SIGKILL
            case "stop":
                return psutil.Process(self._node.pid).status() == psutil.STATUS_STOPPED
            case _:
                return any(line["event"].startswith("lost the connection") for line in logged)

    async def struck(self, point: str, action: str, within: float = STRUCK_WITHIN) -> None:
        """Returns once it has struck; fails the test where it never does."""
        deadline = time.monotonic() + within
        while not self.has_struck(point, action):
            assert time.monotonic() < deadline, f"{point}={action} did not strike: {self.logged()[-5:]}"
            assert action == "kill" or self._node.exit_code is None, f"it ended by itself: {self._node.log_tail(5)}"
            await asyncio.sleep(POLL)

    def go_on(self) -> None:
        """SIGCONT to a node that has stopped itself."""
        os.kill(self._node.pid, signal.SIGCONT)


def shared(rounds: int) -> int:
    """Our part of so many rounds."""
    return len(range(SHARD, rounds, SHARDS))


def actions_at(point: str) -> Sequence[str]:
    """What can happen at a point."""
    return ("kill", "stop") if point in NOTHING_TO_CUT else ("kill", "stop", "cut")
