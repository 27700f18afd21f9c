"""Intents that are bad in one thing each: a clear error, and nothing begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import grpc
import pytest

from rear.rpc.client import Client
from rear.v1.audit_service_pb2 import ReadEventsRequest
from rear.v1.intent_pb2 import Intent
from rear.v1.intent_service_pb2 import SubmitIntentRequest
from rear.v1.intent_service_pb2_grpc import IntentServiceStub
from tests.system.fixtures import NewNode
from tests.system.intents import component, intent
from tests.system.node_process import NodeProcess, pool

DOCUMENT: Final = """\
name: shop
components:
  - name: db
    quantities: {cpu: 1}
    workload: {command: [/bin/serve]}
  - name: web
    quantities: {cpu: 1}
    workload: {command: [/bin/serve]}
    depends_on: [db]
"""


def changed(old: str, new: str) -> str:
    assert old in DOCUMENT
    return DOCUMENT.replace(old, new, 1)


DOCUMENTS: Final = {
    "an unknown key": (changed("name: shop", "name: shop\ncolour: red"), "colour", 2),
    "a negative quantity": (changed("{cpu: 1}", "{cpu: -1}"), "components[0].quantities.cpu", 4),
    "no workload": (changed("    workload: {command: [/bin/serve]}\n", ""), "components[0]", 3),
    "a component that needs itself": (
        changed("    depends_on: [db]", "    depends_on: [web]"),
        "components[1].depends_on",
        9,
    ),
    "a cycle": (changed("  - name: db\n", "  - name: db\n    depends_on: [web]\n"), "depends_on", 0),
    "two components of one name": (changed("name: web", "name: db"), "components[1].name", 6),
    "no YAML": ("name: [", "", 1),
}
"""Documents, the path that the error names, and the line where it is one."""


def no_workload(wanted: Intent) -> None:
    wanted.components[0].ClearField("workload")


def negative(wanted: Intent) -> None:
    wanted.components[1].partition.quantities.cpu_millicores = -1


def twice(wanted: Intent) -> None:
    wanted.components[1].name = wanted.components[0].name


def cyclic(wanted: Intent) -> None:
    for one, other in ((0, 1), (1, 0)):
        wanted.components[one].depends_on.append(wanted.components[other].name)


def nothing(wanted: Intent) -> None:
    del wanted.components[:]


MESSAGES: Final[dict[Callable[[Intent], None], str]] = {
    no_workload: "components[0].workload",
    negative: "components[1].partition.quantities",
    twice: "components[1].name",
    cyclic: "depends_on",
    nothing: "components",
}


@pytest.fixture(scope="module")
def node(new_shared_node: NewNode) -> NodeProcess:
    node = new_shared_node(pool("own", cpu=4))
    node.start()
    return node


@pytest.fixture(scope="module")
def stub(node: NodeProcess) -> Iterator[IntentServiceStub]:
    with grpc.insecure_channel(node.endpoint) as channel:
        yield IntentServiceStub(channel)


async def events(node: NodeProcess) -> int:
    async with Client(node.endpoint) as client:
        return [event.sequence async for event in client.events(ReadEventsRequest())][-1]


async def refused(
    node: NodeProcess, stub: IntentServiceStub, request: SubmitIntentRequest
) -> tuple[grpc.StatusCode, str]:
    """How an intent is refused, of which there is nothing on the ledger."""
    before = await events(node)
    request.request_id = "bad"
    with pytest.raises(grpc.RpcError) as caught:
        stub.SubmitIntent(request, timeout=10)
    assert await events(node) == before, "something was begun"
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.parametrize("what", DOCUMENTS)
async def test_a_bad_document_is_refused_with_its_path_and_line(
    what: str, node: NodeProcess, stub: IntentServiceStub
) -> None:
    document, path, line = DOCUMENTS[what]
    code, told = await refused(node, stub, SubmitIntentRequest(document=document))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert path in told, told
    if line:
        assert f"line {line}" in told or f":{line}" in told, told


@pytest.mark.parametrize("change", MESSAGES, ids=lambda change: change.__name__)
async def test_a_bad_message_is_refused_with_its_path(
    change: Callable[[Intent], None], node: NodeProcess, stub: IntentServiceStub
) -> None:
    wanted = intent(component("db"), component("web"))
    change(wanted)
    code, told = await refused(node, stub, SubmitIntentRequest(intent=wanted))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert MESSAGES[change] in told, told


async def test_a_document_of_ten_megabytes_is_refused(node: NodeProcess, stub: IntentServiceStub) -> None:
    code, told = await refused(node, stub, SubmitIntentRequest(document=DOCUMENT + "#" * 10_000_000))
    assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
    assert "larger" in told or "bytes" in told, told


async def test_what_is_only_to_be_checked_begins_nothing(node: NodeProcess, stub: IntentServiceStub) -> None:
    before = await events(node)
    stub.SubmitIntent(SubmitIntentRequest(document=DOCUMENT, request_id="check", validate_only=True), timeout=10)
    assert await events(node) == before
