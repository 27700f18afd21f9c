"""Readiness: what is wrong is named, with why and since when, and said once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from rear.readiness import Readiness, Role
from tests.waiting import eventually


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 21, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


def serving(**conditions: str | None) -> Readiness:
    """A writer with conditions that fail for what is given."""
    readiness = Readiness(now=Clock())
    readiness.become(Role.WRITER)
    for what, why in conditions.items():
        readiness.require(what, lambda why=why: why)  # type: ignore[misc]
    return readiness


@pytest.mark.parametrize(
    ("role", "why"),
    [
        (Role.STARTING, "it is starting: reading"),
        (Role.STANDBY, "it stands by: reading"),
        (Role.STOPPING, "it is shutting down"),
    ],
)
def test_a_service_that_does_not_serve_says_what_it_does(role: Role, why: str) -> None:
    readiness = Readiness()
    readiness.become(role, "reading")
    report = readiness.look()
    assert not report.ready
    assert [(reason.what, reason.why) for reason in report.reasons] == [("service", why)]


def test_every_condition_that_fails_is_named() -> None:
    report = serving(disk="full", clock=None, ledger="gone").look()
    assert not report.ready
    assert [(reason.what, reason.why) for reason in report.reasons] == [("disk", "full"), ("ledger", "gone")]


def test_a_warning_is_reported_and_the_service_stays_ready() -> None:
    readiness = serving()
    readiness.warn("scrub", lambda: "the event at 7 does not hash")
    report = readiness.look()
    assert report.ready
    assert [warning.what for warning in report.warnings] == ["scrub"]


def test_since_is_when_it_began_and_begins_anew_after_it_was_well() -> None:
    readiness = Readiness(now=Clock())
    readiness.become(Role.WRITER)
    trouble: str | None = "full"
    readiness.require("disk", lambda: trouble)
    first = readiness.look().reasons[0].since
    trouble = "still full"
    assert readiness.look().reasons[0].since == first
    trouble = None
    assert readiness.look().ready
    trouble = "full"
    assert readiness.look().reasons[0].since > first


def test_a_condition_that_cannot_be_told_is_a_reason_and_hides_no_other() -> None:
    readiness = serving()

    def broken() -> str | None:
        raise ValueError("no such table")

    readiness.require("tables", broken)
    readiness.require("disk", lambda: "full")
    assert [reason.why for reason in readiness.look().reasons] == ["cannot be told: ValueError: no such table", "full"]


def test_a_condition_that_is_dropped_no_longer_counts() -> None:
    readiness = serving(disk="full")
    readiness.drop("disk")
    readiness.drop("what was never there")
    assert readiness.look().ready


async def test_health_is_told_at_first_and_when_it_changes_only() -> None:
    told: list[bool] = []

    async def set_serving(serving: bool) -> None:
        told.append(serving)

    readiness = Readiness()
    readiness.start(set_serving)
    try:
        await eventually(lambda: told == [False])
        readiness.become(Role.WRITER)
        await eventually(lambda: told == [False, True])
        readiness.warn("scrub", lambda: "damage")
        await eventually(lambda: bool(readiness.report.warnings))
        readiness.require("disk", lambda: "full")
        await eventually(lambda: not readiness.report.ready)
    finally:
        await readiness.stop()
    assert told == [False, True, False]


async def test_a_change_is_logged_once_though_its_number_counts_on() -> None:
    async def set_serving(_: bool) -> None:
        return

    readiness = Readiness()
    behind = 0

    def clock() -> str | None:
        nonlocal behind
        behind += 1
        return f"the clock is {behind} s behind" if 3 < behind < 10 else None

    with capture_logs() as logs:
        readiness.become(Role.WRITER)
        readiness.require("clock", clock)
        readiness.start(set_serving)
        try:
            for _ in range(12):
                seen = readiness.report
                readiness.become(Role.WRITER)
                await eventually(lambda seen=seen: readiness.report is not seen)  # type: ignore[misc]
        finally:
            await readiness.stop()
    assert [(line["event"], line.get("because")) for line in logs] == [
        ("not ready", "the clock is 4 s behind"),
        ("ready again", None),
    ]


async def test_a_fact_that_cannot_be_told_does_not_end_the_looking() -> None:
    readiness, told = serving(), list[bool]()

    async def tell(serves: bool) -> None:
        told.append(serves)

    def fails() -> str:
        raise KeyError("position")

    readiness.tell("position", fails)
    readiness.start(tell)
    await eventually(lambda: told == [True])
    readiness.require("ledger", lambda: "it is gone")
    await eventually(lambda: told == [True, False])
    assert "cannot be told" in str(readiness.report.facts["position"])
    await readiness.stop()
