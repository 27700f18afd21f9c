"""Peerings at a real provider: what it offers stays the same over its death, and is written down nowhere."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from google.longrunning.operations_pb2 import WaitOperationRequest

from rear.event.v1.envelope_pb2 import Envelope
from rear.rpc.client import Client
from rear.rpc.intents_client import IntentsClient
from rear.rpc.refused import Refused
from rear.v1.contract_pb2 import Contract
from rear.v1.contract_service_pb2 import GetContractRequest
from rear.v1.fabric_service_pb2 import RequestResourcesRequest, ResourceOffer
from rear.v1.intent_service_pb2 import CancelServiceRequestRequest, SubmitIntentRequest
from tests.certificates import TestAuthority, write
from tests.system.asking import ACTIVE, CONFIRMED, has_state, in_seconds, purchase, reserve
from tests.system.evidence import Ledger
from tests.system.failing import Failpoints
from tests.system.fixtures import NewNode
from tests.system.node_process import fixed_port, pool
from tests.system.test_identity import secure

INTENT: Final = """\
name: soon
components:
- name: web
  quantities: {{cpu: 2}}
  window: {{{window}for: 1h}}
  workload: {{command: [serve]}}
"""
"""An intent that fits the provider only."""

PEERED: Final = "allocation_peered"

POLICY: Final = """\
grants:
  - who: spiffe://system.test/*
    may: [list, reserve, submit, audit]
  - who: spiffe://system.test/owner/olga
    may: administer
"""


def about(contract: Contract) -> RequestResourcesRequest:
    return RequestResourcesRequest(
        contract_id=contract.contract_id,
        quantities=contract.partition.quantities,
        units=contract.assigned_units,
        window=contract.window,
    )


async def agree(client: Client, *, start: float | None = None) -> Contract:
    """A contract on the machine; `start` is in seconds from now."""
    begins = None if start is None else in_seconds(start)
    return (await client.reserve_flavour(reserve("machine-1", start=begins, confirm=True))).contract


async def offer(client: Client, contract: Contract) -> ResourceOffer:
    return (await client.request_resources(about(contract))).offer


async def test_contracts_between_the_same_two_are_peered_each_by_itself_and_active_from_the_start(
    new_node: NewNode,
) -> None:
    node = new_node(pool("machine", gpus=1))
    node.start()
    async with Client(node.endpoint) as client:
        now, soon, later = await agree(client), await agree(client, start=1.5), await agree(client, start=3_600)

        response = await client.request_resources(about(soon))
        assert (response.contract.state, response.offer.active) == (CONFIRMED, False)
        assert (response.offer.fabric, response.offer.endpoint) == ("embedded", node.endpoint)
        assert response.offer.allocation_id == soon.allocation_id
        offers = [await offer(client, contract) for contract in (now, soon, later)]
        assert [each.active for each in offers] == [True, False, False]
        assert len({each.credential for each in offers}) == 3

        await has_state(client, soon, ACTIVE)

        assert (await offer(client, soon)).active
        ledger = await Ledger.read(client)
    (event,) = ledger.of("allocation_activated", aggregate_id=soon.allocation_id)
    assert event.time.ToNanoseconds() == soon.window.start.ToNanoseconds()
    assert len(ledger.of(PEERED)) == 3
    assert len(ledger.of("allocation_activated")) == 2


async def test_an_offer_is_the_same_after_a_death_between_peering_and_answer(new_node: NewNode) -> None:
    node = new_node(pool("machine"), port=fixed_port())
    failpoints = Failpoints(node)
    node.start()
    async with Client(node.endpoint, patience=30) as client:
        known = await agree(client)
        before = await offer(client, known)
        contract = await agree(client)
        failpoints.arm("fabric.granted=kill")
        asking = asyncio.create_task(offer(client, contract))
        await failpoints.struck("fabric.granted", "kill")
        failpoints.disarm()
        node.wait()

        await node.restart()
        answered = await asking

        assert answered == await offer(client, contract)
        assert await offer(client, known) == before
        ledger = await Ledger.read(client)
        assert len(ledger.of(PEERED, aggregate_id=contract.allocation_id)) == 1

        secrets = [answered.credential, before.credential, node.directory.fabric_key.read_bytes()]
        assert node.directory.fabric_key.stat().st_mode & 0o777 == 0o600
        written = [path for path in node.folder.rglob("*") if path.is_file() and path != node.directory.fabric_key]
        assert {"node.log", "tables.sqlite"} <= {path.name for path in written}
        for path in written:
            content = path.read_bytes()
            assert not [one for one in secrets if one in content or one.hex().encode() in content], path

        node.kill()
        node.directory.fabric_key.unlink()
        await node.restart()
        anew = await offer(client, known)
        assert anew.credential != before.credential
        assert anew.allocation_id == before.allocation_id


async def test_what_is_not_agreed_or_not_so_agreed_is_refused(new_node: NewNode) -> None:
    node = new_node(pool("machine"))
    node.start()
    async with Client(node.endpoint) as client:
        contract = (await client.reserve_flavour(reserve("machine-1"))).contract
        with pytest.raises(Refused, match="RESERVED: purchase it first") as refused:
            await offer(client, contract)
        assert (refused.value.reason, refused.value.metadata["state"]) == ("WRONG_STATE", "RESERVED")

        contract = (await client.purchase_flavour(purchase(contract))).contract
        wrong = about(contract)
        wrong.quantities.cpu_millicores += 1
        wrong.quantities.extended["fpga"] = 1
        with pytest.raises(Refused) as refused:
            await client.request_resources(wrong)
        assert [each.field for each in refused.value.violations] == ["quantities.cpu_millicores"]
        wrong = about(contract)
        wrong.window.end.seconds += 1
        with pytest.raises(Refused) as refused:
            await client.request_resources(wrong)
        assert [each.field for each in refused.value.violations] == ["window.end"]
        wrong = about(contract)
        wrong.provider_id = "spiffe://system.test/node/another"
        with pytest.raises(Refused) as refused:
            await client.request_resources(wrong)
        assert refused.value.reason == "WRONG_PROVIDER"

        assert (await offer(client, contract)).active
        ledger = await Ledger.read(client)
    assert len(ledger.of(PEERED)) == 1


async def submit(client: IntentsClient, start: str = "") -> str:
    """Hands in the intent; returns the name of its operation."""
    request = SubmitIntentRequest(
        document=INTENT.format(window=f"start: {start}, " if start else ""), request_id=str(uuid4())
    )
    return (await client.submit_intent(request)).name


async def events_of(client: Client, kind: str, count: int) -> list[Envelope]:
    """The events of that kind, once there are so many."""
    deadline = asyncio.get_running_loop().time() + 20
    while len(found := (await Ledger.read(client)).of(kind)) < count:
        assert asyncio.get_running_loop().time() < deadline, f"{len(found)} of {count} {kind}"
        await asyncio.sleep(0.05)
    return found


async def test_two_nodes_peer_before_the_start_and_both_sides_are_active_from_it_though_either_died(
    new_node: NewNode,
) -> None:
    provider = new_node(pool("machine"), name="provider", port=fixed_port())
    provider.start()
    consumer = new_node(pool("small", cpu=1), name="consumer", port=fixed_port())
    consumer.options = ["--neighbour", provider.endpoint]
    consumer.start()
    async with IntentsClient(consumer.endpoint, patience=30) as buyer, Client(provider.endpoint, patience=30) as seller:
        at = datetime.fromtimestamp(time.time() + 3, UTC).isoformat()
        operations = [await submit(buyer, at), await submit(buyer, at), await submit(buyer, "+1h")]
        peered = await events_of(buyer, PEERED, 3)
        assert {event.allocation_peered.peer_id for event in peered} == {provider.provider_id}
        assert {event.allocation_peered.endpoint for event in peered} == {provider.endpoint}
        assert len({event.subject for event in peered}) == len(await events_of(seller, PEERED, 3)) == 3
        for node in (provider, consumer):
            node.kill()
            await node.restart()

        here = await events_of(buyer, "allocation_activated", 2)
        there = await events_of(seller, "allocation_activated", 2)

        assert {_contract(event) for event in here} == {_contract(event) for event in there}
        started = (await events_of(seller, "contract_activated", 2))[0].time.ToNanoseconds()
        peered_at = {_contract(event): event.time.ToNanoseconds() for event in await events_of(seller, PEERED, 3)}
        for event in there:  # from the start, unless this machine was slower than that
            assert event.time.ToNanoseconds() == max(started, peered_at[_contract(event)])
        for name in operations[:2]:
            assert (await buyer.wait_operation(WaitOperationRequest(name=name, timeout={"seconds": 10}))).done
        for name in operations:
            key = name.removeprefix("operations/")
            await buyer.cancel_service_request(CancelServiceRequestRequest(service_request_id=key, request_id="end"))
        assert len(await events_of(buyer, "allocation_released", 3)) == 3
        assert len(await events_of(seller, "allocation_released", 3)) == 3
        assert len((await Ledger.read(buyer)).of(PEERED, "allocation_failed")) == 3


async def test_with_tls_each_side_knows_the_other_by_its_certificate(new_node: NewNode, tmp_path: Path) -> None:
    authority = TestAuthority(domain="system.test")
    owner = write(_folder(tmp_path / "owner"), authority.issue("spiffe://system.test/owner/olga"), authority.pem)
    provider, consumer = new_node(pool("machine"), name="provider"), new_node(pool("small", cpu=1), name="consumer")
    for node in (provider, consumer):
        pair = authority.issue(node.provider_id, ip=["127.0.0.1"])
        secure(node, write(_folder(tmp_path / node.name), pair, authority.pem), POLICY)
    provider.start()
    consumer.options = [*consumer.options, "--neighbour", f"{provider.provider_id}={provider.endpoint}"]
    consumer.start()
    async with IntentsClient(consumer.endpoint, tls=owner) as buyer, Client(provider.endpoint, tls=owner) as seller:
        name = await submit(buyer)
        assert (await buyer.wait_operation(WaitOperationRequest(name=name, timeout={"seconds": 10}))).done
        (here,) = await events_of(buyer, PEERED, 1)
        (there,) = await events_of(seller, PEERED, 1)
        assert here.allocation_peered.peer_id == provider.provider_id
        assert there.allocation_peered.peer_id == there.caller == consumer.provider_id
        contract = (await seller.get_contract(GetContractRequest(contract_id=_contract(there)))).contract
        with pytest.raises(
            Refused
        ) as refused:  # an administrator sees the contract, and has no right to what it is about
            await seller.request_resources(about(contract))
        assert refused.value.reason == "CONTRACT_NOT_FOUND"


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _contract(event: Envelope) -> str:
    return event.subject.rpartition(".")[2].rpartition("-")[0]
