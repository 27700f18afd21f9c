"""A real nats-server in a directory of the test's own, a connection to it, and a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rear.ledger.connection import Connection
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.stream import EventStream
from tests.buyer import Buyer, SellerInMemory
from tests.faulty_stream import FaultyStream
from tests.nats_servers import PlainServer
from tests.seller import MACHINE, Seller


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A running server with an empty store in `tmp_path/nats`."""
    async with EmbeddedServer(tmp_path / "nats", patience=2.0) as server:
        yield server


@pytest.fixture
async def connection(embedded: EmbeddedServer) -> AsyncIterator[Connection]:
    """A live connection to `embedded`."""
    connection = Connection(lambda: embedded.endpoint, name="test")
    await connection.open(10)
    yield connection
    await connection.close()


@pytest.fixture
async def stream(connection: Connection) -> EventStream:
    """An empty stream on `embedded`, which takes the subjects `t.>`."""
    stream = EventStream(connection, "TEST", ["t.>"])
    await stream.ensure()
    return stream


@pytest.fixture
async def ledger(connection: Connection) -> FaultyStream:
    """An empty ledger, whose appends fail when they are told to."""
    ledger = FaultyStream(connection)
    await ledger.ensure()
    return ledger


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where a seller keeps its tables and its anchor."""
    return tmp_path / "state"


@pytest.fixture
async def seller(ledger: FaultyStream, state: Path) -> AsyncIterator[Seller]:
    """A seller of one machine."""
    seller = await Seller(ledger, state).open()
    await seller.pools.reconcile([MACHINE])
    yield seller
    ledger.gate.set()
    await seller.close()


@pytest.fixture(scope="module")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainServer]:
    """A server that is not ours, for all tests of a module: each takes streams of its own."""
    server = PlainServer(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.stop()


@pytest.fixture
def sellers(seller: Seller) -> SellerInMemory:
    """That seller, as buyers call it."""
    return SellerInMemory(seller)


@pytest.fixture
async def buyer(connection: Connection, tmp_path: Path, sellers: SellerInMemory) -> AsyncIterator[Buyer]:
    """A buyer from `sellers`."""
    ledger = FaultyStream(connection, "n2")
    await ledger.ensure()
    buyer = await Buyer(ledger, tmp_path / "buyer", sellers).open()
    yield buyer
    await buyer.close()
