"""google.longrunning.Operations, over whatever has operations."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final, Protocol

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import message_factory
from google.protobuf.empty_pb2 import Empty

from rear.domain.refusals import InvalidField, TooManyWatches
from rear.domain.value import value
from rear.domain.window import SECOND
from rear.rpc.answering import MARGIN, Context, Gate, answered, refuse
from rear.rpc.identity import Callers
from rear.rpc.open_watches import OpenWatches
from rear.rpc.paging import after_from, filters_of, page_size_from, page_token
from rear.rpc.policy import ADMINISTRATORS
from rear.wire.values import read_duration

SERVICE: Final = "google.longrunning.Operations"

COLLECTION: Final = "operations"
"""The name of all operations."""

LONGEST_PAUSE: Final = 60.0
"""Seconds after which a wait ends, with the operation as it is, whatever the caller asked for."""

FILTERS: Final[Mapping[str, bool | None]] = {"": None, "done=true": True, "done=false": False}


@value
class OperationPage:
    """Operations, and the sequence to go on after; None after the last page."""

    operations: tuple[operations_pb2.Operation, ...]
    next_after: int | None


class Operations(Protocol):
    """Whatever has operations. `owner` is whose operations the caller may see; None: everybody's."""

    async def get(self, name: str, *, owner: str | None) -> operations_pb2.Operation:
        """An operation. Raises OperationNotFound."""
        ...

    async def page(self, done: bool | None, after: int, limit: int, *, owner: str | None) -> OperationPage:
        """Operations, oldest first, after a sequence: those that are done, that are not, or with None all."""
        ...

    async def cancel(self, name: str, caller: str, *, owner: str | None) -> None:
        """Ends what the operation does; one that is done stays as it is. Raises OperationNotFound."""
        ...

    async def delete(self, name: str, caller: str, *, owner: str | None) -> None:
        """Forgets the operation. Raises OperationNotFound."""
        ...

    def changed(self, name: str) -> asyncio.Event:
        """Set at the operation's next change after this call."""
        ...


class OperationsServicer(operations_pb2_grpc.OperationsServicer):
    """Answers for operations."""

    def __init__(self, operations: Operations, callers: Callers, gate: Gate) -> None:
        self.gate = gate
        self._operations = operations
        self._callers = callers
        self._open = OpenWatches()

    @answered
    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        """One operation."""
        return await self._operations.get(request.name, owner=self._owner(context))

    @answered
    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        """Operations in pages."""
        if request.name not in ("", COLLECTION):
            raise InvalidField("name", f"must be `{COLLECTION}`, or left out")
        wanted = "".join(request.filter.split())
        if wanted not in FILTERS:
            raise InvalidField("filter", "must be `done=true`, `done=false`, or left out")
        size, owner = page_size_from(request.page_size), self._owner(context)
        filters = filters_of(COLLECTION, str(owner), wanted)
        after = after_from(request.page_token, filters)
        page = await self._operations.page(FILTERS[wanted], after, size, owner=owner)
        return operations_pb2.ListOperationsResponse(
            operations=page.operations, next_page_token=page_token(page.next_after, filters)
        )

    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        """The operation once it is done, or as it is when the time is up."""
        operation = await self._look(request, context)
        try:
            with self._open.counted(self._callers.identity_of(context)):
                return await self._done(request, context, operation)
        except TooManyWatches as refusal:
            await refuse(context, refusal)

    async def _done(
        self, request: operations_pb2.WaitOperationRequest, context: Context, operation: operations_pb2.Operation
    ) -> operations_pb2.Operation:
        clock = asyncio.get_running_loop().time
        ends = clock() + _patience(request, context)
        while not operation.done and clock() < ends:
            changed = self._operations.changed(request.name)
            operation = await self._look(request, context)
            if not operation.done:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(ends):
                        await changed.wait()
                operation = await self._look(request, context)
        return operation

    @answered
    async def CancelOperation(self, request: operations_pb2.CancelOperationRequest, context: Context) -> Empty:
        """Ends what an operation does."""
        caller = self._callers.identity_of(context)
        await self._operations.cancel(request.name, caller, owner=self._owner(context))
        return Empty()

    @answered
    async def DeleteOperation(self, request: operations_pb2.DeleteOperationRequest, context: Context) -> Empty:
        """Forgets an operation."""
        caller = self._callers.identity_of(context)
        await self._operations.delete(request.name, caller, owner=self._owner(context))
        return Empty()

    @answered
    async def _look(self, request: operations_pb2.WaitOperationRequest, context: Context) -> operations_pb2.Operation:
        return await self._operations.get(request.name, owner=self._owner(context))

    def _owner(self, context: Context) -> str | None:
        """Whose operations the caller may see; None: anybody's."""
        caller = self._callers.identity_of(context)
        return None if self._callers.allows(caller, ADMINISTRATORS) else caller


def _patience(request: operations_pb2.WaitOperationRequest, context: Context) -> float:
    """Seconds to wait at the most, with time left for the answer."""
    seconds = LONGEST_PAUSE
    if request.HasField("timeout"):
        seconds = min(seconds, max(0, read_duration(request.timeout)) / SECOND)
    remaining = context.time_remaining()
    return seconds if remaining is None else max(0.0, min(seconds, remaining - 2 * MARGIN))


def add_operations_to_server(servicer: OperationsServicer, server: grpc.aio.Server) -> None:
    """As a generated `add_..._to_server` does it: that of googleapis is of an older kind, and does not name methods."""
    service = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        method.name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
        for method in service.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined, unused-ignore]
