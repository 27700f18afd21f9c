"""Requests as a buyer writes them, and what refusals say."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from uuid import uuid4

from rear.domain.window import SECOND, Instant
from rear.rpc.client import Client
from rear.v1 import contract_service_pb2 as contracts_pb
from rear.v1.contract_pb2 import Contract, ContractState
from rear.wire.values import write_instant

CORE: Final = 1_000
GIB: Final = 2**30

RESERVED: Final = ContractState.CONTRACT_STATE_RESERVED
CONFIRMED: Final = ContractState.CONTRACT_STATE_CONFIRMED
ACTIVE: Final = ContractState.CONTRACT_STATE_ACTIVE
EXPIRED: Final = ContractState.CONTRACT_STATE_EXPIRED
CANCELLED: Final = ContractState.CONTRACT_STATE_CANCELLED
REVOKED: Final = ContractState.CONTRACT_STATE_REVOKED
COMPLETED: Final = ContractState.CONTRACT_STATE_COMPLETED


def now() -> Instant:
    return Instant(time.time_ns())


def in_seconds(seconds: float) -> Instant:
    """That many seconds from now."""
    return Instant(time.time_ns() + round(seconds * SECOND))


def reserve(
    flavour_id: str,
    *,
    cores: float = 1,
    start: Instant | None = None,
    end: Instant | None = None,
    ttp: float | None = None,
    confirm: bool = False,
    request_id: str | None = None,
) -> contracts_pb.ReserveFlavourRequest:
    """A wish for some cores; `ttp` is in seconds, and a request id is made up where none is given."""
    request = contracts_pb.ReserveFlavourRequest(
        flavour_id=flavour_id, confirm=confirm, request_id=str(uuid4()) if request_id is None else request_id
    )
    request.partition.quantities.cpu_millicores = round(cores * CORE)
    if start is not None:
        write_instant(request.window.start, start)
    if end is not None:
        write_instant(request.window.end, end)
    if ttp is not None:
        request.ttp.FromNanoseconds(round(ttp * SECOND))
    return request


def purchase(contract: Contract, *, request_id: str | None = None) -> contracts_pb.PurchaseFlavourRequest:
    return contracts_pb.PurchaseFlavourRequest(
        contract_id=contract.contract_id, revision=contract.revision, request_id=request_id or str(uuid4())
    )


def cancel(contract: Contract, *, request_id: str | None = None) -> contracts_pb.CancelContractRequest:
    return contracts_pb.CancelContractRequest(contract_id=contract.contract_id, request_id=request_id or str(uuid4()))


def revoke(
    contract: Contract, *, request_id: str | None = None, reason: str = "the machine is broken"
) -> contracts_pb.RevokeContractRequest:
    return contracts_pb.RevokeContractRequest(
        contract_id=contract.contract_id, reason=reason, request_id=request_id or str(uuid4())
    )


def get(contract: Contract) -> contracts_pb.GetContractRequest:
    return contracts_pb.GetContractRequest(contract_id=contract.contract_id)


async def has_state(client: Client, contract: Contract, state: int, within: float = 15.0) -> Contract:
    """The contract, once it has that state."""
    deadline = asyncio.get_running_loop().time() + within
    while (found := (await client.get_contract(get(contract))).contract).state != state:
        assert asyncio.get_running_loop().time() < deadline, f"it is still {found}"
        await asyncio.sleep(0.05)
    return found
