"""Service requests as the API shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from google.rpc import code_pb2, status_pb2

from rear.domain.allocation import Allocation
from rear.domain.component_state import ComponentState, component_state
from rear.domain.fulfilment import NOTHING_FITS, RESOURCES_LOST, WINDOW_PASSED
from rear.domain.purchase import Purchase
from rear.domain.service_request import (
    CANCELLED,
    Attempt,
    ComponentRun,
    Failure,
    RequestState,
    ServiceRequest,
)
from rear.domain.source import LocalSource, VirtualNodeSource
from rear.domain.virtual_node import virtual_node_id
from rear.v1 import service_request_pb2 as messages
from rear.wire.contracts import CONTRACT_STATE_NUMBERS
from rear.wire.intents import write_intent
from rear.wire.request_events import write_answer, write_refusal
from rear.wire.statuses import status_with_reason
from rear.wire.values import write_instant, write_partition, write_window

REQUEST_STATE_NUMBERS: Final[Mapping[RequestState, messages.ServiceRequestState.ValueType]] = {
    RequestState.IN_PROGRESS: messages.SERVICE_REQUEST_STATE_IN_PROGRESS,
    RequestState.READY: messages.SERVICE_REQUEST_STATE_READY,
    RequestState.FAILED: messages.SERVICE_REQUEST_STATE_FAILED,
    RequestState.CANCELLED: messages.SERVICE_REQUEST_STATE_CANCELLED,
    RequestState.COMPLETED: messages.SERVICE_REQUEST_STATE_COMPLETED,
}

REQUEST_STATES: Final[Mapping[int, RequestState]] = {number: state for state, number in REQUEST_STATE_NUMBERS.items()}
"""Without UNSPECIFIED."""

COMPONENT_STATE_NUMBERS: Final[Mapping[ComponentState, messages.ComponentState.ValueType]] = {
    ComponentState.SEARCHING: messages.COMPONENT_STATE_SEARCHING,
    ComponentState.RESERVING: messages.COMPONENT_STATE_RESERVING,
    ComponentState.HELD: messages.COMPONENT_STATE_HELD,
    ComponentState.AGREED: messages.COMPONENT_STATE_AGREED,
    ComponentState.PEERED: messages.COMPONENT_STATE_PEERED,
    ComponentState.READY: messages.COMPONENT_STATE_READY,
    ComponentState.ENDING: messages.COMPONENT_STATE_ENDING,
    ComponentState.ENDED: messages.COMPONENT_STATE_ENDED,
}

CODES: Final[Mapping[str, int]] = {
    CANCELLED: code_pb2.CANCELLED,
    NOTHING_FITS: code_pb2.RESOURCE_EXHAUSTED,
    WINDOW_PASSED: code_pb2.FAILED_PRECONDITION,
    RESOURCES_LOST: code_pb2.ABORTED,
}
"""`google.rpc.Code` of the reasons for which service requests fail."""

PurchaseOf = Callable[[str], Purchase | None]
AllocationOf = Callable[[str], Allocation | None]


def service_request_to_proto(
    request: ServiceRequest, purchase_of: PurchaseOf, allocation_of: AllocationOf
) -> messages.ServiceRequest:
    """A service request as it is now, with what is known of its purchases and allocations, each by its id."""
    message = messages.ServiceRequest(
        service_request_id=request.id,
        submitted_by=request.submitted_by,
        state=REQUEST_STATE_NUMBERS[request.state],
        revision=request.version,
    )
    write_intent(message.intent, request.intent)
    for run in request.components:
        _write_component(message.components.add(), request, run, purchase_of, allocation_of)
    if request.failure is not None:
        message.error.CopyFrom(failure_status(request.failure))
    write_instant(message.created_at, request.created_at)
    write_instant(message.updated_at, request.updated_at)
    return message


def failure_status(failure: Failure) -> status_pb2.Status:
    """Why a service request failed or was cancelled."""
    return status_with_reason(CODES.get(failure.reason, code_pb2.UNKNOWN), failure.message, failure.reason)


def _write_component(
    message: messages.ComponentStatus,
    request: ServiceRequest,
    run: ComponentRun,
    purchase_of: PurchaseOf,
    allocation_of: AllocationOf,
) -> None:
    attempt = run.attempts[-1] if run.attempts else None
    counts = run.attempt
    purchase = None if attempt is None else purchase_of(attempt.contract_id)
    allocation = None if attempt is None else allocation_of(virtual_node_id(attempt.contract_id))
    message.name = run.name
    message.state = COMPONENT_STATE_NUMBERS[
        component_state(request, run, None if counts is None else purchase, allocation)
    ]
    window = run.window
    match run.source:
        case LocalSource(pool_id=pool_id, hold_id=hold_id):
            message.local.pool_id = pool_id
            message.local.hold_id = hold_id
        case VirtualNodeSource(allocation_id=node):
            message.virtual_node.allocation_id = node
        case _ if attempt is not None:
            _write_remote(message.remote, attempt, purchase, allocation)
            window = window if purchase is None or purchase.copy is None else purchase.copy.window
    if window is not None:
        write_window(message.window, window)
    message.attempts = len(run.attempts)
    for answer in run.answers:
        write_answer(message.answers.add(), answer)
    for refusal in run.refusals:
        write_refusal(message.refusals.add(), refusal)
    message.reason = run.ended or (run.refusals[-1].message if run.refusals and counts is None else "")


def _write_remote(
    message: messages.RemotePlacement, attempt: Attempt, purchase: Purchase | None, allocation: Allocation | None
) -> None:
    message.provider_id = attempt.provider_id
    message.flavour_id = attempt.flavour_id
    message.contract_id = attempt.contract_id
    if purchase is not None:
        message.endpoint = purchase.order.endpoint
        write_partition(message.partition, purchase.order.partition)
        if purchase.copy is not None:
            message.contract_state = CONTRACT_STATE_NUMBERS[purchase.copy.state]
    if allocation is not None:
        message.allocation_id = allocation.id
