"""Holds a buyer's ledger against those of its sellers: rule 6, both sides agree once faults have stopped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from google.protobuf.message import Message

from rear.v1.contract_pb2 import Contract
from tests.checker.buying import Buying
from tests.checker.lives import ACTIVE, LIVE
from tests.checker.replay import Replay
from tests.checker.runs import Bought


def disagreements(buyer: Buying, sellers: Mapping[str, Replay], foreign: Collection[str] = ()) -> Iterator[str]:
    """What the two sides of a link see differently. `foreign` are contracts that others bought."""
    for bought in buyer.purchases.values():
        seller = sellers.get(bought.order.provider_id)
        if seller is not None:
            yield from _link_disagreements(bought, seller)
    for provider_id, seller in sellers.items():
        for key in seller.contracts.keys() - buyer.purchases.keys() - set(foreign):
            yield f"{provider_id} has contract {key}, which nobody asked for"
    yield from _allocation_disagreements(buyer, sellers)


def _link_disagreements(bought: Bought, seller: Replay) -> Iterator[str]:
    key, timeline = bought.contract_id, seller.contracts.get(bought.contract_id)
    if bought.copy is None:
        if timeline is not None and timeline.newest.state in LIVE:
            yield f"contract {key} lives at its seller, and its buyer has no copy"
        return
    if timeline is None:
        yield f"contract {key} is copied, and its seller has none"
        return
    if different := _differing(bought.copy, timeline.newest):
        yield f"contract {key} differs in {', '.join(different)}: {bought.copy} at the buyer, {timeline.newest}"
    reserved_at = seller.recorded_at[timeline.versions[0][0] - 1]
    if reserved_at < bought.requested_at:
        yield f"contract {key} was sent for before that was recorded"


def _allocation_disagreements(buyer: Buying, sellers: Mapping[str, Replay]) -> Iterator[str]:
    """Of a ready service request each active contract has one active allocation on both sides, the others none."""
    active = {key for seller in sellers.values() for key in _active_allocations(seller)}
    for bought in buyer.purchases.values():
        if bought.order.provider_id not in sellers or bought.copy is None:
            continue
        run = buyer.runs.get(bought.service_request_id)
        ours = [node.state for node in buyer.nodes.values() if node.contract_id == bought.contract_id]
        theirs = bought.copy.allocation_id in active
        if run is not None and run.all_ready and not run.ended and bought.counts and bought.copy.state == ACTIVE:
            if ours != ["ACTIVE"] or not theirs:
                yield f"contract {bought.contract_id} is active; allocations: {ours}, the seller's active: {theirs}"
        elif bought.copy.state not in LIVE and (set(ours) & {"INACTIVE", "ACTIVE"} or theirs):
            yield f"contract {bought.contract_id} has ended; allocations: {ours}, the seller's active: {theirs}"


def _active_allocations(seller: Replay) -> set[str]:
    active: set[str] = set()
    for envelope in seller.envelopes:
        key, kind = envelope.subject.rpartition(".")[2], str(envelope.WhichOneof("body"))
        if kind == "allocation_activated":
            active.add(key)
        elif kind in ("allocation_released", "allocation_failed"):
            active.discard(key)
    return active


def _differing(one: Contract, other: Contract) -> list[str]:
    def told(message: Message, name: str) -> object:
        field = message.DESCRIPTOR.fields_by_name[name]
        return message.HasField(name) if field.has_presence and not message.HasField(name) else getattr(message, name)

    return [name for name in one.DESCRIPTOR.fields_by_name if told(one, name) != told(other, name)]
