"""One store, one server: started, locked, restarted, and gone when its parent is gone."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import nats
import nats.errors
import pytest

from rear.ledger.connection import Connection, dial
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.errors import LedgerDamaged, LedgerUnavailable, OutcomeUnknown, StoreLocked
from rear.ledger.nats_process import BINARY_VARIABLE, NatsProcess, find_binary
from rear.ledger.stream import EventStream, Outgoing
from tests.waiting import eventually, freeze

ROOT = Path(__file__).resolve().parents[2]


def message(number: int) -> Outgoing:
    return Outgoing(f"t.thing.{number}", b"payload", f"{number:064x}")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def locked(directory: Path) -> bool:
    with open(directory / "lock", "rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def pid_of(server: EmbeddedServer) -> int:
    assert server.pid is not None
    return server.pid


async def test_it_listens_on_loopback_and_lets_nobody_in_without_the_password(
    embedded: EmbeddedServer,
) -> None:
    endpoint = embedded.endpoint
    assert endpoint.url.startswith("nats://127.0.0.1:")
    assert str(endpoint.password) not in repr(endpoint)
    client = await dial(endpoint, "with password")
    await client.close()

    async def silent(_: Exception) -> None: ...

    for user, password in ((None, None), ("ledger", "wrong")):
        with pytest.raises(nats.errors.Error):
            await nats.connect(endpoint.url, user=user, password=password, allow_reconnect=False, error_cb=silent)


async def test_its_files_are_ours_alone(embedded: EmbeddedServer, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "nats").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "nats" / "nats-server.conf").stat().st_mode) == 0o600


async def test_stop_ends_the_server_and_frees_the_store(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    await server.start()
    pid = pid_of(server)
    assert locked(tmp_path)
    await server.stop()
    assert not alive(pid)
    assert not locked(tmp_path)
    assert server.pid is None
    with pytest.raises(LedgerUnavailable):
        _ = server.endpoint
    await server.stop()


async def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    for expected in range(3):
        async with EmbeddedServer(tmp_path) as server:
            connection = Connection(lambda: server.endpoint, name="test")
            await connection.open(10)
            stream = EventStream(connection, "TEST", ["t.>"])
            await stream.ensure()
            assert await stream.tip() == expected
            await stream.append([message(1)], expected, timeout=5)
            await connection.close()


async def test_a_second_server_on_the_same_store_is_refused_in_time(embedded: EmbeddedServer, tmp_path: Path) -> None:
    second = EmbeddedServer(tmp_path / "nats", lock_timeout=0.3)
    began = time.monotonic()
    with pytest.raises(StoreLocked, match="another process holds"):
        await second.start()
    assert time.monotonic() - began < 5
    assert alive(pid_of(embedded))
    await second.stop()


async def test_a_second_server_gets_the_store_when_the_first_lets_go(tmp_path: Path) -> None:
    first, second = EmbeddedServer(tmp_path), EmbeddedServer(tmp_path, lock_timeout=20)
    await first.start()
    waiting = asyncio.create_task(second.start())
    await asyncio.sleep(0)
    await first.stop()
    await waiting
    assert second.pid is not None
    await second.stop()


async def test_a_killed_server_is_restarted_with_its_data_and_the_connection_recovers(
    embedded: EmbeddedServer, connection: Connection, stream: EventStream
) -> None:
    await stream.append([message(number) for number in range(1, 11)], 0, timeout=5)
    before, password, generation = pid_of(embedded), embedded.endpoint.password, connection.generation
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: connection.generation > generation and connection.connected)
    assert embedded.pid != before
    assert embedded.endpoint.password != password
    assert await stream.tip() == 10
    assert await stream.append([message(11)], 10, timeout=5) == 11


async def test_a_server_that_hangs_is_restarted(
    embedded: EmbeddedServer, connection: Connection, stream: EventStream
) -> None:
    before = pid_of(embedded)
    await freeze(before)
    with pytest.raises(OutcomeUnknown):
        await stream.append([message(1)], 0, timeout=0.2)
    # It does not end on request either; the supervisor kills it then.
    await eventually(lambda: not alive(before), within=40)
    await eventually(lambda: connection.generation > 1 and connection.connected)
    assert await stream.tip() in (0, 1)


async def test_a_server_that_cannot_write_is_restarted_once_it_could(
    embedded: EmbeddedServer, connection: Connection, stream: EventStream
) -> None:
    before = pid_of(embedded)
    resource.prlimit(before, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    with pytest.raises(OutcomeUnknown):
        await stream.append([message(1)], 0, timeout=0.3)
    await eventually(lambda: embedded.pid not in (before, None), within=40)
    await eventually(lambda: connection.generation > 1 and connection.connected)
    tip = await stream.tip()
    assert tip in (0, 1)
    assert await stream.append([message(1)], tip, timeout=5) == tip + 1


async def test_a_batch_cut_by_a_full_disk_is_whole_after_the_restart(
    embedded: EmbeddedServer, connection: Connection, stream: EventStream
) -> None:
    """Found with a full disk: until then its first messages are there and the others are not."""
    big = [Outgoing("t.big", b"x" * 5_000, f"{number:064x}") for number in range(100)]
    assert await stream.append(big, 0, timeout=10) == 100
    assert await stream.append(big, 100, timeout=10) == 200
    before = pid_of(embedded)
    # Room for the batch where it is staged, and for a part of it where it goes.
    resource.prlimit(before, resource.RLIMIT_FSIZE, (1_200_000, resource.RLIM_INFINITY))
    with pytest.raises(OutcomeUnknown):
        await stream.append(big, 200, timeout=0.5)
    assert 200 < await stream.tip() < 300
    last = await stream.last()
    assert last is not None
    assert not last.ends_commit
    await eventually(lambda: embedded.pid not in (before, None), within=40)
    await eventually(lambda: connection.generation > 1 and connection.connected)
    last = await stream.last()
    assert last is not None
    assert (last.sequence, last.ends_commit) == (300, True)
    assert [stored.hash async for page in stream.pages(201) for stored in page] == [item.hash for item in big]


async def test_restart_gives_a_new_server_on_the_same_store(
    embedded: EmbeddedServer, connection: Connection, stream: EventStream
) -> None:
    await stream.append([message(1)], 0, timeout=5)
    before, generation = pid_of(embedded), connection.generation
    await asyncio.gather(embedded.restart(), embedded.restart())
    assert embedded.pid not in (before, None)
    assert not alive(before)
    await eventually(lambda: connection.generation > generation and connection.connected)
    assert await stream.tip() == 1


@pytest.mark.parametrize("end", ["kill", "exit of the thread"])
async def test_the_server_does_not_outlive_its_parent(tmp_path: Path, end: str) -> None:
    if end == "kill":
        pid = await _orphan_by_kill(tmp_path)
    else:
        pid = await asyncio.to_thread(_orphan_by_thread, tmp_path)
    await eventually(lambda: not alive(pid), within=10)
    await eventually(lambda: not locked(tmp_path), within=10)
    async with EmbeddedServer(tmp_path, lock_timeout=5):
        pass


async def _orphan_by_kill(directory: Path) -> int:
    program = (
        "import asyncio, sys, pathlib\n"
        "from rear.ledger.embedded import EmbeddedServer\n"
        "async def main():\n"
        "    async with EmbeddedServer(pathlib.Path(sys.argv[1])) as server:\n"
        "        sys.stderr.write(f'pid {server.pid}\\n')\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        str(directory),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert parent.stderr is not None
    line = b""
    while not line.startswith(b"pid "):
        line = await asyncio.wait_for(parent.stderr.readline(), 20)
        assert line
    pid = int(line.split()[1])
    assert alive(pid)
    assert locked(directory)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    return pid


def _orphan_by_thread(directory: Path) -> int:
    """A loop whose thread ends without stopping the server, which the kernel binds to that thread."""
    found: list[int] = []

    async def run() -> None:
        server = EmbeddedServer(directory)
        await server.start()
        found.append(pid_of(server))
        server._release_lock()

    def thread() -> None:
        asyncio.run(run())

    worker = threading.Thread(target=thread)
    worker.start()
    worker.join()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(found[0], 0)
    return found[0]


async def test_a_server_that_ends_instead_of_starting_says_why(tmp_path: Path, embedded: EmbeddedServer) -> None:
    taken = int(embedded.endpoint.url.rpartition(":")[2])
    server = EmbeddedServer(tmp_path / "other", port=taken)
    with pytest.raises(LedgerUnavailable, match="address already in use"):
        await server.start()
    assert not locked(tmp_path / "other")


async def test_a_fixed_port_is_kept(tmp_path: Path, embedded: EmbeddedServer) -> None:
    port = int(embedded.endpoint.url.rpartition(":")[2])
    await embedded.stop()
    async with EmbeddedServer(tmp_path / "other", port=port) as server:
        assert server.endpoint.url == f"nats://127.0.0.1:{port}"


async def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY_VARIABLE, str(tmp_path / "no-such-program"))
    with pytest.raises(LedgerUnavailable, match="no-such-program"):
        await EmbeddedServer(tmp_path / "nats").start()


def test_the_program_named_by_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY_VARIABLE, "/bin/true")
    assert find_binary() == Path("/bin/true")
    monkeypatch.delenv(BINARY_VARIABLE)
    assert find_binary().name == "nats-server"


async def test_without_room_on_the_disk_it_turns_batches_away(
    tmp_path: Path, stream: EventStream, connection: Connection, embedded: EmbeddedServer
) -> None:
    embedded.admit()
    full = EmbeddedServer(tmp_path / "full", reserve=1 << 60)
    with pytest.raises(LedgerUnavailable, match="make room"):
        await full.start()
    cautious = EventStream(connection, "TEST", ["t.>"], admit=full.admit)
    with pytest.raises(LedgerUnavailable, match="make room"):
        await cautious.append([message(1)], 0, timeout=5)
    assert await stream.tip() == 0


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    async def never_ready(process: NatsProcess) -> None:
        assert process.pid is not None
        started.append(process.pid)
        await asyncio.Event().wait()

    monkeypatch.setattr(NatsProcess, "ready", never_ready)
    starting = asyncio.create_task(EmbeddedServer(tmp_path).start())
    await eventually(lambda: bool(started))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not alive(started[0])
    assert not locked(tmp_path)


class TestConnection:
    async def test_nobody_gets_the_client_before_the_check_has_passed(self, embedded: EmbeddedServer) -> None:
        checks: list[int] = []
        gate = asyncio.Event()

        async def check() -> None:
            assert not connection.connected
            checks.append(await EventStream(connection, "TEST", ["t.>"]).tip() if checks else -1)
            await gate.wait()

        connection = Connection(lambda: embedded.endpoint, name="test", on_connect=check)
        opening = asyncio.create_task(connection.open(20))
        await eventually(lambda: bool(checks))
        with pytest.raises(LedgerUnavailable):
            await connection.client(0.05)
        gate.set()
        await opening
        await EventStream(connection, "TEST", ["t.>"]).ensure()
        os.kill(pid_of(embedded), signal.SIGKILL)
        await eventually(lambda: connection.generation == 2 and connection.connected)
        assert checks == [-1, 0]
        await connection.close()

    async def test_damage_found_on_connect_closes_it_for_good(self, embedded: EmbeddedServer) -> None:
        async def check() -> None:
            raise LedgerDamaged("shorter")

        connection = Connection(lambda: embedded.endpoint, name="test", on_connect=check)
        with pytest.raises(LedgerDamaged, match="shorter"):
            await connection.open(10)
        for _ in range(2):
            with pytest.raises(LedgerDamaged, match="shorter"):
                await connection.client(10)
        assert connection.generation == 1
        assert not connection.connected

    async def test_a_check_that_got_no_answer_is_tried_again(self, embedded: EmbeddedServer) -> None:
        tries: list[int] = []

        async def check() -> None:
            tries.append(1)
            if len(tries) < 3:
                raise LedgerUnavailable("not yet")

        connection = Connection(lambda: embedded.endpoint, name="test", on_connect=check)
        await connection.open(10)
        assert connection.generation == len(tries) == 3
        await connection.close()

    async def test_without_a_server_it_gives_up_in_time(self, embedded: EmbeddedServer) -> None:
        endpoint = embedded.endpoint
        await embedded.stop()
        connection = Connection(lambda: endpoint, name="test")
        began = time.monotonic()
        with pytest.raises(LedgerUnavailable, match=r"no connection"):
            await connection.open(0.3)
        assert time.monotonic() - began < 5
        with pytest.raises(LedgerUnavailable, match="closed"):
            await connection.client(5)

    async def test_it_sends_nothing_while_there_is_no_connection(
        self, embedded: EmbeddedServer, connection: Connection, stream: EventStream
    ) -> None:
        await embedded.stop()
        with pytest.raises((LedgerUnavailable, OutcomeUnknown)):
            await stream.append([message(1)], 0, timeout=0.2)
        with pytest.raises(LedgerUnavailable):
            await stream.append([message(2)], 0, timeout=0.2)
        await embedded.start()
        await connection.client(20)
        assert await stream.tip() == 0
