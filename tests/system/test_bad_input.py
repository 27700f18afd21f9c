"""Bad requests: each is refused with its code, its reason and the path of the field, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from rear.v1 import audit_service_pb2_grpc, contract_service_pb2_grpc, discovery_service_pb2_grpc
from rear.v1 import contract_service_pb2 as contracts
from rear.v1.contract_pb2 import Contract, CounterOffer
from tests.system.asking import EXPIRED, cancel, get, in_seconds, purchase, reserve
from tests.system.bad_requests import BAD, Bad, Code, World, cores, gpus, naming
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool

DETAILS: Final = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, CounterOffer)
MOST_DETAIL_BYTES: Final = 4_096

if TYPE_CHECKING:
    Raw = grpc.UnaryUnaryMultiCallable[bytes, bytes]


@pytest.fixture(scope="module")
def node(new_shared_node: NewNode) -> NodeProcess:
    node = new_shared_node(pool("p", cpu=10, gpus=2, price="0.05 EUR"), pool("whole", whole=True))
    node.start()
    return node


@pytest.fixture(scope="module")
def world(node: NodeProcess) -> Iterator[World]:
    with grpc.insecure_channel(node.endpoint) as channel:
        stub = contract_service_pb2_grpc.ContractServiceStub(channel)
        start = in_seconds(24 * 3_600)

        def reserved(ttp: float, request_id: str | None = None) -> Contract:
            request = reserve("p-1", cores=0.5, start=start, ttp=ttp, request_id=request_id)
            return stub.ReserveFlavour(request, timeout=10).contract

        expired = reserved(0.2)
        spent = str(uuid4())
        first = reserved(3_000, spent)
        bought = stub.PurchaseFlavour(purchase(reserved(3_000)), timeout=10).contract
        while stub.GetContract(get(expired), timeout=10).contract.state != EXPIRED:
            time.sleep(0.02)
        page = stub.ListContracts(contracts.ListContractsRequest(page_size=1), timeout=10)
        yield World(
            node.provider_id,
            first,
            spent,
            bought,
            expired,
            page.next_page_token,
            discovery_service_pb2_grpc.DiscoveryServiceStub(channel),
            stub,
            audit_service_pb2_grpc.AuditServiceStub(channel),
        )


def details_of(error: grpc.RpcError) -> dict[type[Message], Message]:
    """The details of a status, by type."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None, f"no typed status: {error}"
    assert status.ByteSize() < MOST_DETAIL_BYTES
    found: dict[type[Message], Message] = {}
    for packed in status.details:
        for kind in DETAILS:
            if packed.Is(kind.DESCRIPTOR):
                found[kind] = kind.FromString(packed.value)
    return found


def check_refused(error: grpc.RpcError, bad: Bad) -> None:
    """The code, the reason, the facts and the field are those of the table, and no word of Python is in it."""
    assert isinstance(error, grpc.Call)
    details = details_of(error)
    info = details[error_details_pb2.ErrorInfo]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (error.code(), info.reason, info.domain) == (bad.code, bad.reason, "rear.v1")
    assert bad.metadata.items() <= dict(info.metadata).items()
    if bad.code is Code.INVALID_ARGUMENT:
        request = details[error_details_pb2.BadRequest]
        assert isinstance(request, error_details_pb2.BadRequest)
        (violation,) = request.field_violations
        assert violation.field == bad.path
        assert violation.description
    message = error.details() or ""
    assert message
    assert not any(word in message for word in ("Traceback", "Error(", "object at", ".py"))


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_bad_requests_are_refused_by_name_and_change_nothing(world: World, bad: Bad) -> None:
    before = world.position()
    with pytest.raises(grpc.RpcError) as refused:
        world.send(bad.request(world))

    check_refused(refused.value, bad)
    assert world.position() == before


@pytest.mark.parametrize(
    "request_of",
    [cores(10_500), gpus(count=3), gpus("gpu", 2, 1_000)],
    ids=["more than is offered", "more devices than there are", "devices that are held"],
)
def test_more_than_there_is_is_refused_with_what_would_fit(
    world: World, request_of: Callable[[World], contracts.ReserveFlavourRequest]
) -> None:
    held = None
    request = request_of(world)
    if request.partition.units and request.partition.units[0].count == 2:
        held = world.contracts.ReserveFlavour(gpus(count=1, millis=500)(world), timeout=10).contract
    before = world.position()
    with pytest.raises(grpc.RpcError) as refused:
        world.send(request)
    details = details_of(refused.value)
    info, offer = details[error_details_pb2.ErrorInfo], details[CounterOffer]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert isinstance(offer, CounterOffer)
    assert (refused.value.code(), info.reason) == (Code.RESOURCE_EXHAUSTED, "CAPACITY_EXCEEDED")
    assert offer.flavour_id.startswith("p-")
    assert offer.asked_window.end.ToNanoseconds() > offer.asked_window.start.ToNanoseconds()
    assert world.position() == before
    if held is not None:
        assert offer.most_in_window.units[0].count == 1
        assert offer.earliest_window.start == held.window.end
        world.contracts.CancelContract(cancel(held), timeout=10)


def test_a_message_that_the_transport_does_not_take_is_refused_by_it(world: World) -> None:
    before = world.position()
    with pytest.raises(grpc.RpcError) as refused:
        world.send(naming("chain_id", "c" * (16 * 2**20 + 1))(world))
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED
    assert world.position() == before


NOISE, NOT_UTF8, CUT_SHORT = b"\xff\xff\xff\xff", b"\x12\x02\xff\xfe", b"\x12\x7fp-1"


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("rear.v1.ContractService/ReserveFlavour", NOISE),
        ("rear.v1.ContractService/ReserveFlavour", NOT_UTF8),
        ("rear.v1.ContractService/ReserveFlavour", CUT_SHORT),
        ("rear.v1.DiscoveryService/GetFlavour", NOISE),
        ("grpc.health.v1.Health/Check", NOISE),
        ("grpc.health.v1.Health/List", NOISE),
    ],
)
def test_bytes_that_are_no_message_are_refused(world: World, node: NodeProcess, method: str, data: bytes) -> None:
    before = world.position()
    with grpc.insecure_channel(node.endpoint) as channel:
        call: Raw = channel.unary_unary(f"/{method}")
        with pytest.raises(grpc.RpcError) as refused:
            call(data, timeout=10)
    check_refused(refused.value, Bad("no message", cores(1), "request"))
    assert world.position() == before


def test_a_method_that_there_is_not_is_refused(world: World, node: NodeProcess) -> None:
    with grpc.insecure_channel(node.endpoint) as channel:
        call: Raw = channel.unary_unary("/rear.v1.ContractService/NoSuchMethod")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=10)
    assert refused.value.code() is Code.UNIMPLEMENTED


def test_a_request_that_was_refused_may_be_made_good_under_the_same_id(world: World) -> None:
    request = cores(499)(world)
    with pytest.raises(grpc.RpcError):
        world.send(request)
    request.partition.quantities.cpu_millicores = 500
    request.window.end.FromNanoseconds(in_seconds(600))
    contract = world.contracts.ReserveFlavour(request, timeout=10).contract
    world.contracts.CancelContract(cancel(contract), timeout=10)
