"""A buyer and auditor with nothing of ours but stubs made from the protos.

    python -I -S foreign_client.py STUBS SITE_PACKAGES ENDPOINT

Without `-S` the environment would put the project itself on the path.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import uuid
from typing import Any

STUBS, SITE_PACKAGES, ENDPOINT = sys.argv[1:]
sys.path[:0] = [STUBS, SITE_PACKAGES]

import grpc  # noqa: E402
from google.longrunning import operations_pb2, operations_pb2_grpc  # noqa: E402
from google.rpc import code_pb2, error_details_pb2, status_pb2  # noqa: E402

from rear.event.v1 import envelope_pb2  # noqa: E402
from rear.v1 import (  # noqa: E402
    audit_service_pb2,
    audit_service_pb2_grpc,
    contract_pb2,
    contract_service_pb2,
    contract_service_pb2_grpc,
    discovery_service_pb2,
    discovery_service_pb2_grpc,
    intent_service_pb2,
    intent_service_pb2_grpc,
    service_request_pb2,
    watch_pb2,
)


def main() -> None:
    """Lists, reserves, purchases, watches, is refused once, and audits; says as JSON what it saw."""
    with grpc.insecure_channel(ENDPOINT) as channel:
        bought = buy(channel)
        watched = watch(channel)
        refused = too_much(channel)
        seen = audit(channel)
        operation = hand_in(channel)
    modules = [name for name in sys.modules if name == "rear" or name.startswith("rear.")]
    places = {getattr(sys.modules[name], "__file__", None) or "" for name in modules}
    print(
        json.dumps(
            {
                "contract_id": bought.contract_id,
                "revision": bought.revision,
                "refused": refused,
                "watched": watched,
                "events": seen,
                "operation": operation,
                "places": sorted(place for place in places if place),
            }
        )
    )


def buy(channel: grpc.Channel) -> contract_pb2.Contract:
    """Two cores and a half of a GPU, from the first flavour that has them."""
    question = discovery_service_pb2.ListFlavoursRequest()
    partition = question.selector.partition
    partition.quantities.cpu_millicores = 2_000
    partition.units.add(unit_class="gpu", count=1, millis_each=500)
    found = discovery_service_pb2_grpc.DiscoveryServiceStub(channel).ListFlavours(question, timeout=10)
    contracts = contract_service_pb2_grpc.ContractServiceStub(channel)
    wish = contract_service_pb2.ReserveFlavourRequest(
        flavour_id=found.flavours[0].flavour.flavour_id, partition=partition, request_id=str(uuid.uuid4())
    )
    reserved = contracts.ReserveFlavour(wish, timeout=10).contract
    seller = uuid.uuid5(uuid.NAMESPACE_URL, reserved.provider_id)
    assert reserved.contract_id == str(uuid.uuid5(seller, f"{reserved.buyer_id}\n{wish.request_id}"))
    assert [share.millis for share in reserved.assigned_units] == [500]
    return contracts.PurchaseFlavour(
        contract_service_pb2.PurchaseFlavourRequest(
            contract_id=reserved.contract_id, revision=reserved.revision, request_id=str(uuid.uuid4())
        ),
        timeout=10,
    ).contract


def watch(channel: grpc.Channel) -> list[str]:
    """The ids of the contracts that live, as a watch begins with them."""
    told: list[str] = []
    stream = contract_service_pb2_grpc.ContractServiceStub(channel).WatchContracts(
        contract_service_pb2.WatchContractsRequest(), timeout=30
    )
    for message in stream:
        told += [contract.contract_id for contract in message.contracts]
        if message.kind == watch_pb2.WATCH_KIND_SYNCED:
            stream.cancel()
            return told
    raise AssertionError("it ended")


def too_much(channel: grpc.Channel) -> list[str]:
    """The types of the details of a refusal."""
    wish = contract_service_pb2.ReserveFlavourRequest(flavour_id="gpus-1", request_id=str(uuid.uuid4()))
    wish.partition.units.add(unit_class="gpu", count=2)
    try:
        contract_service_pb2_grpc.ContractServiceStub(channel).ReserveFlavour(wish, timeout=10)
    except grpc.RpcError as error:
        trailers: Any = error.trailing_metadata()
        packed = dict(trailers)["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(packed)
        offer, info = contract_pb2.CounterOffer(), error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert status.details[1].Unpack(offer)
        assert offer.most_in_window.units[0].count == 1
        return [info.reason, offer.DESCRIPTOR.full_name]
    raise AssertionError("it was not refused")


def hand_in(channel: grpc.Channel) -> list[str]:
    """How the operation of an intent ends that is for later, and is cancelled before."""
    request = intent_service_pb2.SubmitIntentRequest(request_id=str(uuid.uuid4()))
    component = request.intent.components.add(name="web")
    request.intent.name = "foreign"
    component.partition.quantities.cpu_millicores = 1_000
    component.workload.command.append("serve")
    component.window.start.FromSeconds(int(time.time()) + 48 * 3_600)
    component.window.duration.FromSeconds(3_600)
    operation = intent_service_pb2_grpc.IntentServiceStub(channel).SubmitIntent(request, timeout=10)
    assert not operation.done
    operations = operations_pb2_grpc.OperationsStub(channel)
    wait = operations_pb2.WaitOperationRequest(name=operation.name)
    wait.timeout.FromMilliseconds(100)
    assert not operations.WaitOperation(wait, timeout=10).done
    operations.CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name), timeout=10)
    ended = operations.WaitOperation(operations_pb2.WaitOperationRequest(name=operation.name), timeout=10)
    run = service_request_pb2.ServiceRequest()
    assert ended.metadata.Unpack(run)
    return [
        code_pb2.Code.Name(ended.error.code),
        service_request_pb2.ServiceRequestState.Name(run.state),
    ]


def audit(channel: grpc.Channel) -> list[str]:
    """The names of all events, once the chain of hashes is proved."""
    names: list[str] = []
    before = bytes(32)
    request = audit_service_pb2.ReadEventsRequest()
    for page in audit_service_pb2_grpc.AuditServiceStub(channel).ReadEvents(request, timeout=30):
        for event in page.events:
            subject = event.subject.encode()
            before = hashlib.sha256(before + len(subject).to_bytes(4, "big") + subject + event.payload).digest()
            assert event.hash == before, f"the chain breaks at {event.sequence}"
            envelope = envelope_pb2.Envelope.FromString(event.payload)
            assert envelope.subject == event.subject
            body = envelope.WhichOneof("body")
            assert body is not None, f"an event without a body at {event.sequence}"
            names.append(body)
    return names


if __name__ == "__main__":
    main()
