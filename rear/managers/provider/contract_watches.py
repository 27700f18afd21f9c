"""Who watches contracts, and what each watcher is still to be told of what has become durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rear.domain.contract import Contract
from rear.domain.value import value
from rear.ledger.commit import Committed

MOST_WAITING: Final = 2_000
"""Contracts that are kept for a watcher that does not read. One with more is told from the ledger what it missed."""


@value
class Watched:
    """Which contracts are watched: of one buyer, or everybody's; and of these all, or those named."""

    buyer_id: str | None
    contract_ids: frozenset[str] = frozenset()

    def covers(self, contract: Contract) -> bool:
        """Whether this one is."""
        mine = self.buyer_id is None or self.buyer_id == contract.buyer_id
        return mine and (not self.contract_ids or contract.id in self.contract_ids)


@value
class News:
    """What became durable up to a sequence: the contracts that changed, each once, as they were then.

    `contracts` is None where there were more than are kept.
    """

    contracts: Sequence[Contract] | None
    sequence: int


class Subscription:
    """What one watcher is still to be told."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.moved = asyncio.Event()
        """Set when there is something to look at."""
        self._waiting: dict[str, Contract] | None = {}

    def put(self, contract: Contract) -> None:
        """A contract of the watched buyer has changed. What is told of it is the newest only."""
        if self._waiting is None or not self.watched.covers(contract):
            return
        if len(self._waiting) >= MOST_WAITING and contract.id not in self._waiting:
            self._waiting = None
        else:
            self._waiting[contract.id] = contract
        self.moved.set()

    def take(self) -> Sequence[Contract] | None:
        """Hands over what is to be told; None where that was too much to be kept."""
        waiting, self._waiting = self._waiting, {}
        self.moved.clear()
        return None if waiting is None else list(waiting.values())


class ContractWatches:
    """A writer's listener that tells its subscriptions of contracts that changed."""

    def __init__(self, sequence: int) -> None:
        """`sequence` is the ledger's tip; every batch after it must be told to this listener."""
        self._sequence = sequence
        self._by_buyer: dict[str | None, set[Subscription]] = {}

    @property
    def sequence(self) -> int:
        """Up to where subscriptions were told. It may be behind the writer's position, which moves first."""
        return self._sequence

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._by_buyer)

    def committed(self, batch: Sequence[Committed]) -> None:
        """Keeps for each subscription what it watches."""
        if self._by_buyer:
            for item in batch:
                after = item.step.after
                if isinstance(after, Contract):
                    for key in (after.buyer_id, None):
                        for subscription in self._by_buyer.get(key, ()):
                            subscription.put(after)
        self._sequence = batch[-1].sequence

    def wake(self) -> None:
        """Wakes all watchers, to see whether they may go on."""
        for subscriptions in self._by_buyer.values():
            for subscription in subscriptions:
                subscription.moved.set()

    @contextmanager
    def subscribed(self, watched: Watched) -> Iterator[Subscription]:
        """A subscription to all that becomes durable after `sequence` as it is now."""
        subscription = Subscription(watched)
        self._by_buyer.setdefault(watched.buyer_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            others = self._by_buyer[watched.buyer_id]
            others.discard(subscription)
            if not others:
                del self._by_buyer[watched.buyer_id]

    def news(self, subscription: Subscription) -> News:
        """What a subscription is to be told now, and up to where that tells everything."""
        return News(subscription.take(), self._sequence)
