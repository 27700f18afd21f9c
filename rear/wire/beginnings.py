"""How contracts and allocations begin: the bodies of their first events.

Readers raise KeyError for an enum's number that this version does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Final

from rear.domain.events import AllocationCreated, AllocationSide, Cause, ContractReserved
from rear.event.v1 import allocation_pb2, contract_pb2
from rear.wire.contracts import CONTRACT_STATE_NUMBERS, CONTRACT_STATES
from rear.wire.values import (
    read_held,
    read_instant,
    read_money,
    read_partition,
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
    body.buyer_id = event.buyer_id
    body.flavour_id = event.flavour_id
    body.pool_id = event.pool_id
    write_partition(body.partition, event.partition)
    if event.assigned_units:
        write_shares(body.assigned_units, event.assigned_units)
    write_window(body.window, event.window)
    if event.purchase_before is not None:
        write_instant(body.purchase_before, event.purchase_before)
    if event.price is not None:
        write_money(body.price, event.price)
    body.priority = event.priority
    body.fingerprint = event.fingerprint
    body.allocation_id = event.allocation_id
    body.chain_id = event.chain_id


def read_reserved(
    body: contract_pb2.ContractReserved, contract_id: str, version: int, cause: Cause
) -> ContractReserved:
    """What `write_reserved` wrote."""
    return ContractReserved(
        contract_id,
        version,
        cause,
        CONTRACT_STATES[body.state],
        intern(body.buyer_id),
        intern(body.flavour_id),
        intern(body.pool_id),
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


def write_created(body: allocation_pb2.AllocationCreated, allocation: AllocationCreated) -> None:
    """How an allocation began."""
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
        intern(body.pool_id),
        read_window(body.window),
        read_held(body.quantities),
        read_shares(body.units),
    )
