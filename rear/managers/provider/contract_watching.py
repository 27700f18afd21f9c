"""What a watcher of contracts is told: what is, or what it missed, and then what changes.

Only what is durable is told: what was committed, as the writer's listeners hear it, and the tables. A watcher
subscribes first and reads then, so that between the two nothing is missed; what it hears twice it tells by its
revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from enum import Enum, auto
from typing import Final

from rear.domain.contract import Contract
from rear.domain.events import AggregateType
from rear.domain.lifecycle import LIVE_STATES
from rear.domain.refusals import NotWriter, TryAgain
from rear.domain.value import value
from rear.domain.window import SECOND
from rear.ledger.position import Position
from rear.ledger.stream import EventStream
from rear.managers.provider.contract_watches import ContractWatches, News, Subscription, Watched
from rear.managers.provider.provider import Provider

KEEP_ALIVE: Final = 5.0
"""Seconds without a change after which a watcher is told that there was none."""

FARTHEST_BEHIND: Final = 100_000
"""Events that are read again to tell a watcher what it missed. One that missed more begins anew."""

PAGE: Final = 200
"""Contracts that are read at once."""

NOTHING_TOLD: Final = 0
"""The sequence of a watcher that was not told yet all that is."""

LIVE: Final = tuple(sorted(LIVE_STATES, key=lambda state: state.value))


class Kind(Enum):
    """What is told; see `rear.v1.WatchKind`."""

    BEGUN = auto()
    RESUMED = auto()
    RESET = auto()
    UPDATE = auto()
    SYNCED = auto()
    KEEP_ALIVE = auto()


@value
class Told:
    """One thing that a watcher is told, and the sequence up to which it has then been told everything."""

    kind: Kind
    contracts: Sequence[Contract]
    sequence: int


class ContractWatching:
    """Tells watchers of the contracts of one provider."""

    def __init__(self, provider: Provider, stream: EventStream, service: str, watches: ContractWatches) -> None:
        """`service` is the service's token in the subjects of its ledger."""
        self._provider = provider
        self._stream = stream
        self._subject = f"rear.log.{service}.{AggregateType.CONTRACT.value}.*"
        self._watches = watches

    async def watch(
        self, watched: Watched, after: Position | None, check: Callable[[], None]
    ) -> AsyncGenerator[Told, None]:
        """Tells for ever, from `after` or from the beginning on. `check` raises the Refusal that ends it.

        A watcher that reads too slowly is told from the ledger what it missed. Raises TryAgain and LedgerError where
        the ledger cannot be read.
        """
        own = await self._provider.writer.settled()
        with self._watches.subscribed(watched) as subscription:
            while True:
                self._check(check)
                start = self._watches.sequence
                kind, told = _beginning(after, own, start)
                yield Told(kind, (), told)
                so_far = self._since(watched, told, start) if kind is Kind.RESUMED else self._all(watched, start)
                async with aclosing(so_far) as telling:
                    async for one in telling:
                        self._check(check)
                        yield one
                yield Told(Kind.SYNCED, (), start)
                after = replace(own, sequence=start)
                while (news := await self._news(subscription)).contracts is not None:
                    self._check(check)
                    yield Told(Kind.UPDATE if news.contracts else Kind.KEEP_ALIVE, news.contracts, news.sequence)
                    after = replace(own, sequence=news.sequence)

    async def _all(self, watched: Watched, start: int) -> AsyncGenerator[Told, None]:
        """What lives at `start`; or the contracts that are named."""
        archive = self._provider.archive
        await archive.at_least(start)
        if watched.contract_ids:
            named = await archive.contracts_of(sorted(watched.contract_ids), buyer_id=watched.buyer_id)
            yield Told(Kind.UPDATE, named, NOTHING_TOLD)
            return
        seen = 0
        while True:
            found = await archive.contracts(buyer_id=watched.buyer_id, states=LIVE, pool_id="", after=seen, limit=PAGE)
            yield Told(Kind.UPDATE, tuple(row.contract for row in found.rows), NOTHING_TOLD)
            if len(found.rows) < PAGE:
                return
            seen = found.rows[-1].sequence

    async def _since(self, watched: Watched, told: int, start: int) -> AsyncGenerator[Told, None]:
        """The contracts that changed after `told`, as they are by now."""
        archive = self._provider.archive
        await archive.at_least(start)
        async for page in self._stream.pages(told + 1, end=start, subject=self._subject):
            changed = dict.fromkeys(stored.subject.rpartition(".")[2] for stored in page)
            asked = [key for key in changed if not watched.contract_ids or key in watched.contract_ids]
            found = await archive.contracts_of(asked, buyer_id=watched.buyer_id)
            yield Told(Kind.UPDATE, found, page[-1].sequence)

    async def _news(self, subscription: Subscription) -> News:
        """Waits for news, or for the time to say that there are none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(KEEP_ALIVE):
                await subscription.moved.wait()
        return self._watches.news(subscription)

    def _check(self, check: Callable[[], None]) -> None:
        """Raises where nothing more may be told: what was told stays true, but others may know more by now."""
        check()
        writer = self._provider.writer
        if writer.stepped_down is not None:  # and may be the writer again by now, but not this one
            raise NotWriter(writer.stepped_down.endpoint, because=str(writer.stepped_down))
        if writer.ended.is_set():
            raise TryAgain("the ledger cannot be written any more", SECOND, because=writer.trouble or "")


def _beginning(after: Position | None, own: Position, start: int) -> tuple[Kind, int]:
    """How a watch begins that stands at `after`, in a ledger that is told up to `start`; and what was told by then."""
    if after is None or after == replace(own, sequence=NOTHING_TOLD):
        return Kind.BEGUN, NOTHING_TOLD
    here = after.log_id == own.log_id and after.segment == own.segment
    if here and 0 <= start - after.sequence <= FARTHEST_BEHIND:
        return Kind.RESUMED, after.sequence
    return Kind.RESET, NOTHING_TOLD
