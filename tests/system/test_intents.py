"""Intents handed in to a node, and the operations that they become (workflow steps 1 to 4)."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2

from rear.domain.service_request import service_request_id
from rear.rpc.client import anonymous_caller
from rear.rpc.intents_client import IntentsClient
from rear.rpc.open_watches import MOST_WATCHES
from rear.rpc.refused import Refused, failure_of
from rear.v1 import audit_service_pb2
from rear.v1 import intent_service_pb2 as pb
from rear.v1.intent_service_pb2_grpc import IntentServiceStub
from rear.v1.service_request_pb2 import ServiceRequest, ServiceRequestState
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool

if TYPE_CHECKING:
    from rear.v1.intent_service_pb2_grpc import IntentServiceAsyncStub

LATER = """\
name: later
components:
- name: web
  quantities: {cpu: 500m}
  window: {start: +1h, for: 1h}
  workload: {command: [serve]}
"""
"""An intent that goes on for as long as a test lasts: its window begins in an hour."""


@pytest.fixture(scope="module")
def node(new_shared_node: NewNode) -> NodeProcess:
    node = new_shared_node(pool("machine", cpu=64))
    node.start()
    return node


def submission(document: str = LATER, request_id: str = "") -> pb.SubmitIntentRequest:
    return pb.SubmitIntentRequest(document=document, request_id=request_id or str(uuid4()))


def request_of(operation: operations_pb2.Operation) -> ServiceRequest:
    found = ServiceRequest()
    assert operation.metadata.Unpack(found)
    return found


def get(name: str) -> operations_pb2.GetOperationRequest:
    return operations_pb2.GetOperationRequest(name=name)


async def events(client: IntentsClient) -> int:
    """How many events there are of service requests."""
    request = audit_service_pb2.ReadEventsRequest(aggregate_type="request")
    return len([event async for event in client.events(request)])


async def test_an_intent_becomes_an_operation_that_says_how_far_it_has_come(node: NodeProcess) -> None:
    async with IntentsClient(node.endpoint) as client:
        operation = await client.submit_intent(submission(request_id="first"))

    accepted = request_of(operation)
    caller = anonymous_caller(node.provider_id)
    assert accepted.service_request_id == service_request_id(node.provider_id, caller, "first")
    assert operation.name == f"operations/{accepted.service_request_id}"
    assert not operation.done
    assert accepted.submitted_by == caller
    assert accepted.state == ServiceRequestState.SERVICE_REQUEST_STATE_IN_PROGRESS
    assert accepted.intent.name == "later"
    assert [component.name for component in accepted.components] == ["web"]


async def test_a_retry_finds_the_operation_and_another_body_is_refused(node: NodeProcess) -> None:
    async with IntentsClient(node.endpoint) as client:
        request = submission()
        first, again = await asyncio.gather(client.submit_intent(request), client.submit_intent(request))
        assert first.name == again.name

        other = submission(LATER.replace("500m", "1"), request.request_id)
        with pytest.raises(Refused) as refused:
            await client.submit_intent(other)
        assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_only_asking_begins_nothing(node: NodeProcess) -> None:
    async with IntentsClient(node.endpoint) as client:
        before = await events(client)
        request = submission()
        request.validate_only = True
        operation = await client.submit_intent(request)
        with pytest.raises(Refused) as refused:
            await client.get_operation(get(operation.name))
        assert refused.value.reason == "OPERATION_NOT_FOUND"
        assert await events(client) == before


@pytest.mark.parametrize(
    ("document", "field", "told"),
    [
        (LATER.replace("quantities", "quantity"), "document.components[0]", "line 4: unknown key 'quantity'"),
        (LATER.replace("500m", "-1"), "document.components[0].quantities.cpu", "line 4: is '-1'"),
        (LATER.replace("  workload: {command: [serve]}\n", ""), "document.components[0]", "line 3: has no `workload`"),
        (LATER + "  depends_on: [web]\n", "document.components[0].depends_on", "line 7: goes in a circle"),
        (LATER + LATER.partition("components:\n")[2], "document.components[1].name", "line 7: is 'web'"),
        (LATER.replace("+1h, for: 1h", "2020-01-01T00:00:00Z"), "document.components[0].window.start", "line 5: lies"),
        ("x" * (128 * 1024 + 1), "document", "has 131073 bytes; 131072 at most"),
        ("- a\n", "document", "line 1: is a list"),
        ("", "form", "is required"),
    ],
)
async def test_a_bad_intent_is_refused_and_nothing_is_started(
    node: NodeProcess, document: str, field: str, told: str
) -> None:
    async with IntentsClient(node.endpoint) as client:
        before = await events(client)
        request = submission(document) if document else pb.SubmitIntentRequest(request_id="none")
        with pytest.raises(Refused) as refused:
            await client.submit_intent(request)
        assert await events(client) == before
    assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    (violation,) = refused.value.violations
    assert violation.field == field
    assert violation.description.startswith(told)


async def test_a_request_that_names_nothing_is_told_which_field_is_missing(node: NodeProcess) -> None:
    async with IntentsClient(node.endpoint) as client:
        with pytest.raises(Refused) as refused:
            await client.get_service_request(pb.GetServiceRequestRequest())
        assert [one.field for one in refused.value.violations] == ["service_request_id"]
        for name in ("", "operations", "operations/"):
            with pytest.raises(Refused) as refused:
                await client.get_operation(get(name))
            assert [one.field for one in refused.value.violations] == ["name"]


async def test_ten_megabytes_never_reach_the_node(node: NodeProcess) -> None:
    async with IntentsClient(node.endpoint, patience=0) as client:
        before = await events(client)
        with pytest.raises(Refused):
            await client.submit_intent(submission("#" * 10_000_000))
        assert await events(client) == before


async def test_an_intent_as_a_message_is_checked_by_the_same_rules(node: NodeProcess) -> None:
    async with IntentsClient(node.endpoint) as client:
        shown = request_of(await client.submit_intent(submission())).intent
        request = pb.SubmitIntentRequest(intent=shown, request_id=str(uuid4()))
        assert request_of(await client.submit_intent(request)).intent == shown

        request.intent.components[0].workload.ports.add(name="http", number=0)
        with pytest.raises(Refused) as refused:
            await client.submit_intent(request)
    assert refused.value.violations[0].field == "intent.components[0].workload.ports[0].number"


async def test_cancelling_ends_the_operation_once(node: NodeProcess) -> None:
    async with IntentsClient(node.endpoint) as client:
        accepted = request_of(operation := await client.submit_intent(submission()))
        request = pb.CancelServiceRequestRequest(
            service_request_id=accepted.service_request_id, reason="changed my mind", request_id="end"
        )
        cancelled = (await client.cancel_service_request(request)).service_request
        assert cancelled.state == ServiceRequestState.SERVICE_REQUEST_STATE_CANCELLED
        await client.cancel_service_request(request)
        again = pb.CancelServiceRequestRequest(
            service_request_id=accepted.service_request_id, reason="no, really", request_id="another"
        )
        await client.cancel_service_request(again)
        request.reason = "in other words"
        with pytest.raises(Refused) as refused:
            await client.cancel_service_request(request)
        assert refused.value.reason == "REQUEST_ID_REUSED"

        ended = await client.get_operation(get(operation.name))
    assert ended.done
    assert (ended.error.code, ended.error.message) == (code_pb2.CANCELLED, "changed my mind")
    assert ended.error.details[0].TypeName() == "google.rpc.ErrorInfo"


async def test_a_wait_ends_with_the_operation_or_with_its_time(node: NodeProcess) -> None:
    clock = asyncio.get_running_loop().time
    async with IntentsClient(node.endpoint) as client:
        operation = await client.submit_intent(submission())
        short = operations_pb2.WaitOperationRequest(name=operation.name)
        short.timeout.FromMilliseconds(200)
        began = clock()
        assert not (await client.wait_operation(short)).done
        assert clock() - began > 0.15

        waiting = asyncio.create_task(client.wait_operation(operations_pb2.WaitOperationRequest(name=operation.name)))
        await asyncio.sleep(0.1)  # so that it waits; were it late, it would only find the operation done
        await client.cancel_operation(operations_pb2.CancelOperationRequest(name=operation.name))
        began = clock()
        assert (await waiting).done
        assert clock() - began < 5, "nobody woke it: its deadline did"


async def one_wait(stub: operations_pb2_grpc.OperationsStub, request: operations_pb2.WaitOperationRequest) -> str:
    """The reason for which it is refused; empty where it is answered."""
    try:
        await stub.WaitOperation(request)
    except grpc.aio.AioRpcError as error:
        return failure_of(error).reason
    return ""


async def began(stub: IntentServiceAsyncStub, request: pb.WatchServiceRequestRequest) -> bool:
    """Whether a watch is answered."""
    watch = stub.WatchServiceRequest(request)
    try:
        return await watch.read() is not grpc.aio.EOF
    except grpc.aio.AioRpcError:
        return False
    finally:
        watch.cancel()


async def test_a_caller_has_so_many_watches_and_waits_and_no_more(node: NodeProcess) -> None:
    async with IntentsClient(node.endpoint) as client:
        name = (await client.submit_intent(submission())).name
    request = pb.WatchServiceRequestRequest(service_request_id=name.removeprefix("operations/"))
    async with grpc.aio.insecure_channel(node.endpoint) as channel:
        intents: IntentServiceAsyncStub = IntentServiceStub(channel)
        operations = operations_pb2_grpc.OperationsStub(channel)
        watches = [intents.WatchServiceRequest(request) for _ in range(MOST_WATCHES)]
        await asyncio.gather(*(watch.read() for watch in watches))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await intents.WatchServiceRequest(request).read()
        assert failure_of(refused.value).reason == "TOO_MANY_WATCHES"
        for watch in watches:
            watch.cancel()

        wait = operations_pb2.WaitOperationRequest(name=name)
        waits = [asyncio.create_task(one_wait(operations, wait)) for _ in range(MOST_WATCHES + 1)]
        done, _ = await asyncio.wait(waits, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == ["TOO_MANY_WATCHES"]
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

        wait.timeout.FromMilliseconds(1)
        deadline = time.monotonic() + 20
        while await one_wait(operations, wait) or not await began(intents, request):
            assert time.monotonic() < deadline, "the node does not notice that the others have ended"
            await asyncio.sleep(0.01)


async def test_a_watch_begins_with_what_is_and_ends_with_the_end(node: NodeProcess) -> None:
    states = []
    async with IntentsClient(node.endpoint) as client:
        accepted = request_of(await client.submit_intent(submission()))
        key = accepted.service_request_id
        request = pb.WatchServiceRequestRequest(service_request_id=key)
        async with aclosing(client.watch_service_request(request)) as responses:
            async for response in responses:
                states.append(response.service_request.state)
                if len(states) == 1:
                    name = f"operations/{key}"
                    await client.cancel_operation(operations_pb2.CancelOperationRequest(name=name))
    assert states[0] == ServiceRequestState.SERVICE_REQUEST_STATE_IN_PROGRESS
    assert states[-1] == ServiceRequestState.SERVICE_REQUEST_STATE_CANCELLED


async def test_operations_are_listed_in_pages_by_whether_they_are_done(new_node: NewNode) -> None:
    node = new_node(pool("machine"))
    node.start()
    async with IntentsClient(node.endpoint) as client:
        names = [(await client.submit_intent(submission())).name for _ in range(5)]
        await client.cancel_operation(operations_pb2.CancelOperationRequest(name=names[1]))
        await client.delete_operation(operations_pb2.DeleteOperationRequest(name=names[2]))

        async def listed(wanted: str) -> list[str]:
            found: list[str] = []
            request = operations_pb2.ListOperationsRequest(name="operations", filter=wanted, page_size=2)
            while True:
                page = await client.list_operations(request)
                found += [operation.name for operation in page.operations]
                if not page.next_page_token:
                    return found
                request.page_token = page.next_page_token

        assert await listed("") == [names[0], names[1], names[3], names[4]]
        assert await listed("done = true") == [names[1]]
        assert await listed("done=false") == [names[0], names[3], names[4]]
        with pytest.raises(Refused) as refused:
            await listed("name = x")
        assert refused.value.violations[0].field == "filter"
        requests = [found async for found in client.service_requests(pb.ListServiceRequestsRequest(page_size=2))]
        assert [found.service_request_id for found in requests] == [name.removeprefix("operations/") for name in names]


async def test_pages_of_large_intents_fit_into_what_clients_take(new_node: NewNode) -> None:
    node = new_node(pool("machine"))
    node.start()
    large = LATER.replace("[serve]", "[serve" + ", " + ", ".join(["x" * 2_000] * 60) + "]")
    async with IntentsClient(node.endpoint) as client:
        names = [(await client.submit_intent(submission(large))).name for _ in range(12)]
        found = [one async for one in client.service_requests(pb.ListServiceRequestsRequest())]
        assert [f"operations/{one.service_request_id}" for one in found] == names
        page = await client.list_operations(operations_pb2.ListOperationsRequest())
        assert 0 < len(page.operations) < len(names)


async def test_operations_survive_restarts_and_deleted_ones_stay_deleted(new_node: NewNode) -> None:
    node = new_node(pool("machine"))
    node.start()
    async with IntentsClient(node.endpoint) as client:
        open_one, ended, deleted, both = [await client.submit_intent(submission(request_id=f"r{n}")) for n in range(4)]
        for operation in (ended, both):
            await client.cancel_operation(operations_pb2.CancelOperationRequest(name=operation.name))
        for operation in (deleted, both):
            await client.delete_operation(operations_pb2.DeleteOperationRequest(name=operation.name))
        told = MessageToDict((await client.get_operation(get(ended.name))).error)
    node.kill()
    await node.restart()
    async with IntentsClient(node.endpoint) as client:
        assert not (await client.get_operation(get(open_one.name))).done
        found = await client.get_operation(get(ended.name))
        assert found.done
        assert MessageToDict(found.error) == told
        for operation in (deleted, both):
            with pytest.raises(Refused) as refused:
                await client.get_operation(get(operation.name))
            assert refused.value.reason == "OPERATION_NOT_FOUND"
        request = pb.GetServiceRequestRequest(service_request_id=request_of(deleted).service_request_id)
        kept = (await client.get_service_request(request)).service_request
        assert kept.state == ServiceRequestState.SERVICE_REQUEST_STATE_IN_PROGRESS
        assert (await client.submit_intent(submission(request_id="r0"))).name == open_one.name
