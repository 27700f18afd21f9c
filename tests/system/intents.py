"""Intents as an application owner writes them, and the owner: the generated stubs, as anybody has them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar
from uuid import uuid4

import grpc
from google.longrunning import operations_pb2 as operations_pb
from google.longrunning import operations_pb2_grpc

from rear.domain.window import Instant
from rear.v1 import intent_service_pb2 as intents_pb
from rear.v1.intent_pb2 import Component, Intent, Objective
from rear.v1.intent_service_pb2_grpc import IntentServiceStub
from rear.v1.service_request_pb2 import ServiceRequest, ServiceRequestState
from rear.wire.values import write_instant
from tests.system.asking import CORE

if TYPE_CHECKING:
    from rear.v1.intent_service_pb2_grpc import IntentServiceAsyncStub

IN_PROGRESS: Final = ServiceRequestState.SERVICE_REQUEST_STATE_IN_PROGRESS
READY: Final = ServiceRequestState.SERVICE_REQUEST_STATE_READY
FAILED: Final = ServiceRequestState.SERVICE_REQUEST_STATE_FAILED
CANCELLED: Final = ServiceRequestState.SERVICE_REQUEST_STATE_CANCELLED
COMPLETED: Final = ServiceRequestState.SERVICE_REQUEST_STATE_COMPLETED

NO_ANSWER: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
PAUSE: Final = 0.05

Answer = TypeVar("Answer")


def component(
    name: str = "web",
    *,
    cores: float = 1,
    least: float | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    latest_start: Instant | None = None,
    objective: Objective.ValueType = Objective.OBJECTIVE_PRICE,
) -> Component:
    """A component that needs some cores, and can do with the least of them."""
    made = Component(name=name, objective=objective)
    made.partition.quantities.cpu_millicores = round(cores * CORE)
    if least is not None:
        made.minimum.cpu_millicores = round(least * CORE)
    if start is not None:
        write_instant(made.window.start, start)
    if end is not None:
        write_instant(made.window.end, end)
    if latest_start is not None:
        write_instant(made.latest_start, latest_start)
    made.workload.command.extend(["/bin/serve", name])
    return made


def intent(*components: Component, name: str = "shop") -> Intent:
    """An intent of these components, or of one that needs a core."""
    return Intent(name=name, components=components or [component()])


class Owner:
    """An application owner at one node. Each call is repeated while nobody answers, for `patience` seconds."""

    def __init__(self, endpoint: str, *, patience: float = 30.0) -> None:
        self._channel = grpc.aio.insecure_channel(
            endpoint, options=[("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300)]
        )
        self._intents: IntentServiceAsyncStub = IntentServiceStub(self._channel)
        self._operations = operations_pb2_grpc.OperationsStub(self._channel)
        self._patience = patience

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def submit(self, wanted: Intent | None = None, *, request_id: str = "") -> str:
        """Hands in an intent; returns the service request's id."""
        request = intents_pb.SubmitIntentRequest(intent=wanted or intent(), request_id=request_id or str(uuid4()))
        operation = await self._ask(lambda: self._intents.SubmitIntent(request, timeout=10))
        return operation.name.removeprefix("operations/")

    async def get(self, service_request_id: str) -> ServiceRequest:
        request = intents_pb.GetServiceRequestRequest(service_request_id=service_request_id)
        return (await self._ask(lambda: self._intents.GetServiceRequest(request, timeout=10))).service_request

    async def cancel(self, service_request_id: str, *, request_id: str = "", reason: str = "") -> ServiceRequest:
        request = intents_pb.CancelServiceRequestRequest(
            service_request_id=service_request_id, request_id=request_id or str(uuid4()), reason=reason
        )
        return (await self._ask(lambda: self._intents.CancelServiceRequest(request, timeout=10))).service_request

    async def has_state(self, service_request_id: str, *states: int, within: float = 30.0) -> ServiceRequest:
        """The service request, once it has one of these states."""
        deadline = time.monotonic() + within
        while (found := await self.get(service_request_id)).state not in states:
            assert found.state in (IN_PROGRESS, READY), f"it has ended: {found}"
            assert time.monotonic() < deadline, f"it is still {found}"
            await asyncio.sleep(PAUSE)
        return found

    async def has_ended_or_is(self, service_request_id: str, state: int, within: float = 60.0) -> ServiceRequest:
        """The service request, once it has that state or can change no more."""
        deadline = time.monotonic() + within
        while (found := await self.get(service_request_id)).state not in (state, FAILED, CANCELLED, COMPLETED):
            assert time.monotonic() < deadline, f"it is still {found}"
            await asyncio.sleep(PAUSE)
        return found

    async def operation(self, service_request_id: str) -> operations_pb.Operation:
        request = operations_pb.GetOperationRequest(name=f"operations/{service_request_id}")
        found: operations_pb.Operation = await self._ask(lambda: self._operations.GetOperation(request, timeout=10))
        return found

    async def operations(self) -> list[operations_pb.Operation]:
        """Those of the first page."""
        request = operations_pb.ListOperationsRequest(name="operations")
        return list((await self._ask(lambda: self._operations.ListOperations(request, timeout=10))).operations)

    async def wait(self, service_request_id: str, within: float = 30.0) -> operations_pb.Operation:
        """The operation once it is done; a node may answer earlier, and is asked again."""
        deadline = time.monotonic() + within
        while True:
            request = operations_pb.WaitOperationRequest(name=f"operations/{service_request_id}")
            request.timeout.FromNanoseconds(2 * 10**9)
            found: operations_pb.Operation = await self._ask(
                partial(self._operations.WaitOperation, request, timeout=10)
            )
            if found.done:
                return found
            assert time.monotonic() < deadline, f"it is not done: {found}"

    async def cancel_operation(self, service_request_id: str) -> None:
        request = operations_pb.CancelOperationRequest(name=f"operations/{service_request_id}")
        await self._ask(lambda: self._operations.CancelOperation(request, timeout=10))

    async def delete_operation(self, service_request_id: str) -> None:
        request = operations_pb.DeleteOperationRequest(name=f"operations/{service_request_id}")
        await self._ask(lambda: self._operations.DeleteOperation(request, timeout=10))

    async def _ask(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in NO_ANSWER or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(PAUSE)
