"""Findings at the connection to NATS: each was found by a review and reproduced; the name says what went wrong."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from rear.ledger.connection import Connection, Endpoint
from rear.ledger.errors import LedgerUnavailable, NotLetIn
from rear.ledger.nats_process import NatsProcess
from rear.ledger.store import StateDirectory
from tests.authority import Authority
from tests.nats_accounts import with_credentials
from tests.nats_servers import NatsCluster
from tests.waiting import eventually

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HELLO = b"INFO " + json.dumps({"server_id": "x", "version": "2.12.0", "headers": True}).encode() + b"\r\n"


@asynccontextmanager
async def answering(serve: Serve) -> AsyncIterator[Connection]:
    """A connection, not opened, to a server that does what `serve` does."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    connection = Connection(lambda: Endpoint(url), name="test")
    try:
        yield connection
    finally:
        await connection.close()
        server.close()
        await server.wait_closed()


async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO)
    await reader.readuntil(b"PING\r\n")
    writer.write(b"PONG\r\n")


async def test_a_credentials_file_that_is_read_while_it_is_renewed_does_not_end_the_connection_for_good(
    tmp_path: Path,
) -> None:
    access, file = with_credentials(tmp_path)
    whole = file.read_text()
    with NatsCluster(tmp_path / "nats", access=access) as nats:
        servers = nats.servers(credentials=str(file))
        connection = Connection(servers.endpoint, name="test")
        await connection.open(20)
        try:
            for part in ("", whole[: len(whole) // 2], whole.replace("SU", "XX")):
                file.write_text(part)
                (await connection.client(20)).cut()
                await eventually(lambda: "cred" in (connection.trouble or ""))
                file.write_text(whole)
                await connection.client(20)
        finally:
            await connection.close()


async def test_an_answer_of_any_kind_does_not_end_the_connection_for_good() -> None:
    odd = [b"INFO []\r\n", b"INFO null\r\n", b'INFO {"connect_urls": 5}\r\n']

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if odd:
            writer.write(odd.pop())
        else:
            await welcome(reader, writer)
        await reader.read()
        writer.close()

    async with answering(serve) as connection:
        await connection.open(10)
    assert not odd


async def test_a_server_that_hangs_up_at_once_is_not_dialled_hundreds_of_times_a_second() -> None:
    dialled = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        await welcome(reader, writer)
        writer.close()

    async with answering(serve) as connection:
        with suppress(LedgerUnavailable):
            await connection.open(0.5)
    assert 1 < dialled < 10


async def test_a_server_that_ends_and_has_nobody_left_who_tells_its_health_is_sick(tmp_path: Path) -> None:
    async def nobody(_: object) -> tuple[bytes, bytes]:
        return b"NATS/1.0 503\r\n\r\n", b""

    process = NatsProcess(tmp_path, max_payload=1 << 20, port=None)
    watcher: Any = SimpleNamespace(lost=asyncio.Event(), request_one=nobody)
    process._watcher = watcher
    assert "no answer" in (await process.ailment(1) or "")


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for_at_the_terminal(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("rear")
    secret = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a secret")))
    code = f"""
from rear.ledger.external import NatsServers
NatsServers(("tls://127.0.0.1:1",), certificate={str(certificate)!r}, key={str(key)!r}).endpoint()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as asking:
        try:
            asking.wait(20)
        finally:
            asking.kill()
        assert asking.stderr is not None
        assert NotLetIn.__name__ in asking.stderr.read().decode()


def test_others_on_the_machine_do_not_read_who_bought_what(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "state")
    directory.claim("spiffe://a/node/n")
    assert directory.path.stat().st_mode & 0o077 == 0
