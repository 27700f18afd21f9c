"""Certificates, authorities and policies that change while a node serves, and whom a client takes for its service."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from rear.rpc.client import Client
from rear.rpc.refused import Refused, Unreachable, WrongService
from rear.rpc.tls_files import TlsFiles
from rear.v1 import contract_service_pb2, discovery_service_pb2
from tests.certificates import Pair, TestAuthority, replace, write
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually

ALICE: Final = "spiffe://system.test/buyer/alice"
ROOT: Final = "spiffe://system.test/administrator/root"

IN_FLIGHT: Final = 6


class Parties:
    """A node and alice, each with files of its own, under one authority."""

    def __init__(self, node: NodeProcess, folder: Path) -> None:
        self.node = node
        self.authority = TestAuthority("the first")
        self.service = write(folder / "service", self._of_service(), self.authority.pem)
        self.alice = write(folder / "alice", self.authority.issue(ALICE), self.authority.pem)
        node.options = [
            *("--tls-cert", str(self.service.cert)),
            *("--tls-key", str(self.service.key)),
            *("--tls-ca", str(self.service.ca)),
        ]

    def client(self, *, expected: str | None = None) -> Client:
        return Client(self.node.endpoint, tls=self.alice, provider_id=expected, patience=5)

    def trust(self, *authorities: TestAuthority) -> None:
        """What both trust from now on."""
        for files in (self.service, self.alice):
            replace(files.ca, b"".join(authority.pem for authority in authorities))

    def renew(self, authority: TestAuthority) -> None:
        """New keys and certificates for both, one file after the other."""
        self.authority = authority
        for files, pair in ((self.service, self._of_service()), (self.alice, authority.issue(ALICE))):
            replace(files.key, pair.key)
            replace(files.cert, pair.cert)

    def _of_service(self) -> Pair:
        return self.authority.issue(self.node.provider_id, dns=["localhost"], ip=["127.0.0.1"])


@pytest.fixture
def parties(new_node: NewNode, tmp_path: Path) -> Parties:
    return Parties(new_node(pool("machine", cpu=1_000), port=fixed_port()), tmp_path)


def wish() -> contract_service_pb2.ReserveFlavourRequest:
    request = contract_service_pb2.ReserveFlavourRequest(flavour_id="machine-1", request_id=str(uuid4()))
    request.partition.quantities.cpu_millicores = 500
    return request


async def serial_of(endpoint: str) -> bytes:
    """The certificate that new connections are shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = endpoint.partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    assert isinstance(shown, bytes)
    return shown


async def test_everything_is_rotated_under_load_and_no_call_fails(parties: Parties) -> None:
    node, first, second = parties.node, parties.authority, TestAuthority("the second")
    await node.restart()
    done, stop = 0, asyncio.Event()

    async def keep_reserving(client: Client) -> None:
        nonlocal done
        while not stop.is_set():
            await client.reserve_flavour(wish())
            done += 1

    async def keep_connecting(files: TlsFiles) -> None:
        """New connections all the time, by files that are whole."""
        nonlocal done
        while not stop.is_set():
            async with Client(node.endpoint, tls=files, patience=0) as client:
                await client.list_flavours(discovery_service_pb2.ListFlavoursRequest())
            done += 1
            await asyncio.sleep(0.01)

    async def some_more() -> None:
        seen = done
        await eventually(lambda: done >= seen + 10 * IN_FLIGHT, within=20)

    other = write(parties.alice.cert.parent / "other", first.issue(ALICE), first.pem + second.pem)
    named, unnamed = parties.client(expected=node.provider_id), parties.client()
    async with named, unnamed, asyncio.TaskGroup() as load:
        for client in (named, unnamed):
            for _ in range(IN_FLIGHT // 2):
                load.create_task(keep_reserving(client))
        connecting = load.create_task(keep_connecting(other))
        await some_more()
        shown = await serial_of(node.endpoint)
        parties.trust(first, second)
        await some_more()
        parties.renew(second)
        await some_more()
        assert await serial_of(node.endpoint) != shown
        connecting.cancel()
        await asyncio.wait([connecting])
        parties.trust(second)
        load.create_task(keep_connecting(parties.alice))
        await some_more()
        stop.set()

    async with Client(node.endpoint, tls=other, patience=0) as late:
        with pytest.raises(Unreachable, match="it does not trust the authority that issued it"):
            await late.list_flavours(discovery_service_pb2.ListFlavoursRequest())


async def test_a_half_written_pair_keeps_the_one_before(parties: Parties) -> None:
    await parties.node.restart()
    shown = await serial_of(parties.node.endpoint)
    renewed = parties.authority.issue(parties.node.provider_id, ip=["127.0.0.1"])
    replace(parties.service.key, renewed.key)
    async with parties.client() as client:
        await client.list_flavours(discovery_service_pb2.ListFlavoursRequest())
    assert await serial_of(parties.node.endpoint) == shown
    assert "changed TLS files cannot be used; those from before stay" in parties.node.log_tail()
    replace(parties.service.cert, renewed.cert)
    assert await serial_of(parties.node.endpoint) != shown


async def test_a_client_takes_nobody_else_for_its_service(parties: Parties) -> None:
    await parties.node.restart()
    async with parties.client(expected="spiffe://system.test/node/n2") as client:
        with pytest.raises(WrongService, match=r"should be spiffe://system\.test/node/n2, but its certificate is of"):
            await client.list_flavours(discovery_service_pb2.ListFlavoursRequest())


async def test_a_client_may_expect_anybody_of_a_domain(parties: Parties) -> None:
    await parties.node.restart()
    async with parties.client(expected="spiffe://system.test") as client:
        await client.list_flavours(discovery_service_pb2.ListFlavoursRequest())
    async with parties.client(expected="spiffe://other.test") as client:
        with pytest.raises(WrongService, match=r"should be spiffe://other\.test, but its certificate is of"):
            await client.list_flavours(discovery_service_pb2.ListFlavoursRequest())


async def test_a_client_finds_its_service_again_under_a_new_certificate(parties: Parties) -> None:
    node = parties.node
    await node.restart()
    async with parties.client(expected=node.provider_id) as client:
        await client.list_flavours(discovery_service_pb2.ListFlavoursRequest())
        node.kill()
        parties.renew(parties.authority)
        restarting = asyncio.create_task(node.restart())
        reserved = await client.reserve_flavour(wish())
        await restarting
    assert reserved.contract.buyer_id == ALICE


async def test_a_policy_changes_at_once_and_a_broken_one_does_not_count(parties: Parties) -> None:
    node = parties.node
    policy = node.folder / "policy.yaml"
    policy.write_text("grants: [{who: 'spiffe://system.test/*', may: [list, reserve]}]")
    node.options = [*node.options, "--policy", str(policy)]
    await node.restart()
    question = discovery_service_pb2.ListFlavoursRequest()
    async with parties.client() as client:
        await client.list_flavours(question)
        replace(policy, b"grants: [{who: 'spiffe://system.test/*', may: reserve}]")
        os.kill(node.pid, signal.SIGHUP)

        async def refused() -> bool:
            try:
                await client.list_flavours(question)
            except Refused as refusal:
                return refusal.reason == "PERMISSION_DENIED"
            return False

        async with asyncio.timeout(5):
            while not await refused():
                pass
        replace(policy, b"grants: [{who: 'spiffe://system.test/*', may: everything}]")
        await eventually(lambda: "the changed policy cannot be used" in node.log_tail(), within=5)
        assert await refused()
        assert f"{policy}:1: grants[0].may: is 'everything'" in node.log_tail()


async def test_what_an_anonymous_buyer_left_is_nobodys_but_an_administrators(parties: Parties) -> None:
    node, secured = parties.node, parties.node.options
    node.options = ()
    await node.restart()
    async with Client(node.endpoint) as client:
        left = (await client.reserve_flavour(wish())).contract
    node.terminate()
    policy = node.folder / "policy.yaml"
    buyers = "{who: 'spiffe://system.test/buyer/*', may: [list, reserve]}"
    policy.write_text(f"grants: [{buyers}, {{who: '{ROOT}', may: administer}}]")
    node.options = [*secured, "--policy", str(policy)]
    await node.restart()
    question = contract_service_pb2.GetContractRequest(contract_id=left.contract_id)
    async with parties.client() as client:
        with pytest.raises(Refused, match="CONTRACT_NOT_FOUND"):
            await client.get_contract(question)
    root = write(node.folder / "root", parties.authority.issue(ROOT), parties.authority.pem)
    async with Client(node.endpoint, tls=root) as client:
        assert (await client.get_contract(question)).contract.buyer_id == "spiffe://system.test/local/anonymous"
