"""Traces of a node, as a collector gets them: a call, its decision, its wait, and the commit that it went into."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

from rear import tracing
from rear.operations.spans import provider_for
from rear.operations.watching import CannotTrace
from rear.rpc.client import Client
from rear.rpc.refused import Refused
from tests.system.asking import reserve
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool
from tests.waiting import eventually


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans by OTLP over gRPC."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, _: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            self.resources.append({one.key: one.value.string_value for one in resource.resource.attributes})
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, f"http://127.0.0.1:{port}"
    server.stop(0)


@pytest.fixture
def node(new_node: NewNode, collector: tuple[Collector, str]) -> NodeProcess:
    node = new_node(pool("p", cpu=10))
    node.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector[1], "OTEL_BSP_SCHEDULE_DELAY": "100"}
    node.start()
    return node


async def test_a_call_is_a_span_of_its_callers_trace_with_what_it_waited_for(
    node: NodeProcess, collector: tuple[Collector, str]
) -> None:
    spans, tracer = collector[0], TracerProvider().get_tracer("test")
    async with Client(node.endpoint, patience=0) as client:
        with tracer.start_as_current_span("workflow step") as step:
            await asyncio.gather(*(client.reserve_flavour(reserve("p-1")) for _ in range(3)))
            with pytest.raises(Refused):
                await client.reserve_flavour(reserve("p-1", cores=100))
        caller = step.get_span_context()
        rpc = "rear.v1.ContractService/ReserveFlavour"
        await eventually(lambda: len(spans.named(rpc)) == 4 and len(spans.named("await commit")) >= 3)
    calls = spans.named(rpc)
    assert {span.trace_id for span in calls} == {caller.trace_id.to_bytes(16)}
    assert {span.parent_span_id for span in calls} == {caller.span_id.to_bytes(8)}
    assert {span.kind for span in calls} == {Span.SPAN_KIND_SERVER}
    assert {one.value.string_value for span in calls for one in span.attributes if one.key == "rear.reason"} == {
        "CAPACITY_EXCEEDED"
    }

    ids = {span.span_id for span in calls}
    assert {span.parent_span_id for span in spans.named("decide")} == ids
    commits = {span.span_id: span for span in spans.named("ledger commit")}
    assert {span.parent_span_id for span in spans.named("await commit")} <= ids
    for wait in spans.named("await commit"):
        commit = commits[wait.links[0].span_id]
        assert wait.parent_span_id in {link.span_id for link in commit.links}
        assert commit.start_time_unix_nano < wait.end_time_unix_nano
    assert {span.parent_span_id for span in spans.named("append")} == set(commits)
    assert spans.resources[0]["service.instance.id"] == node.provider_id
    assert spans.resources[0]["service.name"] == "rear"


async def test_spans_that_wait_are_sent_when_the_node_stops(
    new_node: NewNode, collector: tuple[Collector, str]
) -> None:
    node = new_node(pool("p", cpu=10))
    node.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector[1], "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    node.start()
    async with Client(node.endpoint) as client:
        await client.reserve_flavour(reserve("p-1"))
    assert await asyncio.to_thread(node.terminate) == 0
    assert len(collector[0].named("rear.v1.ContractService/ReserveFlavour")) == 1


async def test_a_collector_that_is_not_there_keeps_nothing_from_ending(new_node: NewNode) -> None:
    node = new_node(pool("p", cpu=10))
    node.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    node.start()
    async with Client(node.endpoint) as client:
        await client.reserve_flavour(reserve("p-1"))
    assert await asyncio.to_thread(node.terminate) == 0


def test_an_exporter_that_is_not_known_stops_the_start(tmp_path: Path) -> None:
    rear = str(Path(sys.executable).with_name("rear"))
    done = subprocess.run(
        [rear, "up", "--state", str(tmp_path / "state"), "--listen", "127.0.0.1:0"],
        env=os.environ | {"OTEL_TRACES_EXPORTER": "zipkin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr == "rear: $OTEL_TRACES_EXPORTER is 'zipkin'; this software knows otlp, console and none\n"


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "sends OTLP over grpc only"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "could not convert string to float: 'soon'"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "max_queue_size must be a positive integer"),
    ],
)
def test_a_variable_that_is_not_understood_is_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(CannotTrace, match=why):
        provider_for("spiffe://a/node/n", os.environ)


def test_the_protocol_of_traces_goes_before_that_of_all_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
    provider_for("spiffe://a/node/n", os.environ).shutdown()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_standard_environment_switches_traces_on(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(environment) is wanted


def test_without_them_nothing_of_opentelemetry_is_loaded() -> None:
    program = (
        "import sys, nodes.up, rear.rpc.client; from rear import tracing; tracing.outgoing(); tracing.span('x')\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus'))]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_a_step_outside_of_any_trace_is_allowed() -> None:
    assert trace.get_current_span() is trace.INVALID_SPAN
    with tracing.span("step", "CLIENT", number=1):
        assert tracing.outgoing() is None
