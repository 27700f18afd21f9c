"""WatchContracts over real connections: readers that stop to read, and readers that go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from rear.domain.refusals import NotReady
from rear.domain.window import SECOND, AskedWindow, Duration
from rear.managers.provider import contract_watches
from rear.managers.provider.contract_watches import ContractWatches
from rear.managers.provider.contract_watching import ContractWatching
from rear.rpc.contract_service import ContractServicer
from rear.rpc.identity import Anonymous
from rear.rpc.server import RpcServer
from rear.rpc.switchboard import Service
from rear.v1 import contract_service_pb2 as pb
from rear.v1 import contract_service_pb2_grpc, watch_pb2
from tests.faulty_stream import FaultyStream
from tests.seller import MACHINE, Seller, cpus, verb, wish
from tests.waiting import eventually

NAME = "rear.v1.ContractService"
BUYER = "spiffe://campus.example/local/anonymous"


class OpenGate:
    def check(self) -> None:
        """Lets everybody in."""


@dataclass(slots=True)
class Served:
    """A seller whose contracts can be watched at an endpoint."""

    seller: Seller
    watches: ContractWatches
    endpoint: str

    async def change(self, count: int, name: str) -> None:
        """Makes and ends that many contracts."""

        async def one(number: int) -> None:
            command = wish(f"{name}{number}", cpus(1_000), window=AskedWindow(duration=Duration(SECOND)), caller=BUYER)
            made = await self.seller.reserve(f"{name}{number}", command, caller=BUYER)
            await self.seller.cancel(made.contract.id, verb("c"), caller=BUYER)

        await asyncio.gather(*map(one, range(count)))

    def watch(self, channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall[Any, pb.WatchContractsResponse]:
        stub: contract_service_pb2_grpc.ContractServiceAsyncStub
        stub = contract_service_pb2_grpc.ContractServiceStub(channel)
        return stub.WatchContracts(pb.WatchContractsRequest())


@pytest.fixture
async def served(ledger: FaultyStream, state: Path) -> AsyncIterator[Served]:
    seller = await Seller(ledger, state).open()
    await seller.pools.reconcile([replace(MACHINE, capacity=cpus(1_000_000).quantities, units=())])
    watches = ContractWatches(seller.writer.tip[0])
    seller.writer.listeners.append(watches)
    watching = ContractWatching(seller.provider, seller.stream, seller.service, watches)
    servicer = ContractServicer(seller.contracts, watching, seller.provider, Anonymous("campus.example"), OpenGate())
    server = RpcServer((NAME,), lambda: NotReady("not yet", SECOND))
    port = server.bind("127.0.0.1:0")
    adding = contract_service_pb2_grpc.add_ContractServiceServicer_to_server
    server.connect([Service(NAME, lambda grpc_server: adding(servicer, grpc_server))])
    await server.start()
    yield Served(seller, watches, f"127.0.0.1:{port}")
    await server.stop(0)
    await seller.close()


async def told(call: grpc.aio.UnaryStreamCall[Any, pb.WatchContractsResponse]) -> pb.WatchContractsResponse:
    message = await call.read()
    assert isinstance(message, pb.WatchContractsResponse)
    return message


async def synced(call: grpc.aio.UnaryStreamCall[Any, pb.WatchContractsResponse]) -> None:
    while (await told(call)).kind != watch_pb2.WATCH_KIND_SYNCED:
        pass


async def test_a_reader_that_stops_to_read_is_caught_up_when_it_goes_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract_watches, "MOST_WAITING", 50)
    async with grpc.aio.insecure_channel(served.endpoint) as channel:
        call = served.watch(channel)
        await synced(call)
        for turn in range(10):  # more than the connection takes up, and then more than is kept
            await served.change(200, f"r{turn}-")
        copies: dict[str, int] = {}
        kinds: list[int] = []
        while not kinds or kinds[-1] != watch_pb2.WATCH_KIND_KEEP_ALIVE:
            message = await told(call)
            kinds.append(message.kind)
            copies |= {one.contract_id: max(one.revision, copies.get(one.contract_id, 0)) for one in message.contracts}
            if len(copies) == 2_000 and set(copies.values()) == {2}:
                break
    assert watch_pb2.WATCH_KIND_RESUMED in kinds
    assert watch_pb2.WATCH_KIND_RESET not in kinds


async def test_readers_that_go_leave_nothing_behind(served: Served) -> None:
    async with grpc.aio.insecure_channel(served.endpoint) as channel:
        calls = [served.watch(channel) for _ in range(20)]
        for call in calls[::2]:
            await synced(call)
        await served.change(500, "r")  # which most of them never read
        for call in calls:
            call.cancel()
        await eventually(lambda: not served.watches.watched)
