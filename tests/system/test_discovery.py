"""Discovery between nodes: real ones, and peers that hang, lie, are another, or are not there."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from rear.domain.demand import Demand
from rear.domain.flavour import Flavour
from rear.domain.intent import Component, Constraints, Workload
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.ranking import UNRATED
from rear.domain.window import HOUR, AskedWindow
from rear.ledger.connection import Connection, Endpoint
from rear.ledger.offers import OffersStream
from rear.ledger.sources import SystemClock
from rear.managers.consumer.candidates import PeeringCandidates
from rear.managers.consumer.discovery import DiscoveryManager
from rear.managers.consumer.neighbours import Neighbour
from rear.managers.consumer.rear import ConsumerRear, Search
from rear.projections.candidates import CandidatesTable
from rear.rpc.peers import RpcPeers
from rear.rpc.tls_files import TlsFiles
from rear.v1 import discovery_service_pb2, discovery_service_pb2_grpc, flavour_pb2
from rear.wire.flavours import direct_route, listed_flavour_to_proto
from tests.certificates import TestAuthority, write
from tests.examples import FIRST, GPUS, NOW, POOL, TERMS
from tests.nats_servers import free_ports
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool
from tests.system.relay import Relay, Way
from tests.waiting import freeze

DOMAIN: Final = "system.test"
OWN_ID: Final = f"spiffe://{DOMAIN}/node/consumer"
DEADLINE: Final = 0.7
COMPONENT: Final = Component(
    "web", Demand(Quantities({"cpu_millicores": 2_000})), Workload(("true",)), window=AskedWindow(duration=HOUR)
)


class Told:
    """Whom a consumer was told of."""

    def __init__(self, neighbours: Sequence[Neighbour]) -> None:
        self.neighbours = neighbours

    async def settled(self) -> None:
        """They are all there from the beginning."""

    def all(self) -> Sequence[Neighbour]:
        return self.neighbours


class Consumer:
    """A consumer that keeps its candidates in memory."""

    def __init__(self, neighbours: Sequence[Neighbour], folder: Path, tls: TlsFiles | None = None) -> None:
        self.peers = RpcPeers(tls, DOMAIN)
        nowhere = Connection(lambda: Endpoint("nats://127.0.0.1:1"), name="nowhere")
        self.candidates = PeeringCandidates(
            OWN_ID, OffersStream(nowhere, "consumer"), lambda: CandidatesTable(folder / "candidates.sqlite")
        )
        clock = SystemClock()
        discovery = DiscoveryManager(OWN_ID, Told(neighbours), self.peers, self.candidates, clock, deadline=DEADLINE)
        self.rear = ConsumerRear(self.candidates, discovery, UNRATED, clock)

    async def search(self, component: Component = COMPONENT) -> Search:
        return await self.rear.search(component, fresh=True)


@asynccontextmanager
async def consuming(*neighbours: Neighbour, folder: Path, tls: TlsFiles | None = None) -> AsyncIterator[Consumer]:
    consumer = Consumer(neighbours, folder, tls)
    try:
        yield consumer
    finally:
        await consumer.peers.close()


@pytest.fixture(scope="module")
def providers(new_shared_node: NewNode) -> list[NodeProcess]:
    """Three of them; the second is the cheapest, and the first has GPUs."""
    nodes = [
        new_shared_node(pool("a", price="0.03 EUR", gpus=1), name="p1"),
        new_shared_node(pool("b", price="0.01 EUR"), name="p2"),
        new_shared_node(pool("c", price="0.02 EUR"), pool("d"), name="p3"),
    ]
    for node in nodes:
        node.spawn()
    asyncio.run(_all_serve(nodes))
    return nodes


async def _all_serve(nodes: Sequence[NodeProcess]) -> None:
    await asyncio.gather(*(node.serves() for node in nodes))


def neighbour(node: NodeProcess) -> Neighbour:
    return Neighbour(node.endpoint, node.provider_id)


def found(search: Search) -> list[str]:
    return [each.flavour.pool_id for each in search.candidates]


@contextmanager
def frozen(node: NodeProcess) -> Iterator[None]:
    try:
        yield
    finally:
        os.kill(node.pid, signal.SIGCONT)


async def test_the_offers_of_all_providers_are_found_and_ranked(providers: list[NodeProcess], tmp_path: Path) -> None:
    async with consuming(*map(neighbour, providers), folder=tmp_path) as consumer:
        search = await consumer.search()

        assert found(search) == ["b", "c", "a", "d"], "by price; what has none comes last"
        best = search.candidates[0]
        assert (best.provider_id, best.route.endpoint) == (providers[1].provider_id, providers[1].endpoint)
        assert best.total_price == Money("EUR", 20_000_000)
        assert [(answer.ok, answer.flavours) for answer in search.answers] == [(True, 1), (True, 1), (True, 2)]
        assert len(consumer.candidates) == 4


async def test_constraints_hold_for_what_is_found(providers: list[NodeProcess], tmp_path: Path) -> None:
    async with consuming(*map(neighbour, providers), folder=tmp_path) as consumer:
        gpus = await consumer.search(replace(COMPONENT, constraints=Constraints(gpu_models=("T4",))))
        cheap = await consumer.search(replace(COMPONENT, constraints=Constraints(max_price=Money("EUR", 40_000_000))))
        much = await consumer.search(replace(COMPONENT, partition=Demand(Quantities({"cpu_millicores": 99_000}))))

    assert (found(gpus), found(cheap), found(much)) == (["a"], ["b", "c"], [])


async def test_a_search_costs_a_few_milliseconds(providers: list[NodeProcess], tmp_path: Path) -> None:
    async with consuming(*map(neighbour, providers), folder=tmp_path) as consumer:
        for _ in range(5):
            await consumer.search()
        began = time.process_time()
        for _ in range(20):
            await consumer.search()
        each = (time.process_time() - began) / 20

    assert each < 0.03, f"{1e3 * each:.1f} ms of processor time"


async def test_a_provider_that_hangs_has_its_deadline(providers: list[NodeProcess], tmp_path: Path) -> None:
    async with consuming(*map(neighbour, providers), folder=tmp_path) as consumer:
        await consumer.search()
        with frozen(providers[1]):
            await freeze(providers[1].pid)
            search = await consumer.search()

        assert found(search) == ["c", "a", "d"]
        silent = search.answers[1]
        assert (silent.code, silent.provider_id) == (
            grpc.StatusCode.DEADLINE_EXCEEDED.value[0],
            providers[1].provider_id,
        )
        assert silent.message == f"{providers[1].endpoint} did not answer within 0.7 s"
        assert DEADLINE * 1e9 <= silent.elapsed < 10e9
        assert found(await consumer.search()) == ["b", "c", "a", "d"]


async def test_a_provider_whose_answers_are_lost_has_its_deadline(providers: list[NodeProcess], tmp_path: Path) -> None:
    port = int(providers[0].endpoint.rpartition(":")[2])
    async with Relay(lambda: port) as relay:
        lossy = Neighbour(f"127.0.0.1:{relay.port}", providers[0].provider_id)
        async with consuming(lossy, neighbour(providers[1]), folder=tmp_path) as consumer:
            assert found(await consumer.search()) == ["b", "a"]
            async with relay.holding(Way.TO_CLIENT):
                search = await consumer.search()

            assert found(search) == ["b"]
            assert not search.answers[0].ok


async def test_a_provider_that_is_not_there_is_named(providers: list[NodeProcess], tmp_path: Path) -> None:
    gone = Neighbour(f"127.0.0.1:{free_ports(1)[0]}", f"spiffe://{DOMAIN}/node/gone")
    nonsense = Neighbour("no-such-host.invalid:1")
    async with consuming(gone, nonsense, neighbour(providers[1]), folder=tmp_path) as consumer:
        search = await consumer.search()

    assert found(search) == ["b"]
    unavailable = grpc.StatusCode.UNAVAILABLE.value[0]
    assert search.answers[0].code == unavailable
    assert search.answers[1].code in (unavailable, grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    assert (search.answers[0].provider_id, search.answers[1].provider_id) == (gone.provider_id, "")


async def test_a_provider_is_another_than_the_one_that_was_meant(providers: list[NodeProcess], tmp_path: Path) -> None:
    mistaken = Neighbour(providers[0].endpoint, f"spiffe://{DOMAIN}/node/other")
    async with consuming(mistaken, neighbour(providers[1]), folder=tmp_path) as consumer:
        search = await consumer.search()

    assert found(search) == ["b"]
    assert search.answers[0].code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert f"should be {mistaken.provider_id}" in search.answers[0].message


# Peers that lie


class Liar(discovery_service_pb2_grpc.DiscoveryServiceServicer):
    """Answers with whatever it is given."""

    def __init__(self) -> None:
        self.flavours: list[flavour_pb2.ListedFlavour] = []

    async def ListFlavours(self, request: Any, context: Any) -> discovery_service_pb2.ListFlavoursResponse:
        return discovery_service_pb2.ListFlavoursResponse(flavours=self.flavours)

    async def GetFlavour(self, request: Any, context: Any) -> discovery_service_pb2.GetFlavourResponse:
        raise NotImplementedError


@asynccontextmanager
async def lying(tls: TlsFiles | None = None) -> AsyncIterator[tuple[Liar, str]]:
    """A liar, and where it is."""
    liar, server = Liar(), grpc.aio.server()
    discovery_service_pb2_grpc.add_DiscoveryServiceServicer_to_server(liar, server)
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (tls.key.read_bytes(), tls.cert.read_bytes())
        credentials = grpc.ssl_server_credentials([pair], tls.ca.read_bytes(), require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield liar, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def claimed(provider_id: str, pool_id: str = POOL) -> flavour_pb2.ListedFlavour:
    """An offer that somebody says is of that provider."""
    return listed_flavour_to_proto(
        Flavour(replace(FIRST, flavour_id=f"{pool_id}-1"), TERMS, pool_id, GPUS),
        provider_id,
        FIRST.quantities,
        FIRST.units,
        NOW,
        routes=[direct_route(provider_id, "10.9.9.9:1", TERMS.price)],
    )


LIAR: Final = f"spiffe://{DOMAIN}/node/liar"
VICTIM: Final = f"spiffe://{DOMAIN}/node/victim"


async def test_only_what_makes_sense_of_a_liars_offers_is_used(tmp_path: Path) -> None:
    async with lying() as (liar, endpoint), consuming(Neighbour(endpoint, LIAR), folder=tmp_path) as consumer:
        negative, unheard_of = claimed(LIAR, "negative"), claimed(LIAR, "unheard-of")
        negative.available.cpu_millicores = -5
        unheard_of.flavour.type = flavour_pb2.FlavourType.ValueType(77)
        liar.flavours = [negative, claimed(LIAR, "good"), unheard_of]

        search = await consumer.search()

    assert found(search) == ["good"]
    assert search.candidates[0].route.endpoint == endpoint, "where it was reached, whatever it says"
    assert (search.answers[0].ok, search.answers[0].flavours) == (True, 1)
    assert search.answers[0].message.startswith("2 of its offers cannot be used; the first: ")


@pytest.mark.parametrize("provider_id", [LIAR, ""], ids=["known", "not known"])
async def test_nobody_speaks_for_another(tmp_path: Path, provider_id: str) -> None:
    async with lying() as (liar, endpoint), consuming(Neighbour(endpoint, provider_id), folder=tmp_path) as consumer:
        liar.flavours = [claimed(LIAR), claimed(VICTIM)]

        search = await consumer.search()

    assert found(search) == []
    assert not search.answers[0].ok


async def test_nobody_speaks_for_us(tmp_path: Path) -> None:
    async with lying() as (liar, endpoint), consuming(Neighbour(endpoint), folder=tmp_path) as consumer:
        liar.flavours = [claimed(OWN_ID)]

        search = await consumer.search()

    assert found(search) == []
    assert search.answers[0].message == "it is this node itself"


async def test_more_than_was_asked_for_is_cut(tmp_path: Path) -> None:
    async with lying() as (liar, endpoint), consuming(Neighbour(endpoint, LIAR), folder=tmp_path) as consumer:
        liar.flavours = [claimed(LIAR, f"p{number}") for number in range(2_000)]

        search = await consumer.search()

    assert len(search.candidates) == 20


async def test_with_tls_a_peer_proves_who_it_is(tmp_path: Path) -> None:
    authority = TestAuthority()
    ours = write(tmp_path / "us", authority.issue(OWN_ID, ip=["127.0.0.1"]), authority.pem)
    theirs = write(tmp_path / "liar", authority.issue(LIAR, ip=["127.0.0.1"]), authority.pem)
    async with lying(theirs) as (liar, endpoint):
        liar.flavours = [claimed(LIAR)]
        async with consuming(Neighbour(endpoint, VICTIM), folder=tmp_path, tls=ours) as consumer:
            mistaken = await consumer.search()
        async with consuming(Neighbour(endpoint), folder=tmp_path, tls=ours) as consumer:
            anybody = await consumer.search()
            liar.flavours = [claimed(VICTIM)]
            lied = await consumer.search()

    assert f"should be {VICTIM}, but its certificate is of {LIAR}" in mistaken.answers[0].message
    assert [each.provider_id for each in anybody.candidates] == [LIAR]
    assert lied.candidates == ()
    assert f"should be {LIAR}" in lied.answers[0].message


async def test_with_tls_nobody_of_another_domain_is_asked(tmp_path: Path) -> None:
    authority = TestAuthority()
    ours = write(tmp_path / "us", authority.issue(OWN_ID, ip=["127.0.0.1"]), authority.pem)
    foreign = authority.issue("spiffe://elsewhere.test/node/n1", ip=["127.0.0.1"])
    theirs = write(tmp_path / "foreign", foreign, authority.pem)
    async with lying(theirs) as (_, endpoint), consuming(Neighbour(endpoint), folder=tmp_path, tls=ours) as consumer:
        search = await consumer.search()

    assert "but its certificate is of spiffe://elsewhere.test/node/n1" in search.answers[0].message


async def test_many_that_hang_cost_one_deadline(tmp_path: Path) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    silent = [Neighbour(endpoint, f"spiffe://{DOMAIN}/node/s{number}") for number in range(20)]
    async with consuming(*silent, folder=tmp_path) as consumer:
        began = time.monotonic()
        search = await consumer.search()
        took = time.monotonic() - began
    server.close()

    assert [answer.ok for answer in search.answers] == [False] * 20
    assert took < 3 * DEADLINE
