"""Aggregates as the tables keep them to start from. Equal aggregates give equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from immutables import Map

from rear.domain import contract as contracts
from rear.domain.allocation import Allocation, AllocationState
from rear.domain.contract import Contract, Ending, VerbRequest
from rear.domain.events import Cause
from rear.domain.hold import Hold
from rear.domain.pool import Pool
from rear.event.v1 import pool_pb2
from rear.event.v1.snapshot_pb2 import AllocationSnapshot, ContractSnapshot, PoolSnapshot
from rear.wire.beginnings import read_created, read_reserved, write_created, write_reserved_of
from rear.wire.contracts import CONTRACT_STATE_NUMBERS, CONTRACT_STATES
from rear.wire.flavours import read_offer, write_offer
from rear.wire.holds import read_hold, write_hold
from rear.wire.terms import read_terms, write_terms
from rear.wire.values import (
    read_instant,
    read_quantities,
    read_units,
    write_instant,
    write_quantities,
    write_units,
)


def pool_to_bytes(pool: Pool) -> bytes:
    """The pool without its holds, which have rows of their own: the two parts below, one after the other."""
    return pool_terms_to_bytes(pool) + pool_offer_to_bytes(pool)


def pool_terms_to_bytes(pool: Pool) -> bytes:
    """What of a pool only its own changes change, not what is held in it: terms, capacity, devices."""
    message = PoolSnapshot()
    write_terms(message.terms, pool.terms)
    write_quantities(message.capacity, pool.capacity)
    write_units(message.units, pool.units)
    return message.SerializeToString(deterministic=True)


def pool_offer_to_bytes(pool: Pool) -> bytes:
    """What of a pool every hold changes: its version and its flavour."""
    message = PoolSnapshot(version=pool.version, offers=pool.offers, terms_since_offer=pool.terms_since_offer)
    if pool.offer is not None:
        write_offer(message.offer, pool.offer)
    return message.SerializeToString(deterministic=True)


def pool_from_bytes(pool_id: str, data: bytes, holds: Iterable[Hold]) -> Pool:
    """The pool that `pool_to_bytes` wrote, with its holds. Protobuf merges messages that follow one another."""
    message = PoolSnapshot.FromString(data)
    return Pool(
        id=pool_id,
        version=message.version,
        terms=read_terms(message.terms),
        capacity=read_quantities(message.capacity),
        units=read_units(message.units),
        offer=read_offer(message.offer) if message.HasField("offer") else None,
        offers=message.offers,
        terms_since_offer=message.terms_since_offer,
        holds=Map({hold.id: hold for hold in holds}),
    )


def hold_to_bytes(hold: Hold) -> bytes:
    """A hold as a whole."""
    message = pool_pb2.Hold()
    write_hold(message, hold)
    return message.SerializeToString(deterministic=True)


def hold_from_bytes(data: bytes) -> Hold:
    """The hold that `hold_to_bytes` wrote."""
    return read_hold(pool_pb2.Hold.FromString(data))


def contract_to_bytes(contract: Contract) -> bytes:
    """A contract with the requests that changed it."""
    message = ContractSnapshot(version=contract.version, request_id=contract.request_id)
    write_reserved_of(message.reserved, contract)
    message.state = CONTRACT_STATE_NUMBERS[contract.state]
    write_instant(message.created_at, contract.created_at)
    write_instant(message.updated_at, contract.updated_at)
    if contract.ending is not None:
        message.ending.actor = contract.ending.actor
        message.ending.reason = contract.ending.reason
    for request in contract.requests:
        message.requests.add(verb=request.verb, request_id=request.request_id, fingerprint=request.fingerprint)
    return message.SerializeToString(deterministic=True)


def contract_from_bytes(contract_id: str, data: bytes) -> Contract:
    """The contract that `contract_to_bytes` wrote."""
    message = ContractSnapshot.FromString(data)
    created_at = read_instant(message.created_at)
    cause = Cause(created_at, created_at, request_id=message.request_id)
    began = contracts.evolve(None, read_reserved(message.reserved, contract_id, 1, cause))
    return replace(
        began,
        version=message.version,
        state=CONTRACT_STATES[message.state],
        updated_at=read_instant(message.updated_at),
        ending=Ending(message.ending.actor, message.ending.reason) if message.HasField("ending") else None,
        requests=tuple(
            VerbRequest(request.verb, request.request_id, request.fingerprint) for request in message.requests
        ),
    )


def allocation_to_bytes(allocation: Allocation) -> bytes:
    """An allocation as a whole."""
    message = AllocationSnapshot(version=allocation.version, released=allocation.state is AllocationState.RELEASED)
    write_created(message.created, allocation)
    write_instant(message.updated_at, allocation.updated_at)
    return message.SerializeToString(deterministic=True)


def allocation_from_bytes(allocation_id: str, data: bytes) -> Allocation:
    """The allocation that `allocation_to_bytes` wrote."""
    message = AllocationSnapshot.FromString(data)
    created = message.created
    updated_at = read_instant(message.updated_at)
    began = read_created(created, allocation_id, 1, Cause(updated_at, updated_at))
    return Allocation(
        id=allocation_id,
        version=message.version,
        contract_id=began.contract_id,
        side=began.side,
        pool_id=began.pool_id,
        window=began.window,
        quantities=began.quantities,
        units=began.units,
        state=AllocationState.RELEASED if message.released else AllocationState.INACTIVE,
        updated_at=updated_at,
    )
