"""Appends are guarded and atomic, and say what is known; reads are exact, and notice what is missing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from rear.ledger.client import LedgerClient, frame
from rear.ledger.connection import Connection
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.errors import (
    LedgerDamaged,
    LedgerError,
    LedgerUnavailable,
    OutcomeUnknown,
    TipConflict,
)
from rear.ledger.stream import MAX_BATCH, EventStream, Outgoing, Stored
from tests.interceptor import Interceptor
from tests.waiting import freeze


def messages(first: int, count: int, subject: str = "t.thing.{}", size: int = 20) -> list[Outgoing]:
    return [
        Outgoing(subject.format(number % 7), f"{number:0{size}}".encode(), f"{number:064x}")
        for number in range(first, first + count)
    ]


def as_stored(outgoing: Sequence[Outgoing], after: int = 0) -> list[tuple[int, str, bytes, str]]:
    return [(at, sent.subject, sent.payload, sent.hash) for at, sent in enumerate(outgoing, after + 1)]


def plain(stored: Sequence[Stored]) -> list[tuple[int, str, bytes, str]]:
    return [(item.sequence, item.subject, item.payload, item.hash) for item in stored]


async def everything(stream: EventStream, start: int = 1) -> list[Stored]:
    return [stored async for page in stream.pages(start) for stored in page]


@pytest.fixture
async def interceptor(embedded: EmbeddedServer) -> AsyncIterator[Interceptor]:
    async with Interceptor(embedded.endpoint) as interceptor:
        yield interceptor


@pytest.fixture
async def far(interceptor: Interceptor, stream: EventStream) -> AsyncIterator[EventStream]:
    """The same stream as `stream`, through the interceptor."""
    connection = Connection(lambda: interceptor.endpoint, name="far")
    await connection.open(10)
    yield EventStream(connection, stream.name, ["t.>"])
    await connection.close()


async def ask(connection: Connection, call: str, body: object = None) -> dict[str, object]:
    client = await connection.client(5)
    payload = json.dumps(body).encode() if body is not None else b""
    _, answer = await client.request_one(lambda reply: frame(f"$JS.API.{call}", reply, b"", payload))
    found: dict[str, object] = json.loads(answer)
    return found


@pytest.fixture
async def lossy(connection: Connection) -> EventStream:
    """A stream that lets messages be deleted, which `ensure` would refuse."""
    config = {"name": "LOSSY", "subjects": ["t.>"], "allow_direct": True, "allow_atomic": True}
    assert "error" not in await ask(connection, "STREAM.CREATE.LOSSY", config)
    return EventStream(connection, "LOSSY", ["t.>"])


async def lose(connection: Connection, *sequences: int) -> None:
    for sequence in sequences:
        answer = await ask(connection, "STREAM.MSG.DELETE.LOSSY", {"seq": sequence, "no_erase": True})
        assert answer["success"] is True


class TestSettings:
    async def test_the_stream_is_made_as_a_ledger_needs_it(self, connection: Connection, stream: EventStream) -> None:
        config = (await ask(connection, "STREAM.INFO.TEST"))["config"]
        assert isinstance(config, dict)
        assert config["storage"] == "file"
        assert config["discard"] == "new"
        assert config["retention"] == "limits"
        assert config["max_age"] == 0
        for name in ("deny_delete", "deny_purge", "allow_direct", "allow_atomic"):
            assert config[name] is True

    async def test_ensuring_it_again_changes_nothing(self, stream: EventStream) -> None:
        await stream.append(messages(1, 3), 0, timeout=5)
        await stream.ensure()
        assert await stream.tip() == 3

    async def test_two_may_ensure_it_at_once(self, connection: Connection) -> None:
        streams = [EventStream(connection, "BOTH", ["both.>"]) for _ in range(4)]
        await asyncio.gather(*(stream.ensure() for stream in streams))

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("deny_delete", False),
            ("deny_purge", False),
            ("discard", "old"),
            ("storage", "memory"),
            ("allow_atomic", False),
            ("allow_direct", False),
            ("max_age", 3_600_000_000_000),
            ("max_msgs", 10),
            ("retention", "interest"),
            ("allow_msg_ttl", True),
            ("subjects", ["u.>"]),
            ("no_ack", True),
        ],
    )
    async def test_a_stream_that_could_lose_events_is_refused(
        self, connection: Connection, setting: str, value: object
    ) -> None:
        config = {
            "name": "OTHER",
            "subjects": ["t.>"],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "deny_delete": True,
            "deny_purge": True,
            "allow_direct": True,
            "allow_atomic": True,
            "num_replicas": 1,
            setting: value,
        }
        assert "error" not in await ask(connection, "STREAM.CREATE.OTHER", config)
        with pytest.raises(LedgerError, match=setting):
            await EventStream(connection, "OTHER", ["t.>"]).ensure()

    async def test_subjects_of_another_stream_are_refused(self, connection: Connection, stream: EventStream) -> None:
        with pytest.raises(LedgerError, match="refuses to create"):
            await EventStream(connection, "OTHER", ["t.more"]).ensure()

    async def test_a_stream_that_is_gone_is_damage(self, connection: Connection) -> None:
        with pytest.raises(LedgerDamaged, match="NOWHERE"):
            await EventStream(connection, "NOWHERE", ["t.>"]).tip()


class TestAppend:
    @pytest.mark.parametrize("count", [1, 2, 200, MAX_BATCH])
    async def test_what_was_appended_is_read_back_in_order(self, stream: EventStream, count: int) -> None:
        first, second = messages(1, count), messages(count + 1, count)
        assert await stream.append(first, 0, timeout=10) == count
        assert await stream.append(second, count, timeout=10) == 2 * count
        assert plain(await everything(stream)) == as_stored([*first, *second])

    @pytest.mark.parametrize("count", [1, 5])
    @pytest.mark.parametrize("believed", [0, 2, 4, 1_000])
    async def test_a_wrong_tip_is_a_conflict_and_writes_nothing(
        self, stream: EventStream, count: int, believed: int
    ) -> None:
        await stream.append(messages(1, 3), 0, timeout=5)
        with pytest.raises(TipConflict, match="wrong last sequence"):
            await stream.append(messages(4, count), believed, timeout=5)
        assert await stream.tip() == 3

    async def test_one_of_many_at_the_same_tip_wins(self, stream: EventStream) -> None:
        results = await asyncio.gather(
            *(stream.append(messages(100 * n, 1 + n % 4), 0, timeout=10) for n in range(12)),
            return_exceptions=True,
        )
        won = [n for n, result in enumerate(results) if isinstance(result, int)]
        assert len(won) == 1
        assert all(isinstance(result, TipConflict) for n, result in enumerate(results) if n != won[0])
        assert plain(await everything(stream)) == as_stored(messages(100 * won[0], 1 + won[0] % 4))

    async def test_of_a_batch_nobody_reads_a_part(self, stream: EventStream) -> None:
        """The server's own state does show the middle of a batch while it is being stored."""
        size, rounds = 250, 12
        seen: set[int] = set()
        writing = True

        async def look() -> None:
            while writing:
                last = await stream.last()
                assert last is None or last.ends_commit
                found = [stored.sequence async for page in stream.pages(1, page=300) for stored in page]
                seen.update({last.sequence if last else 0, len(found), await stream.tip()})

        looking = asyncio.create_task(look())
        for number in range(rounds):
            await stream.append(messages(1, size), number * size, timeout=10)
        writing = False
        await looking
        assert len(seen) > 2
        assert {sequence % size for sequence in seen} == {0}

    async def test_a_state_from_inside_of_a_batch_is_followed_to_its_end(
        self, stream: EventStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await stream.append(messages(1, 10), 0, timeout=5)
        await stream.append(messages(11, 10), 10, timeout=5)

        async def early() -> dict[str, object]:
            return {"state": {"last_seq": 4}}

        monkeypatch.setattr(stream, "_info", early)
        assert await stream.tip() == 10
        last = await stream.last()
        assert last is not None
        assert last.sequence == 10

    async def test_the_same_batch_sent_twice_lands_once(self, stream: EventStream) -> None:
        batch = messages(1, 10)
        assert await stream.append(batch, 0, timeout=5) == 10
        with pytest.raises(TipConflict):
            await stream.append(batch, 0, timeout=5)
        assert plain(await everything(stream)) == as_stored(batch)

    async def test_only_the_last_of_a_commit_ends_it(self, stream: EventStream) -> None:
        await stream.append(messages(1, 1), 0, timeout=5)
        await stream.append(messages(2, 3), 1, timeout=5)
        assert [stored.ends_commit for stored in await everything(stream)] == [True, False, False, True]
        second, fourth = await stream.get(2), await stream.get(4)
        assert second is not None
        assert fourth is not None
        assert (second.ends_commit, fourth.ends_commit) == (False, True)

    async def test_empty_and_binary_payloads_come_back(self, stream: EventStream) -> None:
        sent = [
            Outgoing("t.empty", b"", "a" * 64),
            Outgoing("t.crlf", b"\r\n\r\nPING\r\n+OK\r\n", "b" * 64),
            Outgoing("t.bytes", bytes(range(256)) * 40, "c" * 64),
            Outgoing("t.naïve", "ü".encode(), "d" * 64),
        ]
        await stream.append(sent, 0, timeout=5)
        assert plain(await everything(stream)) == as_stored(sent)

    @pytest.mark.parametrize(
        "bad",
        [
            Outgoing("t.a b", b"", "a" * 64),
            Outgoing("t.a\r\nPUB t.x  1", b"", "a" * 64),
            Outgoing("t.*", b"", "a" * 64),
            Outgoing("t.>", b"", "a" * 64),
            Outgoing("t..x", b"", "a" * 64),
            Outgoing("", b"", "a" * 64),
            Outgoing("t.x", b"", ""),
            Outgoing("t.x", b"", "a\r\nNats-Rollup: all"),
            Outgoing("t.x", b"x" * (1 << 20), "a" * 64),
        ],
    )
    @pytest.mark.parametrize("others", [0, 2])
    async def test_what_the_protocol_cannot_carry_is_refused_before_anything_is_sent(
        self, stream: EventStream, connection: Connection, bad: Outgoing, others: int
    ) -> None:
        with pytest.raises(ValueError):  # noqa: PT011
            await stream.append([*messages(1, others), bad], 0, timeout=5)
        assert await stream.tip() == 0
        assert connection.generation == 1

    @pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
    async def test_a_batch_of_the_wrong_length_is_refused(self, stream: EventStream, count: int) -> None:
        with pytest.raises(ValueError, match="1 to 1000"):
            await stream.append(messages(1, count), 0, timeout=5)

    async def test_a_subject_of_no_stream_writes_nothing(self, connection: Connection, stream: EventStream) -> None:
        with pytest.raises(LedgerUnavailable, match="nobody takes"):
            await stream.append(messages(1, 1, "elsewhere.{}"), 0, timeout=5)
        with pytest.raises(LedgerUnavailable, match="nobody takes"):
            await stream.append(messages(1, 3, "elsewhere.{}"), 0, timeout=5)
        assert await stream.tip() == 0

    async def test_a_batch_with_a_message_gone_astray_writes_nothing(self, stream: EventStream) -> None:
        batch = messages(1, 5)
        batch[2] = Outgoing("elsewhere.x", b"", "a" * 64)
        with pytest.raises(LedgerUnavailable, match="incomplete"):
            await stream.append(batch, 0, timeout=5)
        assert await stream.tip() == 0


class TestLostAcknowledgement:
    @pytest.mark.parametrize("count", [1, 50])
    async def test_an_answer_that_does_not_come_is_an_unknown_outcome(
        self, stream: EventStream, far: EventStream, interceptor: Interceptor, count: int
    ) -> None:
        batch = messages(1, count)
        interceptor.mute = True
        with pytest.raises(OutcomeUnknown, match="no acknowledgement"):
            await far.append(batch, 0, timeout=0.5)
        # It did land: which is what nobody could know.
        assert plain(await everything(stream)) == as_stored(batch)
        interceptor.mute = False
        with pytest.raises(TipConflict):
            await far.append(batch, 0, timeout=5)

    @pytest.mark.parametrize("count", [1, 50])
    async def test_a_cut_is_noticed_at_once(
        self, stream: EventStream, far: EventStream, interceptor: Interceptor, count: int
    ) -> None:
        interceptor.mute = interceptor.cut_on_answer = True
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="lost"):
            await far.append(messages(1, count), 0, timeout=30)
        assert time.monotonic() - began < 10
        assert await stream.tip() == count
        interceptor.mute = False
        assert await far.append(messages(1, 2), count, timeout=10) == count + 2

    async def test_a_late_answer_is_not_taken_for_another_ones(
        self, embedded: EmbeddedServer, stream: EventStream
    ) -> None:
        pid = embedded.pid
        assert pid is not None
        await freeze(pid)
        with pytest.raises(OutcomeUnknown):
            await stream.append(messages(1, 1), 0, timeout=0.1)
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(TipConflict):
            await stream.append(messages(1, 3), 0, timeout=5)
        assert await stream.append(messages(2, 3), 1, timeout=5) == 4

    async def test_a_cancelled_append_leaves_the_connection_usable(self, stream: EventStream) -> None:
        appending = asyncio.create_task(stream.append(messages(1, 500), 0, timeout=5))
        await asyncio.sleep(0)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        tip = await stream.tip()
        while True:
            try:
                assert await stream.append(messages(1, 1), tip, timeout=5) == tip + 1
                break
            except TipConflict:
                tip = await stream.tip()


class TestReading:
    async def test_an_empty_stream_has_nothing(self, stream: EventStream) -> None:
        assert await stream.tip() == 0
        assert await stream.last() is None
        assert await stream.get(1) is None
        assert await everything(stream) == []

    async def test_one_message_by_its_sequence(self, stream: EventStream) -> None:
        sent = messages(1, 5)
        await stream.append(sent, 0, timeout=5)
        for at in range(1, 6):
            found = await stream.get(at)
            assert found is not None
            assert plain([found]) == [as_stored(sent)[at - 1]]
        for at in (-1, 0, 6, 1_000):
            assert await stream.get(at) is None
        last = await stream.last()
        assert last is not None
        assert last.sequence == 5

    async def test_pages_over_2500_messages(self, stream: EventStream) -> None:
        sent = messages(1, 2_500)
        for at in range(0, 2_500, 500):
            await stream.append(sent[at : at + 500], at, timeout=10)
        pages = [page async for page in stream.pages(1)]
        assert [len(page) for page in pages] == [1000, 1000, 500]
        assert plain([stored for page in pages for stored in page]) == as_stored(sent)
        pages = [page async for page in stream.pages(1_001, page=700)]
        assert [page[0].sequence for page in pages] == [1_001, 1_701, 2_401]
        assert [page[0].sequence async for page in stream.pages(2_501)] == []

    @pytest.mark.parametrize(("start", "end"), [(1, 1), (3, 7), (5, 4), (0, 3), (8, 99), (10, 10)])
    async def test_pages_stop_at_their_end(self, stream: EventStream, start: int, end: int) -> None:
        await stream.append(messages(1, 10), 0, timeout=5)
        found = [stored.sequence async for page in stream.pages(start, end=end, page=2) for stored in page]
        assert found == list(range(max(start, 1), min(end, 10) + 1))

    async def test_pages_stop_at_the_tip_as_it_was(self, stream: EventStream) -> None:
        await stream.append(messages(1, 6), 0, timeout=5)
        found: list[int] = []
        async for page in stream.pages(1, page=2):
            found += [stored.sequence for stored in page]
            await stream.append(messages(1, 4), await stream.tip(), timeout=5)
        assert found == [1, 2, 3, 4, 5, 6]

    async def test_pages_of_large_messages(self, stream: EventStream) -> None:
        sent = messages(1, 40, size=900_000)
        for at in range(0, 40, 8):
            await stream.append(sent[at : at + 8], at, timeout=20)
        pages = [page async for page in stream.pages(1)]
        assert len(pages) > 1
        assert plain([stored for page in pages for stored in page]) == as_stored(sent)

    @pytest.mark.parametrize("page", [1, 3, 1000])
    async def test_pages_of_one_subject(self, stream: EventStream, page: int) -> None:
        sent = messages(1, 60)
        await stream.append(sent, 0, timeout=5)
        found = [stored async for found in stream.pages(5, subject="t.thing.3", page=page) for stored in found]
        wanted = [item for item in as_stored(sent) if item[1] == "t.thing.3" and item[0] >= 5]
        assert plain(found) == wanted
        bounded = [stored async for found in stream.pages(5, end=31, subject="t.*.3", page=page) for stored in found]
        assert plain(bounded) == [item for item in wanted if item[0] <= 31]
        assert [found async for found in stream.pages(1, subject="t.nothing", page=page)] == []

    async def test_a_missing_message_is_damage_and_named(self, connection: Connection, lossy: EventStream) -> None:
        stream = lossy
        await stream.append(messages(1, 10), 0, timeout=5)
        await lose(connection, 4, 7)
        pages = stream.pages(1)
        assert [stored.sequence for stored in await anext(pages)] == [1, 2, 3]
        with pytest.raises(LedgerDamaged, match="message 4 is missing"):
            await anext(pages)
        with pytest.raises(LedgerDamaged, match="message 7 is missing"):
            await anext(stream.pages(7))
        assert await stream.get(4) is None
        assert [stored.sequence async for page in stream.pages(5, end=6) for stored in page] == [5, 6]

    async def test_a_missing_last_message_is_damage(self, connection: Connection, lossy: EventStream) -> None:
        stream = lossy
        await stream.append(messages(1, 3), 0, timeout=5)
        await lose(connection, 3)
        with pytest.raises(LedgerDamaged, match="message 3 is missing"):
            await stream.last()
        with pytest.raises(LedgerDamaged, match="message 3 is missing"):
            await everything(stream, 2)

    async def test_a_flipped_bit_in_the_store_is_noticed(self, tmp_path: Path) -> None:
        server = EmbeddedServer(tmp_path / "flipped")
        connection = Connection(lambda: server.endpoint, name="test")
        stream = EventStream(connection, "TEST", ["t.>"])
        async with server:
            await connection.open(10)
            await stream.ensure()
            await stream.append(messages(1, 1_000), 0, timeout=5)
            await connection.close()
        block = next((tmp_path / "flipped").glob("store/jetstream/*/streams/TEST/msgs/1.blk"))
        content = bytearray(block.read_bytes())
        content[content.index(b"%020d" % 500) + 3] ^= 1
        block.write_bytes(content)
        async with server:
            await connection.open(10)
            # Either what is left is shorter than what the anchor knows, or the gap shows.
            if await stream.tip() >= 1_000:
                with pytest.raises(LedgerDamaged):
                    await everything(stream)
            await connection.close()

    async def test_a_message_without_our_header_has_no_hash(self, connection: Connection, stream: EventStream) -> None:
        client: LedgerClient = await connection.client(5)
        await client.request_one(lambda reply: frame("t.foreign", reply, b"", b"hello"))
        found = await stream.get(1)
        assert found is not None
        assert (found.payload, found.hash, found.ends_commit) == (b"hello", "", True)

    async def test_reads_without_a_server_say_so(
        self, embedded: EmbeddedServer, stream: EventStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rear.ledger.stream.READ_TIMEOUT", 0.5)
        await stream.append(messages(1, 100), 0, timeout=5)
        pages = stream.pages(1, page=10)
        assert len(await anext(pages)) == 10
        await embedded.stop()
        with pytest.raises(LedgerUnavailable):
            await anext(pages)
