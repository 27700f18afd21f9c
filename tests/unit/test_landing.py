"""For how long a writer takes what it saw of its ledger's end for granted: from when it asked, not when it heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rear.ledger import landing
from rear.ledger.connection import Connection, Endpoint
from rear.ledger.landing import Landing
from rear.ledger.stream import EventStream, Outgoing

LATE = 0.1


class Slow(EventStream):
    """A stream that is at its end, and whose answers lie unread for a while."""

    def __init__(self) -> None:
        super().__init__(Connection(lambda: Endpoint(""), name="none"), "S", ["s"])
        self.late = 0.0

    async def tip(self) -> int:
        await asyncio.sleep(self.late)
        return 1

    async def append(self, messages: Sequence[Outgoing], expected_last: int, **_: object) -> int:
        await asyncio.sleep(self.late)
        return expected_last + len(messages)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr(landing, "STALE_AFTER", LATE / 2)
    return Slow()


@pytest.mark.parametrize(("late", "stale"), [(0.0, False), (LATE, True)])
async def test_a_look_counts_from_when_the_server_was_asked(slow: Slow, late: float, stale: bool) -> None:
    end = Landing(slow, 1, lambda: 1)
    slow.late = late
    end.doubt()
    await end.look()
    assert end.stale is stale


@pytest.mark.parametrize(("late", "stale"), [(0.0, False), (LATE, True)])
async def test_an_acknowledgement_counts_from_when_its_commit_was_sent(slow: Slow, late: float, stale: bool) -> None:
    end = Landing(slow, 1, lambda: 1)
    slow.late = late
    end.doubt()
    await end.land([Outgoing("s", b"x", "ab")])
    end.confirm()
    assert end.stale is stale
