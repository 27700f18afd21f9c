"""Contracts and counter-offers as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rear.domain.contract import Contract
from rear.domain.counter_offer import CounterOffer
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.link import ContractCopy
from rear.v1 import contract_pb2
from rear.wire.values import (
    read_instant,
    read_money,
    read_partition,
    read_shares,
    read_window,
    write_instant,
    write_money,
    write_partition,
    write_shares,
    write_window,
)

CONTRACT_STATE_NUMBERS: Final[Mapping[ContractState, contract_pb2.ContractState.ValueType]] = {
    ContractState.RESERVED: contract_pb2.CONTRACT_STATE_RESERVED,
    ContractState.CONFIRMED: contract_pb2.CONTRACT_STATE_CONFIRMED,
    ContractState.ACTIVE: contract_pb2.CONTRACT_STATE_ACTIVE,
    ContractState.EXPIRED: contract_pb2.CONTRACT_STATE_EXPIRED,
    ContractState.CANCELLED: contract_pb2.CONTRACT_STATE_CANCELLED,
    ContractState.REVOKED: contract_pb2.CONTRACT_STATE_REVOKED,
    ContractState.COMPLETED: contract_pb2.CONTRACT_STATE_COMPLETED,
}

CONTRACT_STATES: Final[Mapping[int, ContractState]] = {
    number: state for state, number in CONTRACT_STATE_NUMBERS.items()
}
"""Without UNSPECIFIED."""


def contract_to_proto(contract: Contract, provider_id: str) -> contract_pb2.Contract:
    """The contract as its seller `provider_id` keeps it."""
    message = contract_pb2.Contract()
    write_contract(message, contract, provider_id)
    return message


def write_contract(message: contract_pb2.Contract, contract: Contract, provider_id: str) -> None:
    """The contract as its seller `provider_id` keeps it.

    The time to purchase shows only while it runs, and what time alone ended was ended by the seller.
    """
    message.contract_id = contract.id
    message.provider_id = provider_id
    message.buyer_id = contract.buyer_id
    message.flavour_id = contract.flavour_id
    message.pool_id = contract.pool_id
    write_partition(message.partition, contract.partition)
    if contract.assigned_units:
        write_shares(message.assigned_units, contract.assigned_units)
    write_window(message.window, contract.window)
    message.state = CONTRACT_STATE_NUMBERS[contract.state]
    message.revision = contract.version
    if contract.price is not None:
        write_money(message.price, contract.price)
    message.priority = contract.priority
    write_instant(message.created_at, contract.created_at)
    write_instant(message.updated_at, contract.updated_at)
    if contract.purchase_before is not None and contract.state is ContractState.RESERVED:
        write_instant(message.purchase_before, contract.purchase_before)
    if contract.ending is not None:
        message.ending.actor = contract.ending.actor or provider_id
        message.ending.reason = contract.ending.reason
    message.allocation_id = contract.allocation_id
    message.chain_id = contract.chain_id


def write_copy(message: contract_pb2.Contract, copy: ContractCopy) -> None:
    """The contract as its seller showed it."""
    message.contract_id = copy.id
    message.provider_id = copy.provider_id
    message.buyer_id = copy.buyer_id
    message.flavour_id = copy.flavour_id
    message.pool_id = copy.pool_id
    write_partition(message.partition, copy.partition)
    write_shares(message.assigned_units, copy.assigned_units)
    write_window(message.window, copy.window)
    message.state = CONTRACT_STATE_NUMBERS[copy.state]
    message.revision = copy.revision
    if copy.price is not None:
        write_money(message.price, copy.price)
    message.priority = copy.priority
    write_instant(message.created_at, copy.created_at)
    write_instant(message.updated_at, copy.updated_at)
    if copy.purchase_before is not None:
        write_instant(message.purchase_before, copy.purchase_before)
    if copy.ending is not None:
        message.ending.SetInParent()
        message.ending.actor = copy.ending.actor
        message.ending.reason = copy.ending.reason
    message.allocation_id = copy.allocation_id
    message.chain_id = copy.chain_id


def read_copy(message: contract_pb2.Contract) -> ContractCopy:
    """What `write_copy` wrote. Raises KeyError for a state that this version does not know."""
    return ContractCopy(
        message.contract_id,
        message.provider_id,
        message.buyer_id,
        message.flavour_id,
        message.pool_id,
        read_partition(message.partition),
        read_shares(message.assigned_units),
        read_window(message.window),
        CONTRACT_STATES[message.state],
        message.revision,
        read_money(message.price) if message.HasField("price") else None,
        message.priority,
        read_instant(message.created_at),
        read_instant(message.updated_at),
        read_instant(message.purchase_before) if message.HasField("purchase_before") else None,
        Ending(message.ending.actor, message.ending.reason) if message.HasField("ending") else None,
        message.allocation_id,
        message.chain_id,
    )


def counter_offer_to_proto(offer: CounterOffer) -> contract_pb2.CounterOffer:
    """What would fit. What was not found stays absent."""
    message = contract_pb2.CounterOffer()
    write_counter_offer(message, offer)
    return message


def read_counter_offer(message: contract_pb2.CounterOffer) -> CounterOffer:
    """What `write_counter_offer` wrote."""
    return CounterOffer(
        message.flavour_id,
        read_partition(message.most_in_window) if message.HasField("most_in_window") else None,
        read_window(message.asked_window),
        read_window(message.earliest_window) if message.HasField("earliest_window") else None,
        message.exhaustive,
        read_instant(message.as_of),
    )


def write_counter_offer(message: contract_pb2.CounterOffer, offer: CounterOffer) -> None:
    """What would fit. What was not found stays absent."""
    message.flavour_id = offer.flavour_id
    message.exhaustive = offer.exhaustive
    if offer.most_in_window is not None:
        write_partition(message.most_in_window, offer.most_in_window)
    write_window(message.asked_window, offer.asked_window)
    if offer.earliest_window is not None:
        write_window(message.earliest_window, offer.earliest_window)
    write_instant(message.as_of, offer.as_of)
