"""The command with certificates: what `rear pki` makes, and what is said where something is wrong with them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import structlog

from rear.command.main import run_command
from rear.rpc.client import Client
from rear.rpc.refused import Unreachable
from rear.rpc.tls_files import TlsFiles
from rear.v1 import discovery_service_pb2
from tests.certificates import TestAuthority, write
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool

ALICE = "spiffe://system.test/buyer/alice"
REAR = Path(sys.executable).with_name("rear")


def rear(*arguments: str, code: int = 0, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(REAR), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def options(files: TlsFiles) -> list[str]:
    return ["--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-ca", str(files.ca)]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command made: an authority, a node's certificate and a buyer's."""
    folder = tmp_path_factory.mktemp("made")
    rear("pki", "init", "--domain", "system.test", folder=folder)
    rear("pki", "issue", "spiffe://system.test/node/n1", "--dns", "localhost", "--ip", "127.0.0.1", folder=folder)
    rear("pki", "issue", "spiffe://system.test/buyer/alice", folder=folder)
    return folder / "pki"


def of(pki: Path, who: str) -> TlsFiles:
    return TlsFiles(pki / who / "cert.pem", pki / who / "key.pem", pki / "ca.pem")


@pytest.fixture(scope="module")
def node(new_shared_node: NewNode, pki: Path) -> NodeProcess:
    node = new_shared_node(pool("machine", cpu=8))
    node.options = options(of(pki, "node/n1"))
    node.start()
    return node


def test_a_buyer_reserves_with_what_pki_issued(node: NodeProcess, pki: Path) -> None:
    alice = ["--endpoint", node.endpoint, *options(of(pki, "buyer/alice"))]
    done = rear(*alice, "--expect", node.provider_id, "--json", "reserve", "machine-1", "--cpu", "1")
    assert json.loads(done.stdout)["contract"]["buyerId"] == "spiffe://system.test/buyer/alice"
    refused = rear(*alice, "events", code=3)
    assert "buyer/alice lacks the permission `audit`, which ReadEvents needs" in refused.stderr


def test_keys_are_their_owners_only(pki: Path) -> None:
    for key in (pki / "ca.key", pki / "node/n1/key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_nothing_is_overwritten(pki: Path) -> None:
    before = (pki / "ca.pem").read_bytes(), (pki / "node/n1/key.pem").read_bytes()
    assert "is there already" in rear("pki", "init", "--dir", str(pki), code=1).stderr
    again = rear("pki", "issue", "--dir", str(pki), "spiffe://system.test/node/n1", code=1)
    assert "is there already" in again.stderr
    assert before == ((pki / "ca.pem").read_bytes(), (pki / "node/n1/key.pem").read_bytes())


def test_an_authority_vouches_for_its_domain_only(pki: Path) -> None:
    other = rear("pki", "issue", "--dir", str(pki), "spiffe://other.test/buyer/alice", code=1)
    assert "vouches for spiffe://system.test/* only" in other.stderr
    shown = json.loads(rear("--json", "pki", "show", str(pki / "ca.pem")).stdout)["certificates"]
    assert [certificate["vouchesFor"] for certificate in shown] == ["system.test"]


async def why_not(endpoint: str, files: TlsFiles | None) -> str:
    """What a client says that gets no connection."""
    async with Client(endpoint, tls=files, patience=0) as client:
        with pytest.raises(Unreachable) as caught:
            await client.list_flavours(discovery_service_pb2.ListFlavoursRequest())
    return caught.value.message


async def test_what_is_wrong_with_a_connection_is_said(node: NodeProcess, pki: Path, tmp_path: Path) -> None:
    alice = of(pki, "buyer/alice")
    assert "the service speaks TLS: give --tls-cert" in await why_not(node.endpoint, None)
    stranger = write(tmp_path / "stranger", TestAuthority().issue(ALICE), (pki / "ca.pem").read_bytes())
    assert "it does not trust the authority that issued it" in await why_not(node.endpoint, stranger)
    (tmp_path / "other.pem").write_bytes(TestAuthority().pem)
    distrusted = TlsFiles(alice.cert, alice.key, tmp_path / "other.pem")
    assert "the service's certificate is not good" in await why_not(node.endpoint, distrusted)
    nowhere = f"127.0.0.2:{node.endpoint.rpartition(':')[2]}"
    assert "efused" in await why_not(nowhere, alice)


async def test_a_name_that_the_certificate_does_not_bear_is_said(node: NodeProcess, pki: Path) -> None:
    port = node.endpoint.rpartition(":")[2]
    assert "not valid for '127.1'" in await why_not(f"127.1:{port}", of(pki, "buyer/alice"))


async def test_a_service_without_tls_is_recognised(pki: Path) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert "the service does not speak TLS" in await why_not(f"127.0.0.1:{port}", of(pki, "buyer/alice"))
    await server.stop(0)


@pytest.fixture
def own_logs() -> Iterator[None]:
    """The command sets up its process's logs, on the stderr of the moment; here that is the test's."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("own_logs")
def test_what_is_wrong_with_files_is_said(pki: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alice = of(pki, "buyer/alice")

    def refused(code: int, *arguments: str) -> str:
        assert run_command([*arguments, "flavours", "list"]) == code
        return capsys.readouterr().err

    mixed = TlsFiles(alice.cert, of(pki, "node/n1").key, alice.ca)
    assert "is not the key of the certificate" in refused(1, *options(mixed))
    missing = TlsFiles(alice.cert, alice.key, pki / "none.pem")
    assert "none.pem cannot be read: No such file" in refused(1, *options(missing))
    assert "--tls-key and --tls-ca must be given together with --tls-cert" in refused(2, "--tls-cert", "x")
    assert "--expect is proved by a certificate" in refused(2, "--expect", "spiffe://system.test/node/n1")


def test_a_node_does_not_start_with_what_is_not_its_own(pki: Path, tmp_path: Path) -> None:
    up = ["up", "--name", "n1", "--domain", "system.test", "--state", str(tmp_path / "state"), "--listen", "[::1]:0"]
    mistaken = rear(*up, *options(of(pki, "buyer/alice")), code=1).stderr
    assert f"the certificate {pki / 'buyer/alice/cert.pem'} is of spiffe://system.test/buyer/alice" in mistaken
    assert "but this process is spiffe://system.test/node/n1" in mistaken
    (tmp_path / "policy.yaml").write_text("grants:\n  - who: alice\n    may: list\n")
    wrong = rear(*up, *options(of(pki, "node/n1")), "--policy", str(tmp_path / "policy.yaml"), code=1).stderr
    assert "policy.yaml:2: grants[0].who: 'alice' is not of the form spiffe://" in wrong
