"""The stream of peering candidates: the latest news of each provider's pool, and nothing older.

It has a position of its own, and is no part of the ledger: whatever is lost of it is asked for again.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from rear.domain.value import value
from rear.ledger.client import frame
from rear.ledger.connection import Connection
from rear.ledger.message import Stored
from rear.ledger.settings import OFFERS_SETTINGS
from rear.ledger.stream import MAX_BATCH, EventStream

FEW: Final = 16
"""Up to so many messages go one by one, all in flight together: an atomic batch costs 3 ms, whatever it holds."""

PUT_TIMEOUT: Final = 5.0
"""Seconds for the acknowledgements of one batch."""

_TOKEN: Final = {".": "_d", "/": "_s", "_": "__"}
_TO_REPLACE: Final = re.compile(r"[./_]")


@value
class News:
    """A message to put; with `expires` seconds it goes by itself."""

    subject: str
    payload: bytes
    expires: int | None = None


@value
class OffersStanding:
    """Which stream it is, by when it was made, and its last sequence."""

    created: str
    sequence: int


def offers_name(service: str) -> str:
    """`REAR_<SERVICE>_OFFERS`."""
    return f"REAR_{service.upper().replace('-', '_')}_OFFERS"


def provider_token(provider_id: str) -> str:
    """A provider's identity as one token of a subject: without `spiffe://`, and no two of them alike.

    `.` becomes `_d`, `/` becomes `_s` and `_` becomes `__`.
    """
    return _TO_REPLACE.sub(lambda found: _TOKEN[found[0]], provider_id.removeprefix("spiffe://"))


class OffersStream(EventStream):
    """The offers that one service has heard of. Errors are those of `EventStream`."""

    def __init__(
        self, connection: Connection, service: str, *, replicas: int = 1, admit: Callable[[], None] | None = None
    ) -> None:
        """`admit` raises LedgerUnavailable where there is no room."""
        self._below = f"rear.offers.{service}"
        super().__init__(
            connection,
            offers_name(service),
            (f"{self._below}.>",),
            replicas=replicas,
            admit=admit,
            settings=OFFERS_SETTINGS,
        )

    def subject(self, provider_id: str, pool_id: str) -> str:
        """The subject of a provider's pool."""
        return f"{self._below}.{provider_token(provider_id)}.{pool_id}"

    async def open(self) -> OffersStanding:
        """Makes the stream where there is none, and says which one it is and where it ends."""
        await self.ensure()
        info = await self._info()
        return OffersStanding(info["created"], int(info["state"]["last_seq"]))

    async def all(self) -> AsyncIterator[list[Stored]]:
        """What is there, oldest first, in pages. What goes meanwhile may be missing: nothing here has to stay."""
        following, every = 1, f"{self._below}.>"
        while True:
            page = await self._page({"seq": following, "batch": MAX_BATCH, "next_by_subj": every})
            if not page:  # only the leader knows that there is no more
                found = await self.next_of(every, following)
                if found is None:
                    return
                page = [found]
            following = page[-1].sequence + 1
            yield page

    async def put(self, news: Sequence[News]) -> list[int]:
        """Writes messages; returns their sequences once all are acknowledged.

        Few of them are written each by itself, so that after an error some may be there; of many all of a thousand or
        none.
        """
        if len(news) <= FEW:
            return list(await asyncio.gather(*(self._put((each,)) for each in news)))
        sequences: list[int] = []
        for begin in range(0, len(news), MAX_BATCH):
            part = news[begin : begin + MAX_BATCH]
            last = await self._put(part)
            sequences += range(last - len(part) + 1, last + 1)
        return sequences

    async def _put(self, news: Sequence[News]) -> int:
        return await self._send(len(news), lambda limit: _frames(news, limit), "among the candidates", PUT_TIMEOUT)


def _frames(news: Sequence[News], limit: int) -> Callable[[bytes], bytes]:
    count, blocks, batch = len(news), [], secrets.token_hex(16)
    for number, each in enumerate(news, 1):
        in_batch = f"Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {number}\r\n" if count > 1 else ""
        commit = "Nats-Batch-Commit: 1\r\n" if number == count > 1 else ""
        expiry = f"Nats-TTL: {each.expires}s\r\n" if each.expires is not None else ""
        headers = f"NATS/1.0\r\n{expiry}{in_batch}{commit}\r\n".encode() if expiry or in_batch else b""
        if len(headers) + len(each.payload) > limit:
            raise ValueError(f"a message of {len(each.payload)} bytes is more than the server takes ({limit})")
        blocks.append((each.subject, headers, each.payload))
    *first, (subject, headers, payload) = blocks
    before = b"".join(frame(subject, b"", headers, payload) for subject, headers, payload in first)
    return lambda reply: before + frame(subject, reply, headers, payload)
