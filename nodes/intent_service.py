"""IntentService, and the operations of service requests, at the edge (workflow steps 1 and 4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Final, TypeVar
from uuid import uuid4

from google.longrunning import operations_pb2
from google.protobuf.message import Message

from nodes.intent_reading import IntentReader
from nodes.service_handler import Answered, RequestPage, ServiceHandler, Submission
from rear.domain.refusals import InvalidField, ServiceRequestNotFound
from rear.domain.request_decisions import (
    OPERATIONS,
    RequestFilter,
    check_operation,
    no_operation,
    operation_name,
)
from rear.domain.service_request import RequestState, ServiceRequest, service_request_id
from rear.managers.provider.provider import Provider
from rear.rpc.answering import Context, Gate, answered, streamed
from rear.rpc.changing import LONGEST_REASON, check_request_id, fingerprint, text_from
from rear.rpc.identity import Callers
from rear.rpc.open_watches import OpenWatches
from rear.rpc.operations_service import OperationPage
from rear.rpc.paging import after_from, filters_of, page_size_from, page_token
from rear.rpc.policy import ADMINISTRATORS
from rear.v1 import intent_service_pb2 as pb
from rear.v1 import intent_service_pb2_grpc
from rear.wire.operations import operation_to_proto
from rear.wire.requests import enum_from
from rear.wire.service_requests import REQUEST_STATES
from rear.wire.values import write_instant

LARGEST_RESPONSE: Final = 1024 * 1024
"""Bytes of one page: clients take 4 MiB by default."""

Shown = TypeVar("Shown", bound=Message)


class IntentServicer(intent_service_pb2_grpc.IntentServiceServicer):
    """Answers for the service requests of one node."""

    def __init__(self, handler: ServiceHandler, provider: Provider, callers: Callers, gate: Gate) -> None:
        self.gate = gate
        self._handler = handler
        self._intents = IntentReader(provider.promises.skew)
        self._node_id = provider.provider_id
        self._callers = callers
        self._open = OpenWatches()

    @answered
    async def SubmitIntent(self, request: pb.SubmitIntentRequest, context: Context) -> operations_pb2.Operation:
        """Takes an intent."""
        check_request_id(request.request_id)
        caller = self._callers.identity_of(context)
        submission = Submission(
            service_request_id(self._node_id, caller, request.request_id),
            request.request_id,
            fingerprint(request),
            request.validate_only,
        )
        answer = await self._handler.submit(submission, self._intents.reader(request), caller=caller)
        return _operation(self._handler, answer.request)

    @answered
    async def GetServiceRequest(
        self, request: pb.GetServiceRequestRequest, context: Context
    ) -> pb.GetServiceRequestResponse:
        """One service request of the caller's."""
        answer = await self._handler.get(request.service_request_id, owner=self._owner(context))
        response = pb.GetServiceRequestResponse(position=answer.position)
        response.service_request.CopyFrom(self._handler.shown(answer.request))
        write_instant(response.server_time, answer.at)
        return response

    @streamed
    async def WatchServiceRequest(
        self, request: pb.WatchServiceRequestRequest, context: Context
    ) -> AsyncGenerator[pb.WatchServiceRequestResponse, None]:
        """A service request as it changes."""
        subscription_id, told = str(uuid4()), None

        def owner() -> str | None:
            self.gate.check()
            return self._owner(context)

        with self._open.counted(self._callers.identity_of(context)):
            async for answer in self._handler.watch(request.service_request_id, owner):
                shown = self._handler.shown(answer.request)
                if shown != told:
                    yield pb.WatchServiceRequestResponse(
                        subscription_id=subscription_id, position=answer.position, service_request=shown
                    )
                    told = shown

    @answered
    async def ListServiceRequests(
        self, request: pb.ListServiceRequestsRequest, context: Context
    ) -> pb.ListServiceRequestsResponse:
        """The caller's service requests in pages."""
        size = page_size_from(request.page_size)
        states = frozenset(
            enum_from(REQUEST_STATES, number, f"states[{at}]") for at, number in enumerate(request.states)
        )
        owner = self._owner(context)
        filters = filters_of(str(owner), ",".join(sorted(state.value for state in states)))
        page = await self._handler.page(RequestFilter(owner, states), after_from(request.page_token, filters), size)
        shown, next_after = _fitting(page, self._handler.shown)
        response = pb.ListServiceRequestsResponse(
            service_requests=shown,
            next_page_token=page_token(next_after, filters),
            position=page.position,
        )
        write_instant(response.server_time, page.at)
        return response

    @answered
    async def CancelServiceRequest(
        self, request: pb.CancelServiceRequestRequest, context: Context
    ) -> pb.CancelServiceRequestResponse:
        """Ends a service request."""
        check_request_id(request.request_id)
        answer = await self._handler.cancel(
            request.service_request_id,
            request.request_id,
            text_from(request.reason, "reason", LONGEST_REASON),
            fingerprint(request),
            caller=self._callers.identity_of(context),
            owner=self._owner(context),
        )
        response = pb.CancelServiceRequestResponse(position=answer.position)
        response.service_request.CopyFrom(self._handler.shown(answer.request))
        write_instant(response.server_time, answer.at)
        return response

    def subject_of(self, request: Message, context: Context) -> dict[str, str]:
        """The service request that a request is about, for an answer that its outcome is open."""
        if isinstance(request, pb.SubmitIntentRequest):
            caller = self._callers.identity_of(context)
            return {"service_request_id": service_request_id(self._node_id, caller, request.request_id)}
        return {"service_request_id": str(getattr(request, "service_request_id", ""))}

    def _owner(self, context: Context) -> str | None:
        """Whose service requests the caller may see; None: anybody's."""
        caller = self._callers.identity_of(context)
        return None if self._callers.allows(caller, ADMINISTRATORS) else caller


class RequestOperations:
    """The operations of service requests: each has one until it is deleted, and none outlives them."""

    def __init__(self, handler: ServiceHandler) -> None:
        self._handler = handler

    async def get(self, name: str, *, owner: str | None) -> operations_pb2.Operation:
        """An operation. Raises OperationNotFound."""
        return _operation(self._handler, (await self._found(name, owner)).request)

    async def page(self, done: bool | None, after: int, limit: int, *, owner: str | None) -> OperationPage:
        """Operations that are done, that are not, or with None all of them; oldest first."""
        under_way = frozenset({RequestState.IN_PROGRESS})
        states = frozenset() if done is None else frozenset(RequestState) - under_way if done else under_way
        page = await self._handler.page(RequestFilter(owner, states, with_operation=True), after, limit)
        shown, next_after = _fitting(page, partial(_operation, self._handler))
        return OperationPage(tuple(shown), next_after)

    async def cancel(self, name: str, caller: str, *, owner: str | None) -> None:
        """Ends what the operation does, unless it is done. Raises OperationNotFound."""
        found = await self._found(name, owner)
        await self._handler.cancel_operation(found.request.id, caller=caller, owner=owner)

    async def delete(self, name: str, caller: str, *, owner: str | None) -> None:
        """Forgets the operation; its service request goes on. Raises OperationNotFound."""
        found = await self._found(name, owner)
        await self._handler.delete_operation(found.request.id, caller=caller, owner=owner)

    def changed(self, name: str) -> asyncio.Event:
        """Set at the operation's next change after this call."""
        return self._handler.news.waiting(name.removeprefix(OPERATIONS))

    async def _found(self, name: str, owner: str | None) -> Answered:
        key = name.removeprefix(OPERATIONS)
        if not key or operation_name(key) != name:
            raise InvalidField("name", f"is no operation's name, which has the form {OPERATIONS}<id>")
        try:
            found = await self._handler.get(key, owner=owner)
        except ServiceRequestNotFound:
            raise no_operation(name) from None
        check_operation(found.request)
        return found


def _fitting(page: RequestPage, show: Callable[[ServiceRequest], Shown]) -> tuple[list[Shown], int | None]:
    """As many of a page as fit into one message, and the sequence to go on after; None where there is no more."""
    shown: list[Shown] = []
    size, before = 0, None
    for sequence, request in page.rows:
        message = show(request)
        size += message.ByteSize()
        if shown and size > LARGEST_RESPONSE:
            return shown, before
        shown.append(message)
        before = sequence
    return shown, before if page.more else None


def _operation(handler: ServiceHandler, request: ServiceRequest) -> operations_pb2.Operation:
    return operation_to_proto(request, handler.shown(request))
