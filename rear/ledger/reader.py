"""Reads a ledger: in pages, with every event's hash proved against the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from rear.domain.events import AggregateType, AnyEvent, WriterChanged
from rear.ledger.chain import link
from rear.ledger.codec import decode
from rear.ledger.errors import LedgerDamaged
from rear.ledger.stream import EventStream, Stored

TURNS_TO_ASK: Final = 4
"""Turns of the loop after which a request is on its way."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the ledger."""

    sequence: int
    hash: str
    payload: bytes
    event: AnyEvent


async def read_proved(
    stream: EventStream, *, after: int, hash: str, end: int | None = None
) -> AsyncIterator[list[Recorded]]:
    """Pages of events after a sequence whose hash is known.

    Raises LedgerDamaged, naming the position, at the first event that does not hash.
    """
    previous = hash
    async for page in _ahead(stream.pages(after + 1, end=end)):
        events = []
        for stored in page:
            previous = prove(stored, previous)
            events.append(Recorded(stored.sequence, previous, stored.payload, decode(stored.payload).event))
        yield events


async def _ahead(pages: AsyncIterator[list[Stored]]) -> AsyncIterator[list[Stored]]:
    """The same pages; each is asked for before the one before it is worked through, while the server has time."""
    coming = asyncio.ensure_future(anext(pages, None))
    try:
        while (page := await coming) is not None:
            coming = asyncio.ensure_future(anext(pages, None))
            for _ in range(TURNS_TO_ASK):
                await asyncio.sleep(0)
            yield page
    finally:
        coming.cancel()
        await asyncio.wait([coming])


def prove(stored: Stored, previous: str) -> str:
    """The event's hash; LedgerDamaged where it is not what its bytes and the hash before it give."""
    expected = link(previous, stored.subject, stored.payload)
    if stored.hash != expected:
        raise LedgerDamaged(
            f"the event at {stored.sequence} ({stored.subject}) does not hash: it was altered, or one before it "
            "was; restore the store from a copy that verifies up to there"
        )
    return expected


async def find_writer(stream: EventStream, start: int) -> tuple[int, str] | None:
    """The newest writer (epoch, endpoint) that announced itself at `start` or later; None where none did."""
    found: tuple[int, str] | None = None
    async for page in stream.pages(start):
        for stored in page:
            if stored.subject.split(".")[3:4] != [AggregateType.SERVICE.value]:
                continue
            event = decode(stored.payload).event
            if isinstance(event, WriterChanged):
                found = (event.epoch, event.endpoint)
    return found
