"""`buf curl` through server reflection: a client that has neither our code nor our protos."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.certificates import TestAuthority, write
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool

BUF = Path(sys.executable).with_name("buf")

Json = dict[str, Any]


def buf_curl(node: NodeProcess, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run outside of the project, so that no configuration or proto of ours is found."""
    command = [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def call(node: NodeProcess, folder: Path, method: str, request: Json, *, package: str = "rear.v1") -> Json:
    done = buf_curl(node, f"http://{node.endpoint}/{package}.{method}", "--data", json.dumps(request), folder=folder)
    assert done.returncode == 0, done.stderr
    answer: Json = json.loads(done.stdout)
    return answer


def wish(cores: int, request_id: str) -> Json:
    return {
        "flavourId": "small-1",
        "partition": {"quantities": {"cpuMillicores": str(cores * 1_000)}},
        "requestId": request_id,
    }


def test_reflection_names_the_services(node: NodeProcess, tmp_path: Path) -> None:
    done = buf_curl(node, "--list-methods", f"http://{node.endpoint}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {
        "rear.v1.DiscoveryService/ListFlavours",
        "rear.v1.DiscoveryService/GetFlavour",
        "rear.v1.ContractService/ReserveFlavour",
        "rear.v1.ContractService/PurchaseFlavour",
        "rear.v1.ContractService/CancelContract",
        "rear.v1.ContractService/GetContract",
        "rear.v1.ContractService/RevokeContract",
        "rear.v1.ContractService/ListContracts",
        "rear.v1.ContractService/WatchContracts",
        "rear.v1.AuditService/ReadEvents",
        "rear.v1.IntentService/SubmitIntent",
        "google.longrunning.Operations/WaitOperation",
        "grpc.health.v1.Health/Check",
    } <= set(done.stdout.split())


def test_health_says_that_it_serves(node: NodeProcess, tmp_path: Path) -> None:
    url = f"http://{node.endpoint}/grpc.health.v1.Health/Check"
    done = buf_curl(node, url, "--data", '{"service": "rear.v1.ContractService"}', folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"status": "SERVING"}


def test_it_lists_reserves_and_buys(node: NodeProcess, tmp_path: Path) -> None:
    selector = {"poolIds": ["small"], "quantities": {"cpuMillicores": {"min": "4000"}}}
    found = call(node, tmp_path, "DiscoveryService/ListFlavours", {"selector": selector})
    (listed,) = found["flavours"]
    assert listed["flavour"]["flavourId"] == "small-1"
    assert listed["available"]["cpuMillicores"] == "4000"

    request_id = str(uuid4())
    reserved = call(node, tmp_path, "ContractService/ReserveFlavour", wish(3, request_id))["contract"]
    assert reserved["state"] == "CONTRACT_STATE_RESERVED"
    again = call(node, tmp_path, "ContractService/ReserveFlavour", wish(3, request_id))["contract"]
    assert again == reserved

    purchase = {
        "contractId": reserved["contractId"],
        "revision": reserved["revision"],
        "requestId": str(uuid4()),
    }
    bought = call(node, tmp_path, "ContractService/PurchaseFlavour", purchase)["contract"]
    assert int(bought["revision"]) == int(reserved["revision"]) + 1
    kept = call(node, tmp_path, "ContractService/ListContracts", {"poolId": "small"})["contracts"]
    assert [contract["contractId"] for contract in kept] == [reserved["contractId"]]


def test_it_hands_in_an_intent_and_waits(node: NodeProcess, tmp_path: Path) -> None:
    document = """
        name: later
        components:
        - name: web
          quantities: {cpu: 1}
          window: {start: +48h, for: 1h}
          workload: {command: [serve]}
    """
    request = {"document": document, "requestId": str(uuid4())}
    operation = call(node, tmp_path, "IntentService/SubmitIntent", request)
    assert operation["metadata"]["@type"] == "type.googleapis.com/rear.v1.ServiceRequest"
    assert operation["metadata"]["components"][0]["name"] == "web"
    name = {"name": operation["name"]}
    call(node, tmp_path, "Operations/CancelOperation", name, package="google.longrunning")
    ended = call(node, tmp_path, "Operations/WaitOperation", name, package="google.longrunning")
    assert ended["done"]
    assert ended["error"]["details"][0]["reason"] == "CANCELLED"


@pytest.mark.parametrize(
    ("request_body", "code", "detail"),
    [
        (wish(9_999, "r-1"), "resource_exhausted", "rear.v1.CounterOffer"),
        (wish(-1, "r-2"), "invalid_argument", "google.rpc.BadRequest"),
        (wish(1, ""), "invalid_argument", "google.rpc.BadRequest"),
    ],
    ids=["more than is offered", "a negative quantity", "no request id"],
)
def test_a_refusal_comes_with_its_typed_details(
    node: NodeProcess, tmp_path: Path, request_body: Json, code: str, detail: str
) -> None:
    done = buf_curl(
        node,
        f"http://{node.endpoint}/rear.v1.ContractService/ReserveFlavour",
        "--data",
        json.dumps(request_body),
        folder=tmp_path,
    )
    assert done.returncode != 0
    error: Json = json.loads(done.stderr)
    assert error["code"] == code
    assert {"google.rpc.ErrorInfo", detail} <= {found["type"] for found in error["details"]}


def test_a_certificate_says_who_it_is(new_node: NewNode, tmp_path: Path) -> None:
    node, authority = new_node(pool("small", cpu=4)), TestAuthority(domain="system.test")
    service = write(tmp_path / "service", authority.issue(node.provider_id, ip=["127.0.0.1"]), authority.pem)
    alice = write(tmp_path / "alice", authority.issue("spiffe://system.test/buyer/alice"), authority.pem)
    node.options = ["--tls-cert", str(service.cert), "--tls-key", str(service.key), "--tls-ca", str(service.ca)]
    node.start()
    certified = ("--cert", str(alice.cert), "--key", str(alice.key))

    def curl(method: str, request: Json, *options: str) -> subprocess.CompletedProcess[str]:
        url = f"https://{node.endpoint}/rear.v1.{method}"
        command = [str(BUF), "curl", "--protocol", "grpc", "--cacert", str(alice.ca), *options]
        return subprocess.run(
            [*command, url, "--data", json.dumps(request)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = curl("ContractService/ReserveFlavour", wish(1, "r-1"), *certified)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["contract"]["buyerId"] == "spiffe://system.test/buyer/alice"
    assert curl("ContractService/ReserveFlavour", wish(1, "r-2")).returncode != 0, "no certificate was asked for"
    denied = json.loads(curl("AuditService/ReadEvents", {}, *certified).stderr)
    assert denied["code"] == "permission_denied"
