"""What a gRPC server of ours does with connections that lead to nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rear.domain.refusals import NotReady
from rear.domain.window import SECOND
from rear.rpc.security import Security, SecuritySettings
from rear.rpc.server import OPTIONS, RpcServer
from tests.certificates import TestAuthority, write

NODE = "spiffe://system.test/node/n1"
HANDSHAKE = "grpc.server_handshake_timeout_ms"


async def test_who_never_shakes_hands_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dict(OPTIONS)
    assert options[HANDSHAKE] <= 10_000
    monkeypatch.setattr("rear.rpc.server.OPTIONS", tuple((options | {HANDSHAKE: 200}).items()))
    authority = TestAuthority()
    security = Security(SecuritySettings(write(tmp_path, authority.issue(NODE), authority.pem)), NODE)
    server = RpcServer((), lambda: NotReady("not yet", SECOND), security)
    port = server.bind("127.0.0.1:0")
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
    finally:
        await server.stop(0)
