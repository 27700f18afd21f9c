"""What a ledger says of each pool and each contract, at every one of its positions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rear.event.v1.pool_pb2 import Offer
from rear.v1.contract_pb2 import Contract
from tests.checker.capacity import Claim, Stock

SNAPSHOT_EVERY: Final = 64


@dataclass(frozen=True, slots=True)
class PoolVersion:
    """A pool after the event at `sequence`, but for its claims. `offer` is None while it is retired."""

    sequence: int
    stock: Stock
    offer: Offer | None
    offers: int
    terms_since: int


@dataclass(slots=True)
class PoolTimeline:
    """All versions of one pool. `claims` are those of the newest."""

    pool_id: str
    versions: list[PoolVersion] = field(default_factory=list)
    claims: dict[str, Claim] = field(default_factory=dict)
    _changes: list[tuple[Claim, bool]] = field(default_factory=list)
    _snapshots: list[dict[str, Claim]] = field(default_factory=list)
    _changed_by: list[int] = field(default_factory=list)

    def add(self, version: PoolVersion, claim: Claim | None = None, *, gone: bool = False) -> None:
        """The next version, with the claim that it makes or gives back."""
        self.versions.append(version)
        if claim is not None:
            if gone:
                del self.claims[claim.hold_id]
            else:
                self.claims[claim.hold_id] = claim
            self._changes.append((claim, gone))
        self._changed_by.append(len(self._changes))
        if (len(self.versions) - 1) % SNAPSHOT_EVERY == 0:
            self._snapshots.append(dict(self.claims))

    def between(self, low: int, high: int) -> Iterator[tuple[int, int, PoolVersion, list[Claim]]]:
        """The versions that stand somewhere in [low, high]: from where, to where, what, and with which claims."""
        index = max(self._index(low), 0)
        while index < len(self.versions) and (version := self.versions[index]).sequence <= high:
            last = self.versions[index + 1].sequence - 1 if index + 1 < len(self.versions) else high
            if last >= low:
                yield max(version.sequence, low), min(last, high), version, self._claims_at(index)
            index += 1

    def at(self, sequence: int) -> PoolVersion | None:
        """The version that stands at a position; None before there is one."""
        index = self._index(sequence)
        return self.versions[index] if index >= 0 else None

    def _index(self, sequence: int) -> int:
        return bisect_right(self.versions, sequence, key=lambda version: version.sequence) - 1

    def _claims_at(self, index: int) -> list[Claim]:
        near = index // SNAPSHOT_EVERY
        claims = dict(self._snapshots[near])
        for claim, gone in self._changes[self._changed_by[near * SNAPSHOT_EVERY] : self._changed_by[index]]:
            if gone:
                del claims[claim.hold_id]
            else:
                claims[claim.hold_id] = claim
        return list(claims.values())


@dataclass(slots=True)
class ContractTimeline:
    """All versions of one contract, each as a buyer would be shown it."""

    contract_id: str
    versions: list[tuple[int, Contract]] = field(default_factory=list)
    purchase_before: int | None = None
    """In nanoseconds; None where it was agreed at once."""

    @property
    def newest(self) -> Contract:
        """As it is in the end."""
        return self.versions[-1][1]

    def at(self, sequence: int) -> Contract | None:
        """As it is at a position; None before it was reserved."""
        index = bisect_right(self.versions, sequence, key=lambda version: version[0]) - 1
        return self.versions[index][1] if index >= 0 else None

    def between(self, low: int, high: int) -> Iterator[tuple[int, int, Contract | None]]:
        """The versions that stand somewhere in [low, high]: from where, to where, and what; None before the first."""
        index = bisect_right(self.versions, low, key=lambda version: version[0]) - 1
        while index < len(self.versions):
            first, shown = (0, None) if index < 0 else self.versions[index]
            if first > high:
                return
            last = self.versions[index + 1][0] - 1 if index + 1 < len(self.versions) else high
            yield max(first, low), min(last, high), shown
            index += 1


@dataclass(frozen=True, slots=True)
class Effect:
    """What one request has done: the events from `first` to `last`, with the contract's own at `at`."""

    method: str
    caller: str
    request_id: str
    contract_id: str
    fingerprint: bytes
    first: int
    at: int
    last: int

    def __str__(self) -> str:
        return f"the events {self.first} to {self.last} of request {self.request_id} (contract {self.contract_id})"
