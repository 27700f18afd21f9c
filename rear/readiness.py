"""Whether a service is ready and, where it is not, why: named conditions that are looked at again and again.

Parts know for themselves what is wrong with them; this gathers it, remembers since when, tells health of it, and logs
what changes. The last `report` is an immutable value, which another thread may read while the loop is busy.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import Final, TypeVar

import structlog

from rear.background import end

T = TypeVar("T")

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 0.25
"""Seconds between looks at the conditions."""

NUMBER: Final = re.compile(r"\d+")

Why = Callable[[], str | None]
"""Says why a condition does not hold; None while it does. Called on the loop, often; must not block."""


class Role(StrEnum):
    """What a service is to its ledger just now."""

    STARTING = "starting"
    WRITER = "writer"
    STANDBY = "standby"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Reason:
    """A condition that does not hold: its name, why, and since when."""

    what: str
    why: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What was seen at one look. `warnings` are found and do not keep the service from serving.

    `seen` is when, on the monotonic clock, in seconds.
    """

    role: Role
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]
    facts: Mapping[str, str | int]
    seen: float = field(default_factory=monotonic)

    @property
    def ready(self) -> bool:
        """Whether requests can be served."""
        return not self.reasons


class Readiness:
    """The conditions of one service. `require` what serving needs, `warn` of what an operator should know."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._role = Role.STARTING
        self._doing = ""
        self._required: dict[str, Why] = {"service": self._serves}
        self._warned: dict[str, Why] = {}
        self._facts: dict[str, Callable[[], str | int]] = {}
        self._since: dict[tuple[str, bool], datetime] = {}
        self._logged: tuple[str, ...] = ()
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.late: Callable[[float], None] | None = None
        """Told at each look by how many seconds the loop came late to it."""
        self.report: Report = self.look()
        """What was seen last."""

    def become(self, role: Role, doing: str = "") -> None:
        """Takes on a role; of one that does not serve, `doing` says what keeps it."""
        self._role, self._doing = role, doing
        self._moved.set()

    def require(self, what: str, why: Why) -> None:
        """Makes a condition part of being ready. A name that is there already is replaced."""
        self._required[what] = why
        self._moved.set()

    def warn(self, what: str, why: Why) -> None:
        """Reports a condition that does not make the service unready. A name that is there already is replaced."""
        self._warned[what] = why
        self._moved.set()

    def drop(self, what: str) -> None:
        """Forgets a condition, a warning or a fact, whether it is there or not."""
        self._required.pop(what, None)
        self._warned.pop(what, None)
        self._facts.pop(what, None)
        self._moved.set()

    def tell(self, name: str, fact: Callable[[], str | int]) -> None:
        """Adds a fact to the reports: which position, which epoch."""
        self._facts[name] = fact

    def look(self) -> Report:
        """Looks at all conditions now."""
        self.report = Report(
            self._role,
            self._failing(self._required, "required"),
            self._failing(self._warned, "warned"),
            {name: _ask(fact) for name, fact in self._facts.items()},
        )
        return self.report

    def start(self, set_serving: Callable[[bool], Awaitable[None]]) -> None:
        """Begins to look; `set_serving` is told at first, and whenever being ready changes."""
        self._task = asyncio.get_running_loop().create_task(self._watch(set_serving), name="readiness")

    async def stop(self) -> None:
        """Looks no more."""
        await end(self._task)

    def _serves(self) -> str | None:
        if self._role is Role.STARTING:
            return f"it is starting: {self._doing}" if self._doing else "it is starting"
        if self._role is Role.STOPPING:
            return "it is shutting down"
        if self._role is Role.STANDBY:
            return f"it stands by: {self._doing}" if self._doing else "it stands by"
        return None

    def _failing(self, conditions: Mapping[str, Why], kind: str) -> tuple[Reason, ...]:
        failing = []
        for what, why in conditions.items():
            key = (what, kind == "required")
            because = _ask(why)
            if because is None:
                self._since.pop(key, None)
            else:
                failing.append(Reason(what, because, self._since.setdefault(key, self._now())))
        return tuple(failing)

    async def _watch(self, set_serving: Callable[[bool], Awaitable[None]]) -> None:
        told: bool | None = None
        loop = asyncio.get_running_loop()
        while True:
            report = self.look()
            self._log(report)
            if report.ready is not told:
                told = report.ready
                await set_serving(told)
            self._moved.clear()
            due = loop.time() + LOOK_EVERY
            try:
                async with asyncio.timeout_at(due):
                    await self._moved.wait()
            except TimeoutError:
                if self.late is not None:
                    self.late(max(0.0, loop.time() - due))

    def _log(self, report: Report) -> None:
        """Says what changed. A number that counts on is no change; to start and to stop are said elsewhere."""
        if report.role in (Role.STARTING, Role.STOPPING):
            return
        found = tuple(f"{one.what}: {NUMBER.sub('#', one.why)}" for one in (*report.reasons, *report.warnings))
        if found == self._logged:
            return
        before, self._logged = self._logged, found
        because = "; ".join(reason.why for reason in report.reasons)
        warnings = "; ".join(reason.why for reason in report.warnings)
        more = {"warnings": warnings} if warnings else {}
        if report.role is Role.STANDBY:
            log.info("standing by", because=because, **more)
        elif because:
            log.error("not ready", because=because, **more)
        elif warnings:
            log.warning("ready, with warnings", warnings=warnings)
        elif before:
            log.info("ready again")


def _ask(tells: Callable[[], T]) -> T | str:
    try:
        return tells()
    except Exception as error:  # what cannot be told must not hide the rest
        return f"cannot be told: {type(error).__name__}: {error}"
