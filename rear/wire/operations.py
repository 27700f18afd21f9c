"""The operations of service requests, as google.longrunning has them (workflow step 4)."""

from __future__ import annotations

from google.longrunning import operations_pb2

from rear.domain.request_decisions import operation_name, was_ready
from rear.domain.service_request import ServiceRequest
from rear.v1 import service_request_pb2


def operation_to_proto(request: ServiceRequest, shown: service_request_pb2.ServiceRequest) -> operations_pb2.Operation:
    """The operation that is done once every component is active, or none ever will be.

    `shown` is the service request as the API shows it.
    """
    operation = operations_pb2.Operation(name=operation_name(request.id))
    operation.metadata.Pack(shown)
    if was_ready(request):
        operation.done = True
        operation.response.Pack(shown)
    elif shown.HasField("error"):
        operation.done = True
        operation.error.CopyFrom(shown.error)
    return operation
