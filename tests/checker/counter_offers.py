"""Whether what a refusal offers instead is true between two positions.

The refusal, the most that fits and the earliest window are three looks, one after the other, and each must be true at
some point of the call. The search for the earliest window lets others run between its slices: its window fits at
some point of the call, and every earlier start does not fit at some point of the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rear.v1.contract_pb2 import CounterOffer
from rear.v1.contract_service_pb2 import ReserveFlavourRequest
from rear.v1.quantities_pb2 import Partition
from tests.checker.capacity import Claim, Most, amounts, devices, fits, most_that_fits, span
from tests.checker.history import Call, Refusal
from tests.checker.refusals import Between, not_overdue, resolve
from tests.checker.timelines import PoolVersion

SECOND: Final = 10**9


def untrue(call: Call, refusal: Refusal, between: Between) -> str | None:
    """What of the counter-offer is not true anywhere in the range; None where all of it is, or there is none."""
    offer, request = refusal.counter_offer, call.request
    if offer is None:
        return None
    assert isinstance(request, ReserveFlavourRequest)
    asked = span(offer.asked_window)
    as_of = offer.as_of.ToNanoseconds()
    if asked != resolve(request.window, as_of):
        return f"its window {asked} is not the one that was asked for"
    looks = list(_looks(request, between, as_of))
    if not any(_offered(version) == offer.flavour_id for version, _ in looks):
        return f"{offer.flavour_id} was not the pool's flavour"
    most = _said(offer)
    if not any(most == most_that_fits(version.stock, claims, request.partition, *asked) for version, claims in looks):
        return f"{most} was not the most that fits in {asked}"
    return _earliest_untrue(offer, request.partition, asked, looks)


def _looks(request: ReserveFlavourRequest, between: Between, as_of: int) -> Iterator[tuple[PoolVersion, list[Claim]]]:
    """What the search may have seen: the pool at each point, without what was overdue then or a little later."""
    pool = between.replay.pools[request.flavour_id.rpartition("-")[0]]
    for _, _, version, claims in pool.between(between.low, between.high):
        limits = {
            timeline.purchase_before
            for claim in claims
            if (timeline := between.replay.contracts.get(claim.hold_id)) is not None
            and timeline.purchase_before is not None
            and as_of < timeline.purchase_before <= max(between.latest, as_of)
        }
        for now in sorted({as_of, *limits}):
            yield version, not_overdue(between.replay, claims, now)


def _earliest_untrue(
    offer: CounterOffer, partition: Partition, asked: tuple[int, int], looks: list[tuple[PoolVersion, list[Claim]]]
) -> str | None:
    length = asked[1] - asked[0]

    def seen(start: int, wanted: bool) -> bool:
        return any(fits(version.stock, claims, partition, start, start + length) is wanted for version, claims in looks)

    found = None
    if offer.HasField("earliest_window"):
        found, end = span(offer.earliest_window)
        if end - found != length or found < asked[0] or not seen(found, True):
            return f"its earliest window [{found}, {end}) does not fit"
    elif not offer.exhaustive:
        return None
    ends = {claim.end for _, claims in looks for claim in claims if claim.end > asked[0]}
    for start in sorted({asked[0], *ends}):
        if found is not None and start >= found:
            break
        if not seen(start, False):
            return f"it would have fitted earlier, from {start}"
    return None


def _said(offer: CounterOffer) -> Most | None:
    if not offer.HasField("most_in_window"):
        return None
    said = offer.most_in_window
    return Most(amounts(said.quantities), devices(said.units, [request.count for request in said.units]))


def _offered(version: PoolVersion) -> str:
    return version.offer.flavour_id if version.offer is not None else ""
