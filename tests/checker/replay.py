"""Replays a ledger from nothing but its bytes, and finds what must never stand in one.

The hash chain is whole; aggregates count from 1; time goes forward; every commit is whole (pool, contract and
allocation agree, side by side); a contract lives by its table and not before its time; nothing is ever oversold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from rear.event.v1.envelope_pb2 import Envelope
from rear.event.v1.pool_pb2 import HoldKind, PoolTerms
from rear.v1.audit_service_pb2 import RecordedEvent
from rear.v1.contract_pb2 import Contract, ContractState
from rear.v1.flavour_pb2 import Partitionability
from tests.checker.capacity import Claim, claim_of, free, span, stock_of
from tests.checker.lives import (
    ACTIVATED,
    ACTIVE,
    ALLOCATION_LIFE,
    CONFIRMED,
    ENDINGS,
    INACTIVE,
    LIFE,
    METHODS,
    PEERED,
    RELEASED,
    RESERVED,
)
from tests.checker.timelines import ContractTimeline, Effect, PoolTimeline, PoolVersion


class Replay:
    """A ledger, replayed. `findings` say what is wrong with it; the rest is what it says at each position."""

    def __init__(self, recorded: Sequence[RecordedEvent]) -> None:
        self.findings: list[str] = []
        self.pools: dict[str, PoolTimeline] = {}
        self.contracts: dict[str, ContractTimeline] = {}
        self.effects: list[Effect] = []
        self.positions = {event.position: event.sequence for event in recorded}
        self.envelopes = [Envelope.FromString(event.payload) for event in recorded]
        self.kinds = [envelope.WhichOneof("body") or "" for envelope in self.envelopes]
        self.recorded_at = [envelope.recorded_time.ToNanoseconds() for envelope in self.envelopes]
        self._allocations: dict[str, str] = {}
        self._own_use: set[str] = set()
        self.whole = self._chain(recorded)
        """Whether every event is there, at its place: only then answers can be held against it."""
        versions: Counter[str] = Counter()
        for sequence, (envelope, kind) in enumerate(zip(self.envelopes, self.kinds, strict=True), start=1):
            versions[envelope.subject] += 1
            if envelope.aggregate_version != versions[envelope.subject]:
                self._find(sequence, f"is version {envelope.aggregate_version}, not {versions[envelope.subject]}")
            if sequence > 1 and self.recorded_at[sequence - 2] > self.recorded_at[sequence - 1]:
                self._find(sequence, "was recorded before the event before it")
            self._follow(sequence, envelope, kind)

    @property
    def length(self) -> int:
        """The last position."""
        return len(self.envelopes)

    def said(self, sequence: int) -> str:
        """An event by its place and kind, for people."""
        return f"event {sequence} ({self.kinds[sequence - 1]} of {_key(self.envelopes[sequence - 1])})"

    # -- one event after the other -------------------------------------------------------------------------

    def _chain(self, recorded: Sequence[RecordedEvent]) -> bool:
        before = bytes(32)
        for place, event in enumerate(recorded, start=1):
            subject = event.subject.encode()
            before = sha256(before + len(subject).to_bytes(4, "big") + subject + event.payload).digest()
            if (event.sequence, event.hash) != (place, before):
                self.findings.append(f"the hash chain breaks at {event.sequence} ({event.event_type} at place {place})")
                return False
        return True

    def _follow(self, sequence: int, envelope: Envelope, kind: str) -> None:
        key = _key(envelope)
        match kind:
            case "pool_registered" | "pool_terms_changed" | "capacity_changed" | "pool_retired":
                self._pool_changed(sequence, envelope, kind)
            case "pool_reserved":
                self._held(sequence, envelope)
            case "hold_released":
                self._released(sequence, envelope)
            case "contract_reserved":
                self._reserved(sequence, envelope)
            case _ if kind.startswith("allocation_") and key.endswith("-consumer"):
                pass  # tests.checker.buying judges what stands for purchases
            case "allocation_created":
                self._allocations[key] = INACTIVE
                if self.kinds[sequence - 2] != "contract_reserved":
                    self._find(sequence, "does not follow its contract")
            case "allocation_released":
                if self._allocations.get(key, RELEASED) == RELEASED:
                    self._find(sequence, "releases what is not allocated")
                self._allocations[key] = RELEASED
                if self.kinds[sequence - 2] not in ENDINGS:
                    self._find(sequence, "does not follow its contract's end")
            case "allocation_peered" | "allocation_activated" | "allocation_failed":
                self._allocation_moved_on(sequence, key, kind)
            case _ if kind in LIFE:
                self._moved_on(sequence, envelope, kind)

    def _pool_changed(self, sequence: int, envelope: Envelope, kind: str) -> None:
        key = _key(envelope)
        timeline = self.pools.setdefault(key, PoolTimeline(key))
        before = timeline.versions[-1] if timeline.versions else None
        match kind, before:
            case "pool_registered", None:
                made = envelope.pool_registered
                stock = stock_of(made.capacity, made.units, _bounds(made.terms))
                version = PoolVersion(sequence, stock, made.offer, 1, 1)
            case "pool_terms_changed", PoolVersion(stock=stock, offers=offers):
                terms = envelope.pool_terms_changed
                kept = type(stock)(stock.things, stock.units, _bounds(terms.terms))
                version = PoolVersion(sequence, kept, terms.offer, offers + 1, offers + 1)
            case "capacity_changed", PoolVersion(stock=stock, offer=offer, offers=offers, terms_since=since):
                change = envelope.capacity_changed
                stock = stock_of(change.capacity, change.units, stock.bounds)
                new = change.offer if change.HasField("offer") else offer
                version = PoolVersion(sequence, stock, new, offers + change.HasField("offer"), since)
            case "pool_retired", PoolVersion(stock=stock, offers=offers, terms_since=since):
                version = PoolVersion(sequence, stock, None, offers, since)
            case _:
                self._find(sequence, "does not follow from the events before it")
                return
        timeline.add(version)
        if kind == "capacity_changed":
            for claim in list(timeline.claims.values()):
                self._not_oversold(sequence, timeline, claim)

    def _held(self, sequence: int, envelope: Envelope) -> None:
        timeline, body = self.pools[_key(envelope)], envelope.pool_reserved
        if body.hold.hold_id in timeline.claims:
            self._find(sequence, f"holds {body.hold.hold_id} twice")
            return
        claim = claim_of(body.hold, sequence)
        timeline.add(_with_offer(timeline.versions[-1], sequence, body), claim)
        self._not_oversold(sequence, timeline, claim)
        if body.hold.kind == HoldKind.HOLD_KIND_LOCAL:
            self._own_use.add(body.hold.hold_id)
            return
        contract = self._next(sequence, "contract_reserved", body.hold.hold_id)
        allocation = self._next(sequence + 1, "allocation_created", f"{body.hold.hold_id}-provider")
        if contract is None or allocation is None:
            self._find(sequence, "is half a reservation: its contract and its allocation do not follow")
            return
        agreed, stands = contract.contract_reserved, allocation.allocation_created
        same = (
            agreed.pool_id == stands.pool_id == timeline.pool_id
            and agreed.window == stands.window == body.hold.window
            and agreed.partition.quantities == stands.quantities == body.hold.quantities
            and list(agreed.assigned_units) == list(stands.units) == list(body.hold.units)
            and contract.recorded_time == allocation.recorded_time == envelope.recorded_time
        )
        if not same:
            self._find(sequence, "does not hold what its contract and its allocation say")
        asked = sum(request.count for request in agreed.partition.units)
        if len({(share.unit_class, share.name) for share in body.hold.units}) != asked:
            self._find(sequence, f"holds other devices than the {asked} that were asked for")

    def _released(self, sequence: int, envelope: Envelope) -> None:
        timeline, body = self.pools[_key(envelope)], envelope.hold_released
        claim = timeline.claims.get(body.hold_id)
        if claim is None:
            self._find(sequence, f"releases {body.hold_id}, which is not held")
            return
        timeline.add(_with_offer(timeline.versions[-1], sequence, body), claim, gone=True)
        if body.hold_id not in self._own_use and not any(self._next(sequence, kind, body.hold_id) for kind in ENDINGS):
            self._find(sequence, "is half an ending: its contract's end does not follow")

    def _reserved(self, sequence: int, envelope: Envelope) -> None:
        key, body = _key(envelope), envelope.contract_reserved
        shown = Contract(
            contract_id=key,
            provider_id=envelope.source,
            buyer_id=body.buyer_id,
            flavour_id=body.flavour_id,
            pool_id=body.pool_id,
            partition=body.partition,
            assigned_units=body.assigned_units,
            window=body.window,
            state=body.state,
            revision=envelope.aggregate_version,
            price=body.price if body.HasField("price") else None,
            priority=body.priority,
            created_at=envelope.time,
            updated_at=envelope.time,
            purchase_before=body.purchase_before if body.HasField("purchase_before") else None,
            allocation_id=body.allocation_id,
            chain_id=body.chain_id,
        )
        if body.state not in (RESERVED, CONFIRMED) or self.kinds[sequence - 2] != "pool_reserved":
            self._find(sequence, "begins a contract without a hold")
        limit = body.purchase_before.ToNanoseconds() if body.HasField("purchase_before") else None
        self.contracts[key] = ContractTimeline(key, [(sequence, shown)], limit)
        self._effect(sequence, envelope, sequence - 1, sequence + 1)

    def _moved_on(self, sequence: int, envelope: Envelope, kind: str) -> None:
        timeline = self.contracts[_key(envelope)]
        before = timeline.newest
        allowed, state = LIFE[kind]
        if before.state not in allowed:
            self._find(sequence, f"cannot happen to a contract that is {ContractState.Name(before.state)}")
        self._in_time(sequence, envelope, kind, timeline)
        shown = Contract()
        shown.CopyFrom(before)
        shown.state, shown.revision = state, envelope.aggregate_version
        if envelope.time.ToNanoseconds() > before.updated_at.ToNanoseconds():
            shown.updated_at.CopyFrom(envelope.time)
        if state != RESERVED:
            shown.ClearField("purchase_before")
        if kind in ENDINGS:
            ending = getattr(envelope, kind)
            shown.ending.actor = getattr(ending, "actor", "") or envelope.source
            shown.ending.reason = ending.reason
            if self._next(sequence, "allocation_released", before.allocation_id) is None:
                self._find(sequence, "is half an ending: its allocation is not released after it")
            if sequence < 2 or self.envelopes[sequence - 2].hold_released.hold_id != before.contract_id:
                self._find(sequence, "is half an ending: its hold is not released before it")
        timeline.versions.append((sequence, shown))
        peered = self._allocations.get(before.allocation_id) == PEERED
        active = self._next(sequence, "allocation_activated", before.allocation_id) is not None
        if kind == "contract_activated" and peered and not active:
            self._find(sequence, "leaves its allocation inactive, which is peered")
        whole = (sequence - 1, sequence + 1) if kind in ENDINGS else (sequence, sequence)
        self._effect(sequence, envelope, *whole)

    def _allocation_moved_on(self, sequence: int, key: str, kind: str) -> None:
        before = self._allocations.get(key, RELEASED)
        allowed, after = ALLOCATION_LIFE[kind]
        if before not in allowed:
            self._find(sequence, f"cannot happen to an allocation that is {before}")
        self._allocations[key] = ACTIVATED if (kind, before) == ("allocation_peered", ACTIVATED) else after
        contract = self.contracts.get(key.removesuffix("-provider"))
        if kind == "allocation_activated" and contract is not None and contract.newest.state != ACTIVE:
            self._find(sequence, f"comes while its contract is {ContractState.Name(contract.newest.state)}")

    def _in_time(self, sequence: int, envelope: Envelope, kind: str, timeline: ContractTimeline) -> None:
        """What time does happens when it is due and not before; what must be in time was."""
        recorded, effective = envelope.recorded_time.ToNanoseconds(), envelope.time.ToNanoseconds()
        start, end = span(timeline.newest.window)
        due = {"contract_expired": timeline.purchase_before, "contract_activated": start, "contract_completed": end}
        if kind in due and (effective != due[kind] or recorded < effective):
            self._find(sequence, f"takes effect at {effective} and was recorded at {recorded}; it was due {due[kind]}")
        limit = timeline.purchase_before
        if kind == "contract_purchased" and limit is not None and recorded >= limit:
            self._find(sequence, f"was recorded at {recorded}, after the time to purchase {limit}")

    # -- what is shared ------------------------------------------------------------------------------------

    def _effect(self, sequence: int, envelope: Envelope, first: int, last: int) -> None:
        method = METHODS.get(self.kinds[sequence - 1])
        if method is None or not envelope.request_id:
            return
        body = getattr(envelope, self.kinds[sequence - 1])
        self.effects.append(
            Effect(
                method, envelope.caller, envelope.request_id, _key(envelope), body.fingerprint, first, sequence, last
            )
        )

    def _next(self, sequence: int, kind: str, key: str) -> Envelope | None:
        """The event after a position, where it is of that kind and aggregate."""
        if sequence >= self.length or self.kinds[sequence] != kind:
            return None
        envelope = self.envelopes[sequence]
        return envelope if _key(envelope) == key else None

    def _not_oversold(self, sequence: int, timeline: PoolTimeline, claim: Claim) -> None:
        stock = timeline.versions[-1].stock
        claims = list(timeline.claims.values())
        left = free(stock, claims, claim.start, claim.end)
        unknown = {thing: -amount for thing, amount in claim.things.items() if thing not in stock.things and amount}
        over = {thing: -amount for thing, amount in (left | unknown).items() if amount < 0}
        if over:
            others = [self.said(one.made_at) for one in claims if one.start < claim.end and claim.start < one.end]
            self._find(
                sequence,
                f"oversells {timeline.pool_id} in [{claim.start}, {claim.end}) by {over} of "
                f"{ {thing: stock.things.get(thing, 0) for thing in over} }; held there: {', '.join(others)}",
            )

    def _find(self, sequence: int, what: str) -> None:
        self.findings.append(f"{self.said(sequence)} {what}")


def _key(envelope: Envelope) -> str:
    return envelope.subject.rpartition(".")[2]


def _bounds(terms: PoolTerms) -> Partitionability | None:
    return terms.policies.partitionability if terms.policies.HasField("partitionability") else None


def _with_offer(before: PoolVersion, sequence: int, body: object) -> PoolVersion:
    if not body.HasField("offer"):  # type: ignore[attr-defined]
        return PoolVersion(sequence, before.stock, before.offer, before.offers, before.terms_since)
    offer = body.offer  # type: ignore[attr-defined]
    return PoolVersion(sequence, before.stock, offer, before.offers + 1, before.terms_since)
