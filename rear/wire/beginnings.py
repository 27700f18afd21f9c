"""How contracts and allocations begin: the bodies of their first events, which their snapshots hold too.

Readers raise KeyError for an enum's number that this version does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rear.domain.allocation import Allocation
from rear.domain.contract import Contract
from rear.domain.events import AllocationCreated, AllocationSide, Cause, ContractReserved
from rear.domain.lifecycle import ContractState
from rear.event.v1 import allocation_pb2, contract_pb2
from rear.wire.contracts import CONTRACT_STATE_NUMBERS, CONTRACT_STATES
from rear.wire.values import (
    read_instant,
    read_money,
    read_partition,
    read_quantities,
    read_shares,
    read_window,
    write_instant,
    write_money,
    write_partition,
    write_quantities,
    write_shares,
    write_window,
)

ALLOCATION_SIDE_NUMBERS: Final[Mapping[AllocationSide, allocation_pb2.AllocationSide.ValueType]] = {
    AllocationSide.PROVIDER: allocation_pb2.ALLOCATION_SIDE_PROVIDER,
    AllocationSide.CONSUMER: allocation_pb2.ALLOCATION_SIDE_CONSUMER,
}

ALLOCATION_SIDES: Final[Mapping[int, AllocationSide]] = {
    number: side for side, number in ALLOCATION_SIDE_NUMBERS.items()
}
"""Without UNSPECIFIED."""


def write_reserved(body: contract_pb2.ContractReserved, event: ContractReserved) -> None:
    """A contract's first event."""
    body.state = CONTRACT_STATE_NUMBERS[event.state]
    _write_agreed(body, event)


def write_reserved_of(body: contract_pb2.ContractReserved, contract: Contract) -> None:
    """A contract's first event, from what has become of it since."""
    agreed_at_once = contract.purchase_before is None
    began = ContractState.CONFIRMED if agreed_at_once else ContractState.RESERVED
    body.state = CONTRACT_STATE_NUMBERS[began]
    _write_agreed(body, contract)


def read_reserved(
    body: contract_pb2.ContractReserved, contract_id: str, version: int, cause: Cause
) -> ContractReserved:
    """What `write_reserved` wrote."""
    return ContractReserved(
        contract_id,
        version,
        cause,
        CONTRACT_STATES[body.state],
        body.buyer_id,
        body.flavour_id,
        body.pool_id,
        read_partition(body.partition),
        read_shares(body.assigned_units),
        read_window(body.window),
        read_instant(body.purchase_before) if body.HasField("purchase_before") else None,
        read_money(body.price) if body.HasField("price") else None,
        body.priority,
        body.fingerprint,
        body.allocation_id,
        body.chain_id,
    )


def write_created(body: allocation_pb2.AllocationCreated, allocation: AllocationCreated | Allocation) -> None:
    """How an allocation began, from its first event or from what has become of it since."""
    body.contract_id = allocation.contract_id
    body.side = ALLOCATION_SIDE_NUMBERS[allocation.side]
    body.pool_id = allocation.pool_id
    write_window(body.window, allocation.window)
    write_quantities(body.quantities, allocation.quantities)
    if allocation.units:
        write_shares(body.units, allocation.units)


def read_created(
    body: allocation_pb2.AllocationCreated, allocation_id: str, version: int, cause: Cause
) -> AllocationCreated:
    """What `write_created` wrote."""
    return AllocationCreated(
        allocation_id,
        version,
        cause,
        body.contract_id,
        ALLOCATION_SIDES[body.side],
        body.pool_id,
        read_window(body.window),
        read_quantities(body.quantities),
        read_shares(body.units),
    )


def _write_agreed(body: contract_pb2.ContractReserved, contract: ContractReserved | Contract) -> None:
    body.buyer_id = contract.buyer_id
    body.flavour_id = contract.flavour_id
    body.pool_id = contract.pool_id
    write_partition(body.partition, contract.partition)
    if contract.assigned_units:
        write_shares(body.assigned_units, contract.assigned_units)
    write_window(body.window, contract.window)
    if contract.purchase_before is not None:
        write_instant(body.purchase_before, contract.purchase_before)
    if contract.price is not None:
        write_money(body.price, contract.price)
    body.priority = contract.priority
    body.fingerprint = contract.fingerprint
    body.allocation_id = contract.allocation_id
    body.chain_id = contract.chain_id
