"""Aggregates as the tables keep them: both ways, and equal bytes for equal aggregates."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from rear.domain import contract as contracts
from rear.domain.allocation import Allocation
from rear.domain.contract import Contract
from rear.domain.events import ContractCancelled, ContractPurchased, ContractReserved
from rear.domain.hold import Hold
from rear.domain.lifecycle import ContractState
from rear.domain.pool import NO_HOLDS, Pool
from rear.event.v1.snapshot_pb2 import ContractSnapshot
from rear.v1.contract_pb2 import CONTRACT_STATE_RESERVED
from rear.wire import snapshots
from tests import strategies
from tests.examples import EVENTS


@given(pool=strategies.pools)
def test_a_pool_comes_back_as_it_was(pool: Pool) -> None:
    data = snapshots.pool_to_bytes(pool)

    assert snapshots.pool_from_bytes(pool.id, data, pool.holds.values()) == pool


@given(pool=strategies.pools)
def test_a_pool_is_kept_without_its_holds(pool: Pool) -> None:
    bare = replace(pool, holds=NO_HOLDS)

    assert snapshots.pool_to_bytes(bare) == snapshots.pool_to_bytes(pool)


@given(hold=strategies.holds)
def test_a_hold_comes_back_as_it_was(hold: Hold) -> None:
    assert snapshots.hold_from_bytes(snapshots.hold_to_bytes(hold)) == hold


@given(contract=strategies.contracts)
def test_a_contract_comes_back_as_it_was(contract: Contract) -> None:
    assert snapshots.contract_from_bytes(contract.id, snapshots.contract_to_bytes(contract)) == contract


@given(allocation=strategies.allocations)
def test_an_allocation_comes_back_as_it_was(allocation: Allocation) -> None:
    data = snapshots.allocation_to_bytes(allocation)

    assert snapshots.allocation_from_bytes(allocation.id, data) == allocation


def test_a_contract_that_was_loaded_goes_on_as_if_it_had_not_been() -> None:
    reserved = next(event for event in EVENTS if isinstance(event, ContractReserved))
    purchased = next(event for event in EVENTS if isinstance(event, ContractPurchased))
    cancelled = next(event for event in EVENTS if isinstance(event, ContractCancelled))
    alive = contracts.evolve(contracts.evolve(None, reserved), purchased)
    loaded = snapshots.contract_from_bytes(alive.id, snapshots.contract_to_bytes(alive))

    assert contracts.evolve(loaded, cancelled) == contracts.evolve(alive, cancelled)


def test_a_contract_keeps_how_it_began_beside_where_it_stands() -> None:
    reserved = next(event for event in EVENTS if isinstance(event, ContractReserved))
    contract = replace(contracts.evolve(None, reserved), state=ContractState.ACTIVE)

    message = ContractSnapshot.FromString(snapshots.contract_to_bytes(contract))

    assert message.reserved.state == CONTRACT_STATE_RESERVED


@given(contract=strategies.contracts)
def test_equal_contracts_give_equal_bytes(contract: Contract) -> None:
    data = snapshots.contract_to_bytes(contract)

    assert snapshots.contract_to_bytes(snapshots.contract_from_bytes(contract.id, data)) == data
