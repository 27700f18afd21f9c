"""The persistence module, beyond what the library's own cases ask: outcomes, other writers, odd ids, limits."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment

from rear.ledger import stream as streams
from rear.ledger.connection import Endpoint
from rear.ledger.errors import OutcomeUnknown
from rear.ledger.stream import MAX_BATCH
from rear.persistence import JetStreamApplicationRecorder, JetStreamFactory, JetStreamProcessRecorder, records
from rear.persistence.stream import RecordStream
from tests.authority import Authority
from tests.interceptor import Interceptor
from tests.nats_servers import NatsCluster, PlainServer
from tests.waiting import eventually


class Makes:
    """Factories of one application, closed in the end."""

    def __init__(self, url: str) -> None:
        self.name = "App" + secrets.token_hex(4)
        self.url = url
        self._made: list[JetStreamFactory] = []

    def factory(self, **more: str) -> JetStreamFactory:
        env = Environment(self.name, {"JETSTREAM_URL": self.url, **more})
        self._made.append(JetStreamFactory(env))
        return self._made[-1]

    def recorder(self, **more: str) -> JetStreamApplicationRecorder:
        return self.factory(**more).application_recorder()

    def close(self) -> None:
        for factory in self._made:
            factory.close()


@pytest.fixture
def makes(plain_server: PlainServer) -> Iterator[Makes]:
    makes = Makes(plain_server.url)
    yield makes
    makes.close()


def event(key: UUID | str, version: int, state: bytes = b"state", topic: str = "topic") -> StoredEvent:
    return StoredEvent(key, version, topic, state)


def stack(key: UUID | str, count: int, first: int = 1) -> list[StoredEvent]:
    return [event(key, version) for version in range(first, first + count)]


ODD_IDS: list[UUID | str] = [
    uuid4(),
    str(uuid4()),
    "plain",
    "with.dots",
    "*",
    ">",
    "",
    "tracking",
    "a b\tc\r\nd",
    "=2E",
    ".",
    "élève ☃",
    "x" * 512,
]


class TestWhatComesBack:
    def test_each_id_is_itself_whatever_it_is_made_of(self, makes: Makes) -> None:
        recorder = makes.recorder()
        written = [event(key, 1, repr(key).encode()) for key in ODD_IDS]
        recorder.insert_events(written)
        for key, expected in zip(ODD_IDS, written, strict=True):
            found = recorder.select_events(key)
            assert found == [expected]
            assert type(found[0].originator_id) is type(key)
        assert [each.originator_id for each in recorder.select_notifications(1, 100)] == ODD_IDS

    @pytest.mark.parametrize("state", [b"", b"\n", b"\x00\xff\r\n\n", b"x" * 900_000])
    def test_the_state_is_byte_for_byte_what_was_given(self, makes: Makes, state: bytes) -> None:
        recorder = makes.recorder()
        recorder.insert_events([event("a", 1, state, topic="module:Class.Évent")])
        assert recorder.select_events("a") == [event("a", 1, state, topic="module:Class.Évent")]

    def test_another_factory_finds_it(self, makes: Makes) -> None:
        makes.recorder().insert_events(stack("a", 3))
        assert makes.recorder().select_events("a", gt=1) == stack("a", 2, first=2)

    def test_events_and_snapshots_do_not_mix(self, makes: Makes) -> None:
        factory = makes.factory()
        factory.application_recorder().insert_events(stack("a", 2))
        factory.aggregate_recorder("snapshots").insert_events([event("a", 2, b"snapshot")])
        assert factory.aggregate_recorder("snapshots").select_events("a") == [event("a", 2, b"snapshot")]
        assert factory.application_recorder().max_notification_id() == 2

    def test_an_older_version_may_come_later_and_is_put_in_its_place(self, makes: Makes) -> None:
        """A snapshot of an older version, taken after one of a newer."""
        recorder = makes.factory().aggregate_recorder("snapshots")
        for version in (10, 4, 7):
            recorder.insert_events([event("a", version)])
        assert [each.originator_version for each in recorder.select_events("a")] == [4, 7, 10]
        assert recorder.select_events("a", desc=True, limit=1) == [event("a", 10)]
        assert recorder.select_events("a", lte=9, desc=True, limit=1) == [event("a", 7)]
        assert recorder.select_events("a", gt=5, limit=1) == [event("a", 7)]
        for taken in (4, 7, 10):
            with pytest.raises(IntegrityError, match=f"version {taken} of a"):
                recorder.insert_events([event("a", taken)])
        recorder.insert_events([event("a", 5)])
        assert [each.originator_version for each in recorder.select_events("a", desc=True)] == [10, 7, 5, 4]

    def test_what_is_newer_than_what_is_known_is_read_from_there(
        self, makes: Makes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder, other = makes.recorder(), makes.recorder()
        recorder.insert_events(stack("a", 5))
        other.insert_events(stack("a", 2, first=6))
        starts: list[int] = []
        pages = RecordStream.pages

        def noted(self: RecordStream, start: int, **more: object) -> object:
            starts.append(start)
            return pages(self, start, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(RecordStream, "pages", noted)
        assert recorder.select_events("a", gt=5) == stack("a", 2, first=6)
        assert recorder.select_events("a", gt=6) == [event("a", 7)]
        assert recorder.select_events("a", gt=7) == []
        assert starts == [6, 1, 8]


class TestOthers:
    def race(self, *inserts: tuple[JetStreamApplicationRecorder, list[StoredEvent]]) -> list[object]:
        """The state of the first event that each recorded, or why it was refused."""
        start = threading.Barrier(len(inserts))

        def insert(recorder: JetStreamApplicationRecorder, events: list[StoredEvent]) -> object:
            start.wait()
            try:
                recorder.insert_events(events)
            except IntegrityError as error:
                return error
            return events[0].state

        with ThreadPoolExecutor(len(inserts)) as threads:
            return [future.result() for future in [threads.submit(insert, *each) for each in inserts]]

    def test_of_two_that_record_the_same_version_one_is_refused(self, makes: Makes) -> None:
        first, second = makes.recorder(), makes.recorder()
        for version in range(1, 30):
            outcomes = self.race(
                (first, [event("shared", version, b"first"), event(uuid4(), 1)]),
                (second, [event("shared", version, b"second"), event(uuid4(), 1)]),
            )
            won = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
            assert len(won) == 1
            assert first.select_events("shared", gt=version - 1) == [event("shared", version, won[0])]
        # Whoever lost left nothing of its commit.
        assert first.max_notification_id() == 2 * 29

    def test_those_that_record_on_different_aggregates_never_meet(self, makes: Makes) -> None:
        recorders = [makes.recorder() for _ in range(3)]

        def work(number: int) -> list[int]:
            recorder, key = recorders[number % 3], f"aggregate-{number}"
            ids: list[int] = []
            for version in range(1, 21):
                ids += recorder.insert_events([event(key, version)]) or []
            return ids

        with ThreadPoolExecutor(6) as threads:
            ids = [each for found in threads.map(work, range(6)) for each in found]
        assert sorted(ids) == list(range(1, 121))

    def test_another_ones_events_reach_a_subscription(self, makes: Makes) -> None:
        reader, writer = makes.recorder(), makes.recorder()
        with reader.subscribe(gt=0, topics=["wanted"]) as subscription:
            writer.insert_events([event("a", 1), event("a", 2, topic="wanted")])
            assert next(subscription).id == 2

    def test_a_conflict_names_what_is_there_and_later_inserts_go_on(self, makes: Makes) -> None:
        recorder, other = makes.recorder(), makes.recorder()
        recorder.insert_events(stack("a", 2))
        other.insert_events(stack("a", 1, first=3))
        with pytest.raises(IntegrityError, match="version 3 of a is recorded already; nothing was recorded"):
            recorder.insert_events([event("b", 1), event("a", 3)])
        assert recorder.insert_events([event("b", 1), event("a", 4)]) == [4, 5]


class TestProcesses:
    def recorder(self, makes: Makes) -> JetStreamProcessRecorder:
        return makes.factory().process_recorder()

    def test_events_and_their_tracking_are_one_commit(self, makes: Makes) -> None:
        recorder = self.recorder(makes)
        recorder.insert_events(stack("a", 2), tracking=Tracking("up", 7))
        with pytest.raises(IntegrityError, match="up was tracked up to 7"):
            recorder.insert_events([event("a", 3)], tracking=Tracking("up", 7))
        with pytest.raises(IntegrityError, match="version 2 of a"):
            recorder.insert_events([event("a", 2)], tracking=Tracking("up", 8))
        assert recorder.max_tracking_id("up") == 7
        assert recorder.select_events("a") == stack("a", 2)

    def test_the_newest_notification_is_an_event(self, makes: Makes) -> None:
        """A follower that waits for the newest notification would wait for a tracking for ever."""
        recorder = self.recorder(makes)
        recorder.insert_tracking(Tracking("up", 1))
        assert recorder.max_notification_id() is None
        ids = recorder.insert_events(stack("a", 2), tracking=Tracking("up", 2))
        for place in (3, 4):
            recorder.insert_tracking(Tracking("up", place))
        assert ids is not None
        assert recorder.max_notification_id() == ids[-1]
        assert [each.id for each in recorder.select_notifications(1, 10)] == ids

    def test_of_two_that_process_the_same_notification_one_is_refused(self, makes: Makes) -> None:
        first, second = self.recorder(makes), self.recorder(makes)
        first.insert_events([event("a", 1)], tracking=Tracking("up", 1))
        with pytest.raises(IntegrityError):
            second.insert_events([event("b", 1)], tracking=Tracking("up", 1))
        assert second.select_events("b") == []


class TestWhatIsRefused:
    def refused(self, recorder: JetStreamApplicationRecorder) -> None:
        assert recorder.max_notification_id() is None

    def test_more_than_a_commit_holds(self, makes: Makes) -> None:
        recorder = makes.recorder()
        with pytest.raises(NotSupportedError, match="at most 1000"):
            recorder.insert_events(stack("a", MAX_BATCH + 1))
        self.refused(recorder)
        assert recorder.insert_events(stack("a", MAX_BATCH)) == list(range(1, MAX_BATCH + 1))

    def test_an_event_that_is_too_large(self, makes: Makes) -> None:
        recorder = makes.recorder()
        with pytest.raises(DataError, match="more than the server takes"):
            recorder.insert_events([event("a", 1), event("a", 2, b"x" * (1 << 20))])
        self.refused(recorder)

    def test_an_id_that_is_too_long(self, makes: Makes) -> None:
        recorder = makes.recorder()
        with pytest.raises(DataError, match="too long"):
            recorder.insert_events([event("é" * 300, 1)])
        self.refused(recorder)
        assert recorder.select_events("é" * 300) == []

    def test_a_stream_that_is_not_there_where_none_may_be_made(self, makes: Makes) -> None:
        with pytest.raises(ProgrammingError, match="is not there"):
            makes.recorder(CREATE_TABLE="no")

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("JETSTREAM_URL", ""),
            ("JETSTREAM_URL", "nats://user:secret@host:4222"),
            ("JETSTREAM_PASSWORD_FILE", "/nowhere/password"),
            ("JETSTREAM_REPLICAS", "many"),
            ("JETSTREAM_REPLICAS", "0"),
            ("JETSTREAM_TIMEOUT", "-1"),
            ("JETSTREAM_TIMEOUT", "nan"),
            ("JETSTREAM_CONNECT_TIMEOUT", "soon"),
            ("JETSTREAM_PREFIX", "a.b"),
            ("JETSTREAM_PREFIX", "rear"),
            ("JETSTREAM_TLS_CA", "/nowhere/ca.pem"),
        ],
    )
    def test_an_environment_that_is_wrong_and_names_the_variable(self, makes: Makes, variable: str, value: str) -> None:
        with pytest.raises(OSError, match=variable):
            makes.factory(**{variable: value})

    def test_a_name_that_cannot_be_a_streams(self, makes: Makes) -> None:
        makes.name = "bad name"
        with pytest.raises(OSError, match="'bad name' cannot be part of a stream's name"):
            makes.recorder()

    def test_anything_once_it_is_closed(self, makes: Makes) -> None:
        factory = makes.factory()
        recorder = factory.application_recorder()
        subscription = recorder.subscribe()
        factory.close()
        factory.close()
        with pytest.raises(InterfaceError, match="closed"):
            recorder.insert_events([event("a", 1)])
        with pytest.raises(StopIteration):
            next(subscription)
        with pytest.raises(InterfaceError, match="closed"):
            factory.application_recorder()


async def test_a_factory_that_nobody_holds_disconnects(makes: Makes) -> None:
    before = threading.active_count()
    recorder = JetStreamFactory(Environment(makes.name, {"JETSTREAM_URL": makes.url})).application_recorder()
    await asyncio.to_thread(recorder.insert_events, [event("a", 1)])
    threads = [thread for thread in threading.enumerate() if thread.name == "recorder"]
    assert threads
    del recorder
    gc.collect()
    await eventually(lambda: not any(thread.is_alive() for thread in threads))
    assert threading.active_count() <= before + 1  # the pool of to_thread


class TestOutcomes:
    """Whatever becomes of the connection and the server: recorded once, or an error that says so."""

    @pytest.fixture
    def far(self, makes: Makes) -> Iterator[Makes]:
        far = Makes("")
        far.name = makes.name
        yield far
        far.close()

    @pytest.mark.parametrize("count", [1, 3])
    async def test_a_connection_cut_before_the_answer_is_found_out(
        self, plain_server: PlainServer, makes: Makes, far: Makes, count: int
    ) -> None:
        async with Interceptor(Endpoint(plain_server.url)) as interceptor:
            far.url = interceptor.endpoint.url
            recorder = await asyncio.to_thread(far.recorder)
            await asyncio.to_thread(recorder.insert_events, stack("a", count))
            interceptor.mute, interceptor.cut_on_answer = True, True
            inserting = asyncio.create_task(
                asyncio.to_thread(recorder.insert_events, stack("a", count, first=count + 1))
            )
            await asyncio.wait_for(interceptor.answers_kept_back.wait(), 10)
            # It landed, and another one has gone on from it.
            near = await asyncio.to_thread(makes.recorder)
            await eventually(lambda: near.max_notification_id() == 2 * count)
            await asyncio.to_thread(near.insert_events, [event("a", 2 * count + 1)])
            interceptor.mute = interceptor.cut_on_answer = False
            assert await inserting == list(range(count + 1, 2 * count + 1))
            assert near.select_events("a") == stack("a", 2 * count + 1)
            await asyncio.to_thread(far.close)

    async def test_a_version_that_another_one_took_meanwhile_is_refused(
        self, plain_server: PlainServer, makes: Makes, far: Makes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The commit never reached the server, and then the other's stands there: it is not taken for ours."""
        recorder, other = await asyncio.to_thread(makes.recorder), await asyncio.to_thread(makes.recorder)
        await asyncio.to_thread(recorder.insert_events, stack("a", 1))
        append = RecordStream.append_guarded
        lost = False

        async def never_sent(self: RecordStream, *args: object, **more: object) -> int:
            nonlocal lost
            if not lost and self is recorder._records.stream:
                lost = True
                await asyncio.to_thread(other.insert_events, [event("a", 2, b"other")])
                raise OutcomeUnknown("the connection was lost")
            return await append(self, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(RecordStream, "append_guarded", never_sent)
        with pytest.raises(IntegrityError, match="version 2 of a"):
            await asyncio.to_thread(recorder.insert_events, stack("a", 2, first=2))
        assert other.select_events("a") == [event("a", 1), event("a", 2, b"other")]

    async def test_what_cannot_be_found_out_in_time_is_said_to_be_open(
        self, plain_server: PlainServer, far: Makes
    ) -> None:
        async with Interceptor(Endpoint(plain_server.url)) as interceptor:
            far.url = interceptor.endpoint.url
            recorder = await asyncio.to_thread(far.recorder, JETSTREAM_TIMEOUT="0.5")
            interceptor.mute = True
            with pytest.raises(OperationalError, match="whether the events were recorded is not known"):
                await asyncio.to_thread(recorder.insert_events, stack("a", 1))
            await asyncio.to_thread(far.close)

    async def test_inserts_go_on_over_kills_of_the_server(self, tmp_path: Path) -> None:
        server = PlainServer(tmp_path / "nats").start()
        makes = Makes(server.url)
        try:
            recorder = await asyncio.to_thread(makes.recorder)
            done: dict[str, int] = {}
            stopping = threading.Event()

            def work(key: str) -> None:
                while not stopping.is_set():
                    version = done.get(key, 0) + 1
                    recorder.insert_events([event(key, version), event(f"{key}-{version}", 1)])
                    done[key] = version

            tasks = [asyncio.create_task(asyncio.to_thread(work, key)) for key in ("a", "b", "c")]
            for _ in range(3):
                seen = dict(done)
                await eventually(lambda seen=seen: sum(done.values()) > sum(seen.values()) + 20)  # type: ignore[misc]
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
            stopping.set()
            await asyncio.gather(*tasks)  # no insert has failed, and none was taken for a conflict
            for key, version in done.items():
                assert await asyncio.to_thread(recorder.select_events, key) == stack(key, version)
                for each in range(1, version + 1):
                    assert await asyncio.to_thread(recorder.select_events, f"{key}-{each}") == [
                        event(f"{key}-{each}", 1)
                    ]
            assert recorder.max_notification_id() == 2 * sum(done.values())
        finally:
            stopping.set()
            makes.close()
            server.stop()

    async def test_without_a_server_it_says_so_in_time(self, plain_server: PlainServer, tmp_path: Path) -> None:
        server = PlainServer(tmp_path / "nats").start()
        makes = Makes(server.url)
        recorder = await asyncio.to_thread(makes.recorder, JETSTREAM_TIMEOUT="0.4")
        server.signal(signal.SIGSTOP)
        server.stop()
        with pytest.raises(OperationalError, match="connection"):
            await asyncio.to_thread(recorder.insert_events, stack("a", 1))
        await asyncio.to_thread(makes.close)
        with pytest.raises(OperationalError, match="no connection to NATS"):
            await asyncio.to_thread(Makes(server.url).recorder, JETSTREAM_CONNECT_TIMEOUT="0.3")


class TestLetIn:
    async def insert(self, makes: Makes, **more: str) -> list[StoredEvent]:
        def work() -> list[StoredEvent]:
            recorder = makes.recorder(**more)
            recorder.insert_events(stack("a", 3))
            return list(recorder.select_events("a"))

        try:
            return await asyncio.to_thread(work)
        finally:
            await asyncio.to_thread(makes.close)

    async def test_by_user_and_password(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats") as nats:
            user = {"JETSTREAM_USER": "rear"}
            file = {"JETSTREAM_PASSWORD_FILE": str(nats.password_file)}
            assert await self.insert(Makes(nats.url), **user, JETSTREAM_PASSWORD="a secret") == stack("a", 3)
            assert await self.insert(Makes(nats.url), **user, **file) == stack("a", 3)
            with pytest.raises(OperationalError, match="check the user and password"):
                await self.insert(Makes(nats.url), **user, JETSTREAM_PASSWORD="wrong")

    async def test_by_certificates_on_both_sides(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path / "pki")
        certificate, key = authority.issue("server")
        tls = f'cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.file}", verify: true'
        own, own_key = authority.issue("app")
        trusting = {"JETSTREAM_TLS_CA": str(authority.file)}
        shown = {"JETSTREAM_TLS_CERTIFICATE": str(own), "JETSTREAM_TLS_KEY": str(own_key)}
        with NatsCluster(tmp_path / "nats", access=f"tls {{ {tls} }}") as nats:
            assert await self.insert(Makes(nats.url), **trusting, **shown) == stack("a", 3)
            with pytest.raises(OperationalError):
                await self.insert(Makes(nats.url), **trusting, JETSTREAM_CONNECT_TIMEOUT="1")


async def test_on_three_replicas_a_leader_that_is_killed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_TIMEOUT", 0.5)  # what is asked while nobody leads has no answer
    monkeypatch.setattr(records, "ATTEMPT", 0.5)
    with NatsCluster(tmp_path / "nats", 3) as nats:
        await nats.ready()
        makes = Makes(nats.url)
        access = {"JETSTREAM_USER": "rear", "JETSTREAM_PASSWORD": "a secret", "JETSTREAM_REPLICAS": "3"}
        try:
            recorder = await asyncio.to_thread(makes.recorder, **access)
            ids: list[int] = []
            for version in range(1, 21):
                if version == 10:
                    nats.kill(await nats.leader_of(recorder._stream.name))
                events = [event("a", version), event(f"a-{version}", 1)]
                found = await asyncio.to_thread(recorder.insert_events, events)
                ids += found or []
                # Any replica answers a read, also one that is behind: what was recorded is there at once.
                assert await asyncio.to_thread(recorder.select_events, "a", gt=version - 1) == [event("a", version)]
            assert ids == list(range(1, 41))
            assert await asyncio.to_thread(recorder.select_events, "a") == stack("a", 20)
        finally:
            await asyncio.to_thread(makes.close)
