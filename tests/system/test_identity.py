"""Who may call what: every RPC of every service, called by everybody that there can be, at a node with mutual TLS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from rear.rpc.policy import REQUIRED
from rear.rpc.refused import DETAILS_KEY
from rear.rpc.tls_files import TlsFiles
from rear.v1 import (
    audit_service_pb2,
    contract_pb2,
    contract_service_pb2,
    discovery_service_pb2,
    fabric_service_pb2,
    intent_service_pb2,
    watch_pb2,
)
from tests.certificates import Pair, TestAuthority, write
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool

DOMAIN: Final = "system.test"
ALICE: Final = f"spiffe://{DOMAIN}/buyer/alice"
BOB: Final = f"spiffe://{DOMAIN}/buyer/bob"
AUDITOR: Final = f"spiffe://{DOMAIN}/auditor/eve"
ADMINISTRATOR: Final = f"spiffe://{DOMAIN}/administrator/root"
GUEST: Final = f"spiffe://{DOMAIN}/guest/mallory"
ANONYMOUS: Final = f"spiffe://{DOMAIN}/local/anonymous"

POLICY: Final = f"""\
grants:
  - who: spiffe://{DOMAIN}/buyer/*
    may: [list, reserve, submit]
  - who: {AUDITOR}
    may: audit
  - who: {ADMINISTRATOR}
    may: administer
"""


class Answer(StrEnum):
    """How a call ends."""

    OK = "OK"
    NO_CONNECTION = "UNAVAILABLE "
    NOBODY = "UNAUTHENTICATED NOT_AUTHENTICATED"
    DENIED = "PERMISSION_DENIED PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND CONTRACT_NOT_FOUND"
    NO_REQUEST = "NOT_FOUND SERVICE_REQUEST_NOT_FOUND"
    NO_OPERATION = "NOT_FOUND OPERATION_NOT_FOUND"


OK, DENIED, NOT_FOUND = Answer.OK, Answer.DENIED, Answer.NOT_FOUND
NO_REQUEST, NO_OPERATION = Answer.NO_REQUEST, Answer.NO_OPERATION

EXPECTED: Final[Mapping[str, tuple[Answer, Answer, Answer, Answer, Answer]]] = {
    #                                       guest   bob        alice      auditor administrator
    "rear.v1.DiscoveryService/ListFlavours": (DENIED, OK, OK, DENIED, DENIED),
    "rear.v1.DiscoveryService/GetFlavour": (DENIED, OK, OK, DENIED, DENIED),
    "rear.v1.ContractService/ReserveFlavour": (DENIED, OK, OK, DENIED, DENIED),
    "rear.v1.ContractService/PurchaseFlavour": (DENIED, NOT_FOUND, OK, DENIED, DENIED),
    "rear.v1.ContractService/CancelContract": (DENIED, NOT_FOUND, OK, DENIED, OK),
    "rear.v1.ContractService/RevokeContract": (DENIED, DENIED, DENIED, DENIED, OK),
    "rear.v1.ContractService/GetContract": (DENIED, NOT_FOUND, OK, DENIED, OK),
    "rear.v1.ContractService/ListContracts": (DENIED, OK, OK, DENIED, DENIED),
    "rear.v1.ContractService/WatchContracts": (DENIED, OK, OK, DENIED, OK),
    "rear.v1.FabricService/RequestResources": (DENIED, NOT_FOUND, OK, DENIED, DENIED),
    "rear.v1.AuditService/ReadEvents": (DENIED, DENIED, DENIED, OK, DENIED),
    "rear.v1.IntentService/SubmitIntent": (DENIED, OK, OK, DENIED, DENIED),
    "rear.v1.IntentService/GetServiceRequest": (DENIED, NO_REQUEST, OK, DENIED, OK),
    "rear.v1.IntentService/WatchServiceRequest": (DENIED, NO_REQUEST, OK, DENIED, OK),
    "rear.v1.IntentService/ListServiceRequests": (DENIED, OK, OK, DENIED, OK),
    "rear.v1.IntentService/CancelServiceRequest": (DENIED, NO_REQUEST, OK, DENIED, OK),
    "google.longrunning.Operations/ListOperations": (DENIED, OK, OK, DENIED, OK),
    "google.longrunning.Operations/GetOperation": (DENIED, NO_OPERATION, OK, DENIED, OK),
    "google.longrunning.Operations/WaitOperation": (DENIED, NO_OPERATION, OK, DENIED, OK),
    "google.longrunning.Operations/CancelOperation": (DENIED, NO_OPERATION, OK, DENIED, OK),
    "google.longrunning.Operations/DeleteOperation": (DENIED, NO_OPERATION, OK, DENIED, OK),
    "grpc.health.v1.Health/Check": (OK, OK, OK, OK, OK),
    "grpc.health.v1.Health/List": (OK, OK, OK, OK, OK),
    "grpc.health.v1.Health/Watch": (OK, OK, OK, OK, OK),
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": (OK, OK, OK, OK, OK),
}
"""For those who have an identity. What concerns a contract or a service request concerns one of alice's."""

KNOWN: Final = ("a guest", "another buyer", "the owner", "an auditor", "an administrator")

TURNED_AWAY: Final[Mapping[str, Answer]] = {
    "no TLS": Answer.NO_CONNECTION,
    "no certificate": Answer.NO_CONNECTION,
    "another authority": Answer.NO_CONNECTION,
    "another authority of the same name": Answer.NO_CONNECTION,
    "an authority of another domain": Answer.NO_CONNECTION,
    "expired": Answer.NO_CONNECTION,
    "two identities": Answer.NOBODY,
    "no identity": Answer.NOBODY,
    "another kind of URI": Answer.NOBODY,
    "alice up to a NUL": Answer.NOBODY,
    "the anonymous principal": Answer.NOBODY,
}
"""For everybody else, whatever is called."""


@dataclass(frozen=True, slots=True)
class World:
    """A node with TLS, all who call it, and what alice has reserved and agreed there."""

    node: NodeProcess
    ca: bytes
    callers: Mapping[str, Pair | None]
    contract: contract_pb2.Contract
    agreed: contract_pb2.Contract
    requested: str
    """A service request of alice's."""

    def channel(self, caller: str) -> grpc.Channel:
        return channel(self.node.endpoint, self.ca, self.callers[caller]) if caller != "no TLS" else plain(self.node)

    def request(self, method: str) -> Message:
        """What each RPC is called with. Purchases and endings are asked for, and not done."""
        contract = {"contract_id": self.contract.contract_id, "request_id": str(uuid4()), "validate_only": True}
        deletes = "Delete" in method
        requested = submitted(self.channel("the owner"), str(uuid4())) if deletes else self.requested
        operation = f"operations/{requested}"
        requests: Mapping[str, Message] = {
            "ListFlavours": discovery_service_pb2.ListFlavoursRequest(),
            "GetFlavour": discovery_service_pb2.GetFlavourRequest(flavour_id="untouched-1"),
            "ReserveFlavour": reservation(),
            "PurchaseFlavour": contract_service_pb2.PurchaseFlavourRequest(
                revision=self.contract.revision,
                **contract,  # type: ignore[arg-type]
            ),
            "CancelContract": contract_service_pb2.CancelContractRequest(**contract),  # type: ignore[arg-type]
            "RevokeContract": contract_service_pb2.RevokeContractRequest(reason="broken", **contract),  # type: ignore[arg-type]
            "GetContract": contract_service_pb2.GetContractRequest(contract_id=self.contract.contract_id),
            "ListContracts": contract_service_pb2.ListContractsRequest(),
            "WatchContracts": contract_service_pb2.WatchContractsRequest(),
            "RequestResources": fabric_service_pb2.RequestResourcesRequest(
                contract_id=self.agreed.contract_id,
                quantities=self.agreed.partition.quantities,
                window=self.agreed.window,
            ),
            "SubmitIntent": intent(validate_only=True),
            "GetServiceRequest": intent_service_pb2.GetServiceRequestRequest(service_request_id=requested),
            "WatchServiceRequest": intent_service_pb2.WatchServiceRequestRequest(service_request_id=requested),
            "ListServiceRequests": intent_service_pb2.ListServiceRequestsRequest(),
            "CancelServiceRequest": intent_service_pb2.CancelServiceRequestRequest(
                service_request_id=requested, request_id=str(uuid4())
            ),
            "ListOperations": operations_pb2.ListOperationsRequest(),
            "GetOperation": operations_pb2.GetOperationRequest(name=operation),
            "WaitOperation": operations_pb2.WaitOperationRequest(name=operation, timeout={"seconds": 0}),
            "CancelOperation": operations_pb2.CancelOperationRequest(name=operation),
            "DeleteOperation": operations_pb2.DeleteOperationRequest(name=operation),
            "ReadEvents": audit_service_pb2.ReadEventsRequest(),
            "Check": health_pb2.HealthCheckRequest(),
            "List": health_pb2.HealthListRequest(),
            "Watch": health_pb2.HealthCheckRequest(),
            "ServerReflectionInfo": reflection_pb2.ServerReflectionRequest(list_services=""),
        }
        return requests[method.rpartition("/")[2]]


def submitted(owned: grpc.Channel, request_id: str) -> str:
    """A service request of alice's."""
    with owned:
        _, answer, _ = ask(owned, "rear.v1.IntentService/SubmitIntent", intent(request_id))
    return operations_pb2.Operation.FromString(answer).name.removeprefix("operations/")


def intent(request_id: str = "a-question", *, validate_only: bool = False) -> intent_service_pb2.SubmitIntentRequest:
    """Of more cores than the pool `untouched` has."""
    document = "name: a\ncomponents: [{name: b, quantities: {cpu: 12}, workload: {command: [c]}}]\n"
    return intent_service_pb2.SubmitIntentRequest(document=document, request_id=request_id, validate_only=validate_only)


def reservation(*, confirm: bool = False) -> contract_service_pb2.ReserveFlavourRequest:
    request = contract_service_pb2.ReserveFlavourRequest(
        flavour_id="machine-1", request_id=str(uuid4()), confirm=confirm
    )
    request.partition.quantities.cpu_millicores = 500
    return request


def channel(endpoint: str, ca: bytes, pair: Pair | None) -> grpc.Channel:
    key, cert = (pair.key, pair.cert) if pair is not None else (None, None)
    return grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(ca, key, cert))


def plain(node: NodeProcess) -> grpc.Channel:
    return grpc.insecure_channel(node.endpoint)


def ask(channel: grpc.Channel, method: str, request: Message) -> tuple[str, bytes, Mapping[str, str]]:
    """How a call of any shape ends: its code and reason, the first message, and the metadata of its refusal."""
    shapeless: Any = channel.stream_stream(f"/{method}")
    call = shapeless(iter([request.SerializeToString()]), timeout=10)
    try:
        return "OK", next(call, b""), {}
    except grpc.RpcError:
        info = error_details_pb2.ErrorInfo()
        for key, value in call.trailing_metadata() or ():
            if key == DETAILS_KEY:
                status_pb2.Status.FromString(value).details[0].Unpack(info)
        return f"{call.code().name} {info.reason}", b"", info.metadata
    finally:
        call.cancel()


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority(domain=DOMAIN)


@pytest.fixture(scope="module")
def world(new_shared_node: NewNode, tmp_path_factory: pytest.TempPathFactory, authority: TestAuthority) -> World:
    folder = tmp_path_factory.mktemp("world")
    node = new_shared_node(pool("machine", cpu=64), pool("untouched", whole=True))
    stranger = TestAuthority(domain="stranger.test")
    # Trusted too, but for its own domain only.
    trusted = authority.pem + stranger.pem
    secure(node, write(folder, authority.issue(node.provider_id, ip=["127.0.0.1"]), trusted), POLICY)
    node.start()
    alice = authority.issue(ALICE)
    with channel(node.endpoint, authority.pem, alice) as owned:
        made = [
            contract_service_pb2.ReserveFlavourResponse.FromString(
                ask(owned, "rear.v1.ContractService/ReserveFlavour", reservation(confirm=confirm))[1]
            ).contract
            for confirm in (False, True)
        ]
    callers = {
        "no TLS": None,
        "no certificate": None,
        "another authority": TestAuthority("another").issue(ALICE),
        "another authority of the same name": TestAuthority().issue(ALICE),
        "an authority of another domain": stranger.issue(ALICE),
        "expired": authority.issue(ALICE, lasts=-timedelta(minutes=1)),
        "two identities": authority.issue(BOB, ALICE),
        "no identity": authority.issue(dns=["alice.buyer.system.test"], name=ALICE),
        "another kind of URI": authority.issue(f"https://{DOMAIN}/buyer/alice"),
        "alice up to a NUL": authority.issue(f"{ALICE}\0.other"),
        "the anonymous principal": authority.issue(ANONYMOUS),
        "a guest": authority.issue(GUEST, dns=[f"alice.buyer.{DOMAIN}"], name=ALICE),
        "another buyer": authority.issue(BOB, name=ALICE),
        "the owner": alice,
        "an auditor": authority.issue(AUDITOR),
        "an administrator": authority.issue(ADMINISTRATOR),
    }
    requested = submitted(channel(node.endpoint, authority.pem, alice), "the-one")
    reserved, agreed = made
    return World(node, authority.pem, callers, reserved, agreed, requested)


def secure(node: NodeProcess, files: TlsFiles, policy: str = "") -> None:
    """Has the node speak TLS from its next start on."""
    node.options = ["--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-ca", str(files.ca)]
    if policy:
        path = node.folder / "policy.yaml"
        path.write_text(policy)
        node.options += ["--policy", str(path)]


def test_the_table_has_every_rpc_that_the_node_serves(world: World) -> None:
    assert {f"/{method}" for method in EXPECTED} == set(REQUIRED)
    with world.channel("an auditor") as channel:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        _, answer, _ = ask(channel, "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", request)
    served = reflection_pb2.ServerReflectionResponse.FromString(answer).list_services_response.service
    assert {service.name for service in served} == {method.partition("/")[0] for method in EXPECTED}


@pytest.mark.parametrize("method", EXPECTED)
@pytest.mark.parametrize("caller", [*TURNED_AWAY, *KNOWN])
def test_every_caller_at_every_rpc(world: World, caller: str, method: str) -> None:
    expected = TURNED_AWAY[caller] if caller in TURNED_AWAY else EXPECTED[method][KNOWN.index(caller)]
    with world.channel(caller) as channel:
        ended, answer, metadata = ask(channel, method, world.request(method))
    assert ended == expected
    if expected is Answer.OK:
        assert answer or "longrunning" in method  # where an answer may have nothing in it
    if expected is Answer.DENIED:
        assert set(metadata) == {"caller", "permission"}
        assert metadata["caller"].startswith(f"spiffe://{DOMAIN}/")
        assert set(metadata["permission"].split(" or ")) == REQUIRED[f"/{method}"]


def test_nobody_but_the_owner_sees_a_contract_in_a_list(world: World) -> None:
    seen = {}
    for caller in ("another buyer", "the owner"):
        with world.channel(caller) as channel:
            method = "rear.v1.ContractService/ListContracts"
            _, answer, _ = ask(channel, method, world.request(method))
        found = contract_service_pb2.ListContractsResponse.FromString(answer).contracts
        seen[caller] = world.contract.contract_id in {contract.contract_id for contract in found}
    assert seen == {"another buyer": False, "the owner": True}


def test_a_buyer_is_who_its_certificate_says(world: World) -> None:
    assert world.contract.buyer_id == ALICE
    with world.channel("another buyer") as channel:
        method = "rear.v1.ContractService/ReserveFlavour"
        _, answer, _ = ask(channel, method, reservation())
    assert contract_service_pb2.ReserveFlavourResponse.FromString(answer).contract.buyer_id == BOB


def test_an_administrator_who_cancels_is_on_record(world: World) -> None:
    with world.channel("the owner") as channel:
        _, answer, _ = ask(channel, "rear.v1.ContractService/ReserveFlavour", reservation())
    contract = contract_service_pb2.ReserveFlavourResponse.FromString(answer).contract
    with world.channel("an administrator") as channel:
        request = contract_service_pb2.CancelContractRequest(contract_id=contract.contract_id, request_id="end")
        ended, answer, _ = ask(channel, "rear.v1.ContractService/CancelContract", request)
    cancelled = contract_service_pb2.CancelContractResponse.FromString(answer).contract
    assert ended == "OK"
    assert cancelled.state == contract_pb2.CONTRACT_STATE_CANCELLED
    assert (cancelled.buyer_id, cancelled.ending.actor) == (ALICE, ADMINISTRATOR)


def test_an_administrator_who_revokes_is_on_record(world: World) -> None:
    with world.channel("the owner") as channel:
        _, answer, _ = ask(channel, "rear.v1.ContractService/ReserveFlavour", reservation())
    contract = contract_service_pb2.ReserveFlavourResponse.FromString(answer).contract
    with world.channel("an administrator") as channel:
        request = contract_service_pb2.RevokeContractRequest(
            contract_id=contract.contract_id, request_id="revoke", reason="the machine is broken"
        )
        ended, answer, _ = ask(channel, "rear.v1.ContractService/RevokeContract", request)
    revoked = contract_service_pb2.RevokeContractResponse.FromString(answer).contract
    assert ended == "OK"
    assert revoked.state == contract_pb2.CONTRACT_STATE_REVOKED
    assert (revoked.ending.actor, revoked.ending.reason) == (ADMINISTRATOR, "the machine is broken")


WATCH: Final = "/rear.v1.ContractService/WatchContracts"


def watched(channel: grpc.Channel, request: contract_service_pb2.WatchContractsRequest) -> set[str]:
    """The contracts that a watch begins with."""
    found: set[str] = set()
    call: Any = channel.unary_stream(
        WATCH,
        request_serializer=contract_service_pb2.WatchContractsRequest.SerializeToString,
        response_deserializer=contract_service_pb2.WatchContractsResponse.FromString,
    )(request, timeout=10)
    for response in call:
        found |= {contract.contract_id for contract in response.contracts}
        if response.kind == watch_pb2.WATCH_KIND_SYNCED:
            call.cancel()
            return found
    raise AssertionError("it ended")


def test_a_watcher_is_told_of_its_own_contracts_only_and_an_administrator_of_all_where_it_asks(world: World) -> None:
    alices, all_buyers = {world.contract.contract_id}, contract_service_pb2.WatchContractsRequest(all_buyers=True)
    named = contract_service_pb2.WatchContractsRequest(contract_ids=alices)
    with world.channel("the owner") as owner, world.channel("another buyer") as other:
        assert watched(owner, contract_service_pb2.WatchContractsRequest()) >= alices
        assert watched(owner, named) == alices
        assert watched(other, named) == set()
        assert not watched(other, contract_service_pb2.WatchContractsRequest()) & alices
        ended, _, metadata = ask(other, WATCH.removeprefix("/"), all_buyers)
        assert (ended, metadata["permission"]) == (Answer.DENIED, "administer")
    with world.channel("an administrator") as administrator:
        assert watched(administrator, all_buyers) >= alices
        assert not watched(administrator, contract_service_pb2.WatchContractsRequest()) & alices
