"""How aggregates become rows, and rows aggregates again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from immutables import Map

from rear.domain import allocation as allocations
from rear.domain import contract as contracts
from rear.domain.allocation import Allocation, AllocationState, Peering
from rear.domain.contract import Contract, VerbRequest
from rear.domain.events import (
    AllocationCreated,
    CapacityChanged,
    ContractReserved,
    PoolRegistered,
    PoolTermsChanged,
)
from rear.domain.flavour import Offer
from rear.domain.hold import Hold, Holds
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.pool import Pool
from rear.domain.rating import Rating
from rear.domain.window import Duration, Instant
from rear.ledger.codec import decode, parse
from rear.wire.holds import read_hold

Row = tuple[str | int | bytes | None, ...]

POOLS = (
    "SELECT pool_id, flavour_id, version, offers, terms_since_offer, terms_event, capacity_event, offer_event "
    "FROM available_resources JOIN pools USING (pool_id)"
)
CONTRACT_COLUMNS = "event, state, revision, updated_at, ended_by, ended_because, requests"
ALLOCATION_COLUMNS = "event, state, version, updated_at, peer_id, fabric, endpoint"


def new_offer_row(pool: Pool, offer: bytes) -> Row:
    """For NEW_OFFER, with the newest event that set the offer."""
    return (pool.id, *_offer_columns(pool), offer)


def offer_row(pool: Pool, offer: bytes | None) -> Row:
    """For PUT_OFFER; None leaves what an earlier event set."""
    return (*_offer_columns(pool), offer, pool.id)


def pool_from(row: Row, holds: Holds) -> Pool:
    """The pool of a row of POOLS."""
    pool_id, flavour_id, version, offers, since, terms_event, capacity_event, offer_event = row
    terms: Any = decode(_bytes(terms_event)).event
    capacity: Any = terms if capacity_event == terms_event else decode(_bytes(capacity_event)).event
    assert isinstance(terms, PoolRegistered | PoolTermsChanged)
    assert isinstance(capacity, PoolRegistered | CapacityChanged)
    offer: Offer | None = None
    if flavour_id is not None:
        advertised: Any = terms if offer_event == terms_event else decode(_bytes(offer_event)).event
        offer = advertised.offer
    return Pool(
        id=str(pool_id),
        version=_int(version),
        terms=terms.terms,
        capacity=capacity.capacity,
        units=capacity.units,
        offer=offer,
        offers=_int(offers),
        terms_since_offer=_int(since),
        holds=holds,
    )


def new_hold_row(sequence: int, pool_id: str, hold: Hold, event: bytes) -> Row:
    """For NEW_HOLD, with the event that took the hold and its sequence."""
    return (sequence, pool_id, hold.id, hold.kind.value, hold.window.start, hold.window.end, event)


def place_of(row: Row) -> int:
    """The sequence of a row that begins."""
    return _int(row[0])


def holds_from(found: Iterable[tuple[bytes]]) -> Map[str, Hold]:
    """The holds that events took, by their ids. Of an event, only what is held is read."""
    holds = [read_hold(parse(event)[0].pool_reserved.hold) for (event,) in found]
    return Map({hold.id: hold for hold in holds})


def new_contract_row(sequence: int, contract: Contract, event: bytes) -> Row:
    """For NEW_CONTRACT; `sequence` and `event` are of the contract's first event."""
    return (
        sequence,
        contract.id,
        contract.pool_id,
        contract.buyer_id,
        *_standing(contract),
        contract.window.start,
        contract.window.end,
        *_history(contract),
        event,
    )


def rating_row(provider_id: str, rating: Rating) -> Row:
    """For ADD_RATING, with what is to be added."""
    return (
        provider_id,
        rating.granted,
        rating.refused,
        rating.unanswered,
        rating.kept,
        rating.revoked,
        rating.answers,
        rating.elapsed,
        rating.slowest,
    )


def rating_from(row: Row) -> Rating:
    """The rating of a row of RATINGS."""
    granted, refused, unanswered, kept, revoked, answers, elapsed, slowest = map(_int, row[1:])
    return Rating(granted, refused, unanswered, kept, revoked, answers, Duration(elapsed), Duration(slowest))


def contract_ids(new: Iterable[Row]) -> Iterator[str]:
    """The ids in rows for NEW_CONTRACT."""
    return (str(row[1]) for row in new)


def contract_row(contract: Contract) -> Row:
    """For PUT_CONTRACT."""
    return (*_standing(contract), *_history(contract), contract.id)


def contract_from(row: Row) -> Contract:
    """The contract of a row of CONTRACT_COLUMNS."""
    event, state, revision, updated_at, ended_by, ended_because, requests = row
    reserved = decode(_bytes(event)).event
    assert isinstance(reserved, ContractReserved)
    began = contracts.evolve(None, reserved)
    if revision == began.version:
        return began
    return replace(
        began,
        version=_int(revision),
        state=ContractState(state),
        updated_at=Instant(_int(updated_at)),
        ending=None if ended_by is None else Ending(str(ended_by), str(ended_because)),
        requests=tuple(
            VerbRequest(verb, request_id, bytes.fromhex(fingerprint))
            for verb, request_id, fingerprint in json.loads(str(requests))
        ),
    )


def new_allocation_row(sequence: int, allocation: Allocation, event: bytes) -> Row:
    """For NEW_ALLOCATION; `sequence` and `event` are of the allocation's first event."""
    return (
        sequence,
        allocation.id,
        allocation.contract_id,
        allocation.side.value,
        *_allocation_columns(allocation),
        event,
    )


def allocation_row(allocation: Allocation) -> Row:
    """For PUT_ALLOCATION."""
    return (*_allocation_columns(allocation), allocation.id)


def allocation_from(row: Row) -> Allocation:
    """The allocation of a row of ALLOCATION_COLUMNS."""
    event, state, version, updated_at, peer_id, fabric, endpoint = row
    created = decode(_bytes(event)).event
    assert isinstance(created, AllocationCreated)
    return replace(
        allocations.evolve(None, created),
        version=_int(version),
        state=AllocationState(state),
        updated_at=Instant(_int(updated_at)),
        peered=None if peer_id is None else Peering(str(peer_id), str(fabric), str(endpoint)),
    )


def _allocation_columns(allocation: Allocation) -> Row:
    peered = allocation.peered
    carried = (None, None, None) if peered is None else (peered.peer_id, peered.fabric, peered.endpoint)
    return (allocation.state.value, allocation.version, allocation.updated_at, *carried)


def _offer_columns(pool: Pool) -> Row:
    return (
        pool.offer.flavour_id if pool.offer else None,
        pool.terms.type.value,
        pool.terms.owner.domain,
        pool.version,
        pool.offers,
        pool.terms_since_offer,
    )


def _standing(contract: Contract) -> Row:
    return (contract.state.value, contract.live, contract.version)


def _history(contract: Contract) -> Row:
    ending = contract.ending
    return (
        contracts.next_due(contract),
        contract.updated_at,
        ending.actor if ending else None,
        ending.reason if ending else None,
        _requests(contract),
    )


def _requests(contract: Contract) -> str:
    if not contract.requests:
        return "[]"
    return json.dumps([(made.verb, made.request_id, made.fingerprint.hex()) for made in contract.requests])


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"not the bytes of an event: {value!r}")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"not a whole number: {value!r}")
    return value
