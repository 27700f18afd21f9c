"""One nats-server for all tests of a module; each test has streams of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plain_server import PlainServer


@pytest.fixture(scope="module")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainServer]:
    server = PlainServer(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.stop()
