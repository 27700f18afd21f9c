"""Points at which a process fails on purpose, so that tests can see what a failure there leaves behind.

They are off unless $REAR_FAILPOINTS names some:

    REAR_FAILPOINTS=writer.after_publish=kill@7
    REAR_FAILPOINTS=seed=42,writer.after_ack=cut%0.01,tables.before_commit=delay:0.5@3
    REAR_FAILPOINTS=@/run/failpoints

An entry is POINT=ACTION, and `@N` the visit at which it acts (1 where there is none), or `%CHANCE` the probability
with which each visit does, drawn from `seed`. `@FILE` alone stands for what is written in the file, which may come,
change and go while the process runs; each time it changes the visits are counted from 0.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakSet

import structlog

log = structlog.get_logger(__name__)

VARIABLE: Final = "REAR_FAILPOINTS"

POINTS: Final[Mapping[str, str]] = {
    "server.locked": "the store is locked, its nats-server is not started yet",
    "server.spawned": "nats-server is started, and has not been asked yet whether it is ready",
    "server.fallen": "nats-server has ended, and no other is started yet",
    "connection.checked": "a new connection has passed the anchor's check, and nobody has it yet",
    "opening.begun": "a new ledger has its first anchor and no event",
    "opening.replayed": "the ledger is read to its end, and WriterChanged is not sent",
    "opening.after_publish": "WriterChanged is sent, its acknowledgement not read",
    "opening.after_fence": "WriterChanged is acknowledged, and not yet in the tables or the anchor",
    "opening.after_anchor": "WriterChanged is anchored, and nothing written after it",
    "node.before_serving": "what fell due is worked off, and nothing answered yet",
    "node.draining": "the node was told to end: it takes no new calls, and has finished none of those under way",
    "writer.before_publish": "a batch is decided, and not sent",
    "writer.after_publish": "a batch is sent, its acknowledgement not read",
    "writer.after_ack": "a batch is acknowledged, and the anchor does not have it",
    "anchor.before_sync": "the anchor's file is written, and not synced",
    "writer.after_anchor": "a batch is anchored, and neither tables nor callers know of it",
    "tables.before_commit": "the rows of some batches are written, their transaction is not committed",
    "tables.after_commit": "the rows of some batches are committed, and nobody knows of it",
    "timers.in_the_middle": "time was passed for a contract that is due, and perhaps not for the next",
    "fabric.before_asking": "an allocation is to be peered, and its provider has not been asked",
    "fabric.granted": "a provider has peered an allocation, and its consumer has no offer",
    "fabric.offered": "a consumer has an offer of resources, and has not recorded it",
    "rpc.before_reply": "a call has its answer, and its caller has not",
    "discovery.before_asking": "a component's neighbours are known, and none of them has been asked",
    "candidates.written": "what neighbours offer is in Peering Candidates, and nobody has been told",
    "orchestrator.looking": "an intent is accepted, and nothing is looked for yet",
    "orchestrator.planned": "it is on record where components' resources are to come from, and no offer is chosen",
    "orchestrator.asked": "providers have told what they have, and none of it is chosen",
    "orchestrator.chosen": "an offer is chosen and the request to its provider on record",
    "orchestrator.purchasing": "the purchase of everything that is held is on record",
    "orchestrator.ready": "every component is ready, and nobody knows of it",
    "intents.received": "an intent has come, and nothing of it was looked at",
    "intents.checked": "an intent is good, and nothing of it is on record",
    "intents.recorded": "an accepted intent is on record, and its owner does not know",
    "candidates.selected": "it is known what neighbours are to be asked for, and nothing was looked at",
    "candidates.looked": "what is known of neighbours will not do, and they are to be asked",
    "links.before_sending": "a request to a seller is on record, and not sent",
    "links.answered": "a seller has answered, and its answer is not on record",
    "links.observed": "a seller's answer is on record, and nobody knows of it",
    "mending.before_anchor": "an accepted loss is on record, and the anchor still disagrees",
}
"""Every point by its name, and what is so when a process comes there."""

ACTIONS: Final[Mapping[str, str]] = {
    "kill": "SIGKILL to the process itself",
    "stop": "SIGSTOP to the process itself, until somebody sends SIGCONT",
    "cut": "every connection to NATS is cut off without a word",
    "delay:SECONDS": "the thread stands still, and with it the event loop where it is the loop's",
}
"""What can happen at a point."""

_ENTRY: Final = re.compile(
    r"(?P<point>[a-z_.]+)=(?:(?P<action>kill|stop|cut)|delay:(?P<seconds>\d+(?:\.\d+)?))"
    r"(?:@(?P<visit>[1-9]\d*)|%(?P<chance>0?\.\d+|0|1(?:\.0*)?))?"
)


class BadFailpoints(ValueError):
    """$REAR_FAILPOINTS cannot be understood; the message names what can be."""


class Cuttable(Protocol):
    """A connection that can be cut off."""

    def cut(self) -> None:
        """Loses it as if a cable were pulled. May be called on any thread."""
        ...


@dataclass(slots=True)
class _Failpoint:
    """What happens at one point: at one visit, or at any with a chance."""

    action: str
    seconds: float
    visit: int
    chance: float | None
    visits: int = 0

    def is_due(self, chances: random.Random) -> bool:
        self.visits += 1
        return self.visits == self.visit if self.chance is None else chances.random() < self.chance


class _Plan:
    """What is to fail, from a text."""

    def __init__(self, text: str) -> None:
        """Raises BadFailpoints."""
        self.seed = str(random.SystemRandom().getrandbits(32))
        self.failpoints: dict[str, _Failpoint] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            if entry.startswith("seed="):
                self.seed = entry.removeprefix("seed=")
            else:
                self._add(entry)
        self._chances = random.Random(self.seed)

    def _add(self, entry: str) -> None:
        found = _ENTRY.fullmatch(entry)
        if found is None or found["point"] not in POINTS:
            raise BadFailpoints(
                f"${VARIABLE} has the entry {entry!r}, which is no POINT=ACTION, POINT=ACTION@VISIT or "
                f"POINT=ACTION%CHANCE. Points: {', '.join(POINTS)}. Actions: {', '.join(ACTIONS)}"
            )
        if found["point"] in self.failpoints:
            raise BadFailpoints(f"${VARIABLE} names {found['point']} twice")
        self.failpoints[found["point"]] = _Failpoint(
            found["action"] or "delay",
            float(found["seconds"] or 0),
            int(found["visit"] or 1),
            None if found["chance"] is None else float(found["chance"]),
        )

    def reach(self, point: str) -> None:
        failpoint = self.failpoints.get(point)
        if failpoint is not None and failpoint.is_due(self._chances):
            log.critical("failpoint", point=point, action=failpoint.action, visit=failpoint.visits)
            _act(failpoint)


class _FilePlan:
    """What is to fail, from a file that is looked at whenever a point is reached."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._plan = _Plan("")

    def reach(self, point: str) -> None:
        self._look()
        self._plan.reach(point)

    def _look(self) -> None:
        try:
            found = self._path.stat()
            version = found.st_ino, found.st_mtime_ns
            text = self._path.read_text() if version != self._version else ""
        except FileNotFoundError:
            version, text = None, ""
        if version == self._version:
            return
        self._version = version
        try:
            self._plan = _Plan(text)
        except BadFailpoints as error:
            self._plan = _Plan("")
            log.critical("no failpoint is on", because=str(error), file=str(self._path))
        else:
            log.critical("FAILPOINTS", failpoints=text.strip(), seed=self._plan.seed, file=str(self._path))


_plan: _Plan | _FilePlan | None = None
_connections: Final[WeakSet[Cuttable]] = WeakSet()


def switch_on(environment: Mapping[str, str]) -> None:
    """Switches on what $REAR_FAILPOINTS names, and says so loudly; off where there is no such variable.

    Raises BadFailpoints, naming the points and actions that there are.
    """
    global _plan
    _plan = None
    text = environment.get(VARIABLE, "").strip()
    if text.startswith("@"):
        _plan = _FilePlan(Path(text[1:]))
        log.critical("FAILPOINTS ARE ON: this process fails on purpose", file=text[1:])
    elif text:
        _plan = _Plan(text)
        log.critical("FAILPOINTS ARE ON: this process fails on purpose", failpoints=text, seed=_plan.seed)


def reach(point: str) -> None:
    """The process has come to a point of POINTS."""
    if _plan is not None:
        _plan.reach(point)


def reaching(point: str) -> Callable[[], None] | None:
    """What calls `reach` with that point; None where nothing is on, so that getting there need not be noticed."""
    plan = _plan
    return None if plan is None else lambda: plan.reach(point)


def can_be_cut(connection: Cuttable) -> None:
    """Makes a connection known to the action `cut`, for as long as somebody holds it."""
    _connections.add(connection)


def _act(failpoint: _Failpoint) -> None:
    match failpoint.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "cut":
            for connection in list(_connections):
                connection.cut()
        case _:
            time.sleep(failpoint.seconds)
