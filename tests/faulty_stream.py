"""A ledger's stream that fails when it is told to, and what tests of the writer do with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rear.domain import pool as pools
from rear.domain.events import AnyEvent, Cause, PoolRegistered
from rear.domain.quantities import Quantities
from rear.domain.window import Instant
from rear.ledger.chain import link
from rear.ledger.codec import encode, subject_of
from rear.ledger.commit import Decision, Outcome
from rear.ledger.connection import Connection
from rear.ledger.errors import LedgerUnavailable, OutcomeUnknown
from rear.ledger.message import Stored
from rear.ledger.sources import RandomIds
from rear.ledger.store import stream_name, stream_subjects
from rear.ledger.stream import EventStream, Outgoing
from tests.seller import PROVIDER, SERVICE, Seller, cpus, divisible, wish
from tests.waiting import eventually

Fault = Callable[[Callable[[], Awaitable[int]]], Awaitable[int]]
"""What becomes of an append: it is given the real one, and may carry it out or not."""


class FaultyStream(EventStream):
    """A stream whose next appends go as `faults` say, and that can be held still."""

    def __init__(self, connection: Connection, service: str = SERVICE) -> None:
        super().__init__(connection, stream_name(service), stream_subjects(service))
        self.faults: list[Fault] = []
        self.attempts: list[tuple[tuple[str, ...], int]] = []
        self.batches: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.page = 1_000
        self.tip_asked = 0

    async def append(
        self,
        messages: Sequence[Outgoing],
        expected_last: int,
        *,
        timeout: float,  # noqa: ASYNC109
        sent: Callable[[], None] | None = None,
    ) -> int:
        async def really() -> int:
            return await super(FaultyStream, self).append(messages, expected_last, timeout=timeout, sent=sent)

        self.attempts.append((tuple(message.hash for message in messages), expected_last))
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        last = await (self.faults.pop(0)(really) if self.faults else really())
        self.batches.append(len(messages))
        return last

    async def tip(self) -> int:
        self.tip_asked += 1
        return await super().tip()

    async def pages(
        self, start: int, *, end: int | None = None, subject: str | None = None, page: int = 1_000
    ) -> AsyncIterator[list[Stored]]:
        async for found in super().pages(start, end=end, subject=subject, page=min(page, self.page)):
            yield found


async def lands_unheard(really: Callable[[], Awaitable[int]]) -> int:
    await really()
    raise OutcomeUnknown("no acknowledgement")


async def is_lost(really: Callable[[], Awaitable[int]]) -> int:
    raise OutcomeUnknown("no acknowledgement")


async def is_refused(really: Callable[[], Awaitable[int]]) -> int:
    raise LedgerUnavailable("insufficient resources")


class AlteredStream(FaultyStream):
    """The same stream, in which one event's bytes have changed on the disk."""

    def __init__(self, stream: FaultyStream, at: int) -> None:
        super().__init__(stream._connection)
        self._at = at

    def altered(self, message: Stored) -> Stored:
        if message.sequence != self._at:
            return message
        return replace(message, payload=message.payload[:-1] + bytes([message.payload[-1] ^ 1]))

    async def get(self, sequence: int) -> Stored | None:
        found = await super().get(sequence)
        return None if found is None else self.altered(found)

    async def pages(
        self, start: int, *, end: int | None = None, subject: str | None = None, page: int = 1_000
    ) -> AsyncIterator[list[Stored]]:
        async for found in super().pages(start, end=end, subject=subject, page=page):
            yield [self.altered(message) for message in found]


def submit(seller: Seller, decide: Callable[[Instant], Decision[str]]) -> asyncio.Task[Outcome[str]]:
    """Decides on the next turn of the loop."""
    return asyncio.create_task(seller.writer.submit(decide))


def reserve(seller: Seller, request_id: str, millicores: int = 1_000) -> asyncio.Task[object]:
    return asyncio.create_task(seller.reserve(request_id, wish(request_id, cpus(millicores))))


def register(key: str, seller: Seller) -> PoolRegistered:
    cause = Cause(seller.writer.now(), seller.writer.now())
    return pools.register(key, divisible(), Quantities({"cpu_millicores": 1}), (), cause)


async def until_waiting(stream: FaultyStream) -> None:
    await eventually(lambda: stream.waiting > 0)


async def events_of(stream: EventStream) -> list[Stored]:
    return [message async for page in stream.pages(1) for message in page]


async def append_foreign(seller: Seller, event: AnyEvent | None = None, *, hash: str | None = None) -> None:
    """Somebody else writes at the end of the ledger, an event that hashes or just something."""
    tip = await seller.stream.last()
    assert tip is not None
    subject, payload = f"rear.log.{SERVICE}.pool.x", b"something"
    if event is not None:
        subject = subject_of(SERVICE, event)
        payload = encode(event, event_id=RandomIds().new(), source=PROVIDER, subject=subject)
    message = Outgoing(subject, payload, hash or link(tip.hash, subject, payload))
    await EventStream.append(seller.stream, [message], tip.sequence, timeout=5)


def state_files(directory: Path) -> list[Path]:
    return list(directory.glob("tables.sqlite*"))
