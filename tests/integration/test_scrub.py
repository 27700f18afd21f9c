"""The scrub finds what does not hash and what is lost, wherever it stands, and goes on after it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rear.ledger.chain import GENESIS, link
from rear.ledger.client import frame
from rear.ledger.connection import Connection
from rear.ledger.message import Outgoing, Stored
from rear.ledger.scrub import Pace, Scrub
from rear.ledger.scrub_record import Damage, Flaw, ScrubRecord, read_scrub, write_scrub
from rear.ledger.stream import EventStream
from tests.waiting import eventually

FAST = Pace(rate=1_000_000, rest=3_600)
LENGTH = 450


def chain(count: int) -> list[Outgoing]:
    messages, previous = [], GENESIS
    for number in range(1, count + 1):
        subject, payload = f"t.thing.{number % 7}", f"event {number}".encode()
        previous = link(previous, subject, payload)
        messages.append(Outgoing(subject, payload, previous))
    return messages


class Rotten(EventStream):
    """A stream of which some events are read with other bytes than were written."""

    altered: Iterable[int] = ()

    async def part(self, start: int, end: int) -> list[Stored]:
        found = await super().part(start, end)
        return [replace(one, payload=one.payload + b"?") if one.sequence in self.altered else one for one in found]


async def ask(connection: Connection, call: str, body: object) -> None:
    client = await connection.client(5)
    payload = json.dumps(body).encode()
    _, answer = await client.request_one(lambda reply: frame(f"$JS.API.{call}", reply, b"", payload))
    assert "error" not in json.loads(answer), answer


@pytest.fixture
async def rotten(connection: Connection) -> Rotten:
    """A chain of events on a stream that lets events be taken out."""
    config = {"name": "ROTTEN", "subjects": ["t.>"], "allow_direct": True, "allow_atomic": True}
    await ask(connection, "STREAM.CREATE.ROTTEN", config)
    stream = Rotten(connection, "ROTTEN", ["t.>"])
    await stream.append(chain(LENGTH), 0, timeout=5)
    return stream


async def lose(stream: Rotten, *sequences: int) -> None:
    for sequence in sequences:
        await ask(stream._connection, "STREAM.MSG.DELETE.ROTTEN", {"seq": sequence, "no_erase": True})


def scrub(stream: EventStream, folder: Path, pace: Pace = FAST, tip: int = LENGTH, log_id: str = "log") -> Scrub:
    return Scrub(stream, folder / "scrub.json", log_id, lambda: tip, pace)


LOST, WRONG = Flaw.LOST, Flaw.DOES_NOT_HASH


async def test_a_whole_ledger_has_no_damage(rotten: Rotten, tmp_path: Path) -> None:
    whole = scrub(rotten, tmp_path)
    await whole.once()

    assert whole.trouble is None
    assert (whole.record.sequence, whole.record.proved, whole.record.damage) == (0, LENGTH, ())
    assert whole.record.finished is not None
    assert read_scrub(tmp_path / "scrub.json") == whole.record


@pytest.mark.parametrize(
    ("altered", "lost", "found"),
    [
        ([1], [], [Damage(1, 1, WRONG)]),
        ([LENGTH], [], [Damage(LENGTH, LENGTH, WRONG)]),
        ([100, 101], [], [Damage(100, 101, WRONG)]),
        ([7, 300], [], [Damage(7, 7, WRONG), Damage(300, 300, WRONG)]),
        ([], [1], [Damage(1, 1, LOST)]),
        ([], [230], [Damage(230, 230, LOST)]),
        ([], [100, 101], [Damage(100, 101, LOST)]),
        ([], range(90, 311), [Damage(90, 310, LOST)]),
        ([], [LENGTH - 1], [Damage(LENGTH - 1, LENGTH - 1, LOST)]),
        ([20], [10, 30], [Damage(10, 10, LOST), Damage(20, 20, WRONG), Damage(30, 30, LOST)]),
    ],
)
async def test_each_damage_is_found_where_it_is(
    rotten: Rotten, tmp_path: Path, altered: list[int], lost: Iterable[int], found: list[Damage]
) -> None:
    rotten.altered = altered
    await lose(rotten, *lost)
    damaged = scrub(rotten, tmp_path)
    with capture_logs() as logs:
        await damaged.once()

    assert list(damaged.record.damage) == found
    assert damaged.trouble is not None
    assert f"damaged at {found[0]}" in damaged.trouble
    errors = [log for log in logs if log["log_level"] == "error"]
    assert {log["position"] for log in errors} >= {one.first for one in found}

    with capture_logs() as logs:  # known by now
        await damaged.once()
    assert list(damaged.record.damage) == found
    assert not [log for log in logs if log["log_level"] == "error"]


async def test_the_end_that_is_lost_is_found_too(rotten: Rotten, tmp_path: Path) -> None:
    """As after a cut of the store that the anchor's check at the next connect would refuse."""
    damaged = scrub(rotten, tmp_path, tip=LENGTH + 50)
    await damaged.once()
    assert damaged.record.damage == (Damage(LENGTH + 1, LENGTH + 50, LOST),)


async def test_what_was_restored_is_damage_no_more(rotten: Rotten, tmp_path: Path) -> None:
    rotten.altered = [5, 250]
    await scrub(rotten, tmp_path).once()
    rotten.altered = [250]
    restored = scrub(rotten, tmp_path)
    assert [one.first for one in restored.record.damage] == [5, 250]
    await restored.once()
    assert restored.record.damage == (Damage(250, 250, WRONG),)


async def test_it_goes_on_where_it_was(rotten: Rotten, tmp_path: Path) -> None:
    at = 200
    record = ScrubRecord("log", at, chain(at)[-1].hash, damage=(Damage(3, 3, WRONG),))
    write_scrub(tmp_path / "scrub.json", record)
    resumed = scrub(rotten, tmp_path)
    await resumed._resume()
    assert resumed.record == record
    await resumed.once()
    assert resumed.record.damage == (Damage(3, 3, WRONG),)  # not read again yet
    assert resumed.record.proved == LENGTH


@pytest.mark.parametrize("record", [ScrubRecord("log", 200, "ab" * 32), ScrubRecord("log", LENGTH + 9, "ab" * 32)])
async def test_where_the_ledger_is_another_one_now_it_begins_anew(
    rotten: Rotten, tmp_path: Path, record: ScrubRecord
) -> None:
    write_scrub(tmp_path / "scrub.json", record)
    resumed = scrub(rotten, tmp_path)
    await resumed._resume()
    assert (resumed.record.sequence, resumed.record.hash) == (0, GENESIS)


@pytest.mark.parametrize("content", ["", "{}", "null", '{"log_id": "other"}', "\x00"])
async def test_a_record_that_says_nothing_is_no_obstacle(rotten: Rotten, tmp_path: Path, content: str) -> None:
    (tmp_path / "scrub.json").write_text(content)
    assert scrub(rotten, tmp_path).record == ScrubRecord("log")


async def test_the_record_of_another_ledger_is_not_used(rotten: Rotten, tmp_path: Path) -> None:
    await scrub(rotten, tmp_path, log_id="other").once()
    assert scrub(rotten, tmp_path).record == ScrubRecord("log")


async def test_it_keeps_its_pace(rotten: Rotten, tmp_path: Path) -> None:
    began = time.monotonic()
    await scrub(rotten, tmp_path, Pace(rate=1_500)).once()
    assert time.monotonic() - began >= LENGTH / 1_500


async def test_in_the_background_it_reads_again_and_again(rotten: Rotten, tmp_path: Path) -> None:
    background = scrub(rotten, tmp_path, Pace(rate=100_000, rest=0.1))
    background.start()
    await eventually(lambda: background.record.finished is not None)
    rotten.altered = [250]
    await eventually(lambda: background.trouble is not None)
    await background.stop()
    known = read_scrub(tmp_path / "scrub.json")
    assert known is not None
    assert known.damage == (Damage(250, 250, WRONG),)


async def test_one_that_a_fault_of_its_own_ended_says_so_and_can_be_stopped(
    rotten: Rotten, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(start: int, end: int) -> list[Stored]:
        raise ValueError("not foreseen")

    monkeypatch.setattr(rotten, "part", fault)
    background = scrub(rotten, tmp_path)
    background.start()
    await eventually(lambda: "not foreseen" in (background.trouble or ""))
    await background.stop()


async def test_after_a_whole_reading_it_rests(rotten: Rotten, tmp_path: Path) -> None:
    await scrub(rotten, tmp_path).once()
    rested = scrub(rotten, tmp_path)
    before = rested.record
    rested.start()
    await asyncio.sleep(0.2)
    await rested.stop()
    assert rested.record == before


async def test_a_rate_of_nothing_reads_nothing(rotten: Rotten, tmp_path: Path) -> None:
    switched_off = scrub(rotten, tmp_path, Pace(rate=0))
    switched_off.start()
    await switched_off.stop()
    assert not (tmp_path / "scrub.json").exists()
