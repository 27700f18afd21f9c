"""Whether a refusal is true at some point between two positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rear.v1.contract_pb2 import Contract, ContractState
from rear.v1.contract_service_pb2 import (
    CancelContractRequest,
    PurchaseFlavourRequest,
    ReserveFlavourRequest,
    RevokeContractRequest,
)
from rear.v1.discovery_service_pb2 import GetFlavourRequest
from rear.v1.window_pb2 import Window
from tests.checker.capacity import Claim, fits
from tests.checker.history import Call, Refusal
from tests.checker.lives import EXPIRED, LIVE, RESERVED
from tests.checker.replay import Replay
from tests.checker.timelines import Effect, PoolVersion

DAY: Final = 24 * 3600 * 10**9
DEFAULT_LEASE: Final = DAY

Verb = PurchaseFlavourRequest | CancelContractRequest | RevokeContractRequest


@dataclass(frozen=True, slots=True)
class Between:
    """The positions that a refusal may rest on, and the newest instant at which it can have been decided."""

    replay: Replay
    low: int
    high: int
    latest: int

    def instants(self, first: int, last: int) -> tuple[int, int]:
        """The earliest and the latest time of a decision that was made between these two positions."""
        recorded = self.replay.recorded_at
        earliest = recorded[first - 1] if first else 0
        following = recorded[last] if last < self.replay.length else self.latest
        return earliest, max(earliest, min(following, self.latest))


Made = Mapping[tuple[str, str], Effect]
"""What each request has done, by caller and request id."""

Judge = Callable[[Call, Refusal, Between, Made], int | None]
"""The first position at which the refusal is true; None where there is none."""


def capacity_exceeded(call: Call, refusal: Refusal, between: Between, made: Made) -> int | None:
    """It did not fit, also without what was overdue by then; and the request had no effect yet."""
    request = call.request
    assert isinstance(request, ReserveFlavourRequest)
    latest = between.latest
    if refusal.counter_offer is not None:  # worked out after the refusal
        latest = min(latest, refusal.counter_offer.as_of.ToNanoseconds())
    known = made.get((call.caller, call.request_id))
    pool = between.replay.pools.get(request.flavour_id.rpartition("-")[0])
    if pool is None:
        return None
    for first, last, version, claims in pool.between(between.low, between.high):
        if known is not None and known.first <= first:
            return None
        earliest, newest = Between(between.replay, between.low, between.high, latest).instants(first, last)
        for now in moments(between.replay, claims, earliest, newest):
            start, end = resolve(request.window, now)
            left = not_overdue(between.replay, claims, now)
            if start < end and not fits(version.stock, left, request.partition, start, end):
                return first
    return None


def flavour_refused(call: Call, refusal: Refusal, between: Between, made: Made) -> int | None:
    """FLAVOUR_NOT_FOUND and FLAVOUR_CHANGED: what the pool's lineage says of the flavour's number."""
    request = call.request
    assert isinstance(request, ReserveFlavourRequest | GetFlavourRequest)
    pool_id, _, number = request.flavour_id.rpartition("-")
    pool = between.replay.pools.get(pool_id)
    if pool is None or pool.versions[0].sequence > between.low:
        return between.low if refusal.reason == "FLAVOUR_NOT_FOUND" else None
    current = refusal.metadata.get("current_flavour_id")

    def true(version: PoolVersion) -> bool:
        offer = version.offer
        if refusal.reason == "FLAVOUR_CHANGED":
            return offer is not None and int(number) < version.terms_since and offer.flavour_id == current
        if isinstance(request, ReserveFlavourRequest):
            return offer is None or int(number) > version.offers
        return offer is None or (offer.flavour_id != request.flavour_id and offer.flavour_id == current)

    return next((first for first, _, version, _ in pool.between(between.low, between.high) if true(version)), None)


def contract_refused(call: Call, refusal: Refusal, between: Between, made: Made) -> int | None:
    """What a contract's state and revision, and the time, say of a verb."""
    request = call.request
    known = made.get((call.caller, call.request_id)) if call.request_id else None
    for first, last, shown in states(between, request.contract_id):  # type: ignore[attr-defined]
        visible = shown is not None and shown.buyer_id == call.caller
        if refusal.reason == "CONTRACT_NOT_FOUND":
            if not visible:
                return first
        elif visible and shown is not None and isinstance(request, Verb):
            if known is not None and known.first <= first:
                return None
            if _verb_refused(request, refusal, shown, between.instants(first, last)):
                return first
    return None


def _verb_refused(request: Verb, refusal: Refusal, shown: Contract, instants: tuple[int, int]) -> bool:
    earliest, latest = instants
    buys = isinstance(request, PurchaseFlavourRequest)
    until = shown.purchase_before.ToNanoseconds() if shown.state == RESERVED else None
    other_revision = request.HasField("revision") and request.revision != shown.revision
    may_be_in_time = shown.state != EXPIRED and (until is None or earliest < until)
    match refusal.reason:
        case "TTP_PASSED":
            return buys and (shown.state == EXPIRED or (until is not None and latest >= until))
        case "REVISION_MISMATCH":
            named = refusal.metadata.get("revision") == str(shown.revision)
            return other_revision and named and (may_be_in_time if buys else shown.state in LIVE)
        case "WRONG_STATE":
            named = refusal.metadata.get("state") == ContractState.Name(shown.state).removeprefix("CONTRACT_STATE_")
            return buys and named and not other_revision and shown.state not in (RESERVED, EXPIRED)
    return False


def request_id_reused(call: Call, _: Refusal, between: Between, made: Made) -> int | None:
    """The request id had an effect before, of another request."""
    known = made.get((call.caller, call.request_id))
    if known is None or known.first > between.high:
        return None
    return max(known.last, between.low)


JUDGES: Final[dict[str, Judge]] = {
    "CAPACITY_EXCEEDED": capacity_exceeded,
    "FLAVOUR_NOT_FOUND": flavour_refused,
    "FLAVOUR_CHANGED": flavour_refused,
    "CONTRACT_NOT_FOUND": contract_refused,
    "WRONG_STATE": contract_refused,
    "TTP_PASSED": contract_refused,
    "REVISION_MISMATCH": contract_refused,
    "REQUEST_ID_REUSED": request_id_reused,
}


def states(between: Between, contract_id: str) -> Iterator[tuple[int, int, Contract | None]]:
    """The contract's versions in the range; nothing but None where it never was."""
    timeline = between.replay.contracts.get(contract_id)
    if timeline is None:
        yield between.low, between.high, None
    else:
        yield from timeline.between(between.low, between.high)


def resolve(window: Window, now: int) -> tuple[int, int]:
    """The window that a request means at that time."""
    start = max(window.start.ToNanoseconds(), now) if window.HasField("start") else now
    if window.HasField("duration"):
        return start, start + window.duration.ToNanoseconds()
    return start, window.end.ToNanoseconds() if window.HasField("end") else start + DEFAULT_LEASE


def not_overdue(replay: Replay, claims: list[Claim], now: int) -> list[Claim]:
    """Without reservations whose time to purchase has passed: whoever asks for their room gets it."""
    return [claim for claim in claims if not overdue(replay, claim, now)]


def overdue(replay: Replay, claim: Claim, now: int) -> bool:
    """Whether the claim is of a reservation that nobody has bought, and nobody may buy any more."""
    timeline = replay.contracts.get(claim.hold_id)
    if timeline is None or timeline.purchase_before is None or now < timeline.purchase_before:
        return False
    return all(shown.state == EXPIRED for _, shown in timeline.versions[1:])  # it was never bought or given back


def moments(replay: Replay, claims: list[Claim], earliest: int, latest: int) -> list[int]:
    """Instants in [earliest, latest] such that nothing about the claims changes between two that follow."""
    found = {earliest, latest}
    for claim in claims:
        timeline = replay.contracts.get(claim.hold_id)
        limit = timeline.purchase_before if timeline is not None else None
        for edge in (claim.start, claim.end, limit):
            if edge is not None:
                found |= {at for at in (edge - 1, edge) if earliest < at < latest}
    return sorted(found)
