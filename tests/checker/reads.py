"""Whether what a read shows is what stood in the ledger at the position that the answer carries."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

from rear.v1.contract_pb2 import Contract
from rear.v1.contract_service_pb2 import ListContractsRequest, ListContractsResponse
from rear.v1.discovery_service_pb2 import GetFlavourRequest, ListFlavoursRequest
from rear.v1.flavour_pb2 import ListedFlavour
from rear.v1.selector_pb2 import Selector
from rear.v1.window_pb2 import Window
from tests.checker.capacity import Claim, amounts, fits, free
from tests.checker.history import Call
from tests.checker.lives import RESERVED
from tests.checker.refusals import Between, resolve
from tests.checker.replay import Replay
from tests.checker.timelines import PoolVersion

ALL_POOLS: Final = frozenset({"window", "pool_ids"})
"""Filters with which it is plain which pools must be listed."""


def contract_untrue(replay: Replay, answer: Message, position: int) -> str | None:
    """What a contract in an answer shows that it was not at the position."""
    shown: Contract = answer.contract  # type: ignore[attr-defined]
    timeline = replay.contracts.get(shown.contract_id)
    stood = None if timeline is None else timeline.at(position)
    if stood is None:
        return f"contract {shown.contract_id} is not in the ledger at {position}"
    if stood != shown:
        return f"it shows {_differences(shown, stood)} at {position}"
    remaining = getattr(answer, "ttp_remaining", None)
    if remaining is not None and shown.state == RESERVED:
        left = shown.purchase_before.ToNanoseconds() - answer.server_time.ToNanoseconds()  # type: ignore[attr-defined]
        if remaining.ToNanoseconds() != max(0, left):
            return f"it says that {remaining.ToNanoseconds()} ns remain, of {left}"
    return None


class Pages:
    """Lists of contracts, page by page: which contract each page token goes on after."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._after = {"": 0}

    def untrue(self, call: Call, answer: ListContractsResponse, position: int) -> str | None:
        """What a page shows, or leaves out, that was otherwise at the position."""
        request = call.request
        assert isinstance(request, ListContractsRequest)
        if request.page_token not in self._after:
            return f"its page token {request.page_token!r} was never given"
        begun = sorted(timeline.versions[0][0] for timeline in self._replay.contracts.values())
        by_start = {timeline.versions[0][0]: timeline for timeline in self._replay.contracts.values()}
        expected: list[Contract] = []
        for first in begun:
            shown = by_start[first].at(position)
            if first <= self._after[request.page_token] or shown is None or shown.buyer_id != call.caller:
                continue
            if request.states and shown.state not in request.states:
                continue
            if request.pool_id and shown.pool_id != request.pool_id:
                continue
            expected.append(shown)
        size = request.page_size or 100
        if list(answer.contracts) != expected[:size]:
            return f"at {position} it shows {_list_differences(list(answer.contracts), expected[:size])}"
        if bool(answer.next_page_token) != (len(expected) > size):
            return f"there are {len(expected)} contracts, and its next page is {answer.next_page_token!r}"
        if answer.next_page_token:
            last = answer.contracts[-1].contract_id
            self._after[answer.next_page_token] = self._replay.contracts[last].versions[0][0]
        return None


def flavour_untrue(listed: ListedFlavour, window: Window, partition: Selector | None, between: Between) -> str | None:
    """What a listed flavour shows that its pool was at no point of the range."""
    pool = between.replay.pools.get(listed.flavour.pool_id)
    if pool is None:
        return f"there is no pool {listed.flavour.pool_id}"
    start, end = resolve(window, listed.as_of.ToNanoseconds())
    for _, _, version, claims in pool.between(between.low, between.high):
        if _is_listed(listed, version, claims, start, end) and (
            partition is None or fits(version.stock, claims, partition.partition, start, end)
        ):
            return None
    return f"{listed.flavour.flavour_id} was not so at any point from {between.low} to {between.high}"


def missing_pools(request: ListFlavoursRequest, listed: set[str], between: Between) -> list[str]:
    """Pools that are not listed, though they were to be at every point of the range."""
    selector = request.selector
    if any(field.name not in ALL_POOLS for field, _ in selector.ListFields()):
        return []
    return [
        key
        for key, pool in between.replay.pools.items()
        if key not in listed
        and (not selector.pool_ids or key in selector.pool_ids)
        and pool.versions[0].sequence <= between.low
        and all(version.offer is not None for _, _, version, _ in pool.between(between.low, between.high))
    ]


def window_of(request: ListFlavoursRequest | GetFlavourRequest) -> Window:
    """The window that a question for flavours is about."""
    return request.selector.window if isinstance(request, ListFlavoursRequest) else request.window


def _is_listed(listed: ListedFlavour, version: PoolVersion, claims: list[Claim], start: int, end: int) -> bool:
    offer = version.offer
    if offer is None or offer.flavour_id != listed.flavour.flavour_id or offer.quantities != listed.flavour.quantities:
        return False
    left = free(version.stock, claims, start, end)
    said = amounts(listed.available)
    said |= {f"{one.unit.unit_class}/{one.unit.name}": one.millis for one in listed.available_units}
    return said == left


def _differences(shown: Contract, stood: Contract) -> str:
    names = [field.name for field in Contract.DESCRIPTOR.fields]
    different = [name for name in names if getattr(shown, name) != getattr(stood, name)]
    return f"contract {shown.contract_id} with " + "; ".join(
        f"{name} {str(getattr(shown, name)).strip()}, not {str(getattr(stood, name)).strip()}" for name in different
    )


def _list_differences(shown: list[Contract], stood: list[Contract]) -> str:
    by_id = {contract.contract_id: contract for contract in stood}
    for contract in shown:
        expected = by_id.pop(contract.contract_id, None)
        if expected is None:
            return f"contract {contract.contract_id}, which does not belong there"
        if expected != contract:
            return _differences(contract, expected)
    return f"nothing of {', '.join(by_id)}" if by_id else "another order"
