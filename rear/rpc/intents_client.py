"""A client's calls about intents, and about operations."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty

from rear.rpc.client import Client
from rear.v1 import intent_service_pb2 as pb
from rear.v1 import service_request_pb2


class IntentsClient(Client):
    """Hands in intents, and follows what becomes of them. As `Client` in all else."""

    async def submit_intent(self, request: pb.SubmitIntentRequest) -> operations_pb2.Operation:
        """Hand in an intent."""
        return await self._change(lambda line: line.intents.SubmitIntent, request, request.request_id)

    async def get_service_request(self, request: pb.GetServiceRequestRequest) -> pb.GetServiceRequestResponse:
        """One service request."""
        return await self._call(lambda line: line.intents.GetServiceRequest, request)

    async def cancel_service_request(self, request: pb.CancelServiceRequestRequest) -> pb.CancelServiceRequestResponse:
        """End a service request."""
        return await self._change(lambda line: line.intents.CancelServiceRequest, request, request.request_id)

    async def service_requests(
        self, request: pb.ListServiceRequestsRequest
    ) -> AsyncIterator[service_request_pb2.ServiceRequest]:
        """The service requests of all pages, from that of `request` on."""
        page = pb.ListServiceRequestsRequest()
        page.CopyFrom(request)
        while True:
            response = await self._call(lambda line: line.intents.ListServiceRequests, page)
            for found in response.service_requests:
                yield found
            if not response.next_page_token:
                return
            page.page_token = response.next_page_token

    async def watch_service_request(
        self, request: pb.WatchServiceRequestRequest
    ) -> AsyncGenerator[pb.WatchServiceRequestResponse, None]:
        """A service request as it is and as it changes, until it can change no more.

        A stream that breaks is begun anew, with the service request as it is by then.
        """
        async with aclosing(self._stream(lambda line: line.intents.WatchServiceRequest, request)) as responses:
            async for response in responses:
                yield response

    async def get_operation(self, request: operations_pb2.GetOperationRequest) -> operations_pb2.Operation:
        """One operation."""
        return await self._call(lambda line: line.operations.GetOperation, request)

    async def wait_operation(self, request: operations_pb2.WaitOperationRequest) -> operations_pb2.Operation:
        """An operation once it is done, or as it is when the time is up."""
        return await self._call(lambda line: line.operations.WaitOperation, request)

    async def list_operations(
        self, request: operations_pb2.ListOperationsRequest
    ) -> operations_pb2.ListOperationsResponse:
        """One page of operations."""
        return await self._call(lambda line: line.operations.ListOperations, request)

    async def cancel_operation(self, request: operations_pb2.CancelOperationRequest) -> Empty:
        """End what an operation does."""
        return await self._call(lambda line: line.operations.CancelOperation, request)

    async def delete_operation(self, request: operations_pb2.DeleteOperationRequest) -> Empty:
        """Forget an operation; what it does goes on. Not repeated: it would not be found for a second time."""
        return await self._call(lambda line: line.operations.DeleteOperation, request, patience=0.0)
