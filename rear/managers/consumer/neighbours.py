"""Whom a node may ask for flavours: the nodes it was told of, and those that announce themselves.

Being a neighbour is no reason to be trusted: who answers at an endpoint is proved by its certificate, or, without TLS,
by nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from rear.domain.value import value

MOST_ANNOUNCED: Final = 256
"""Nodes that are known by their announcements at the same time: more than a domain has, and little to keep."""


class Source(StrEnum):
    """How a node comes to know of a neighbour."""

    CONFIGURED = "configured"
    ANNOUNCED = "announced"


@value
class Neighbour:
    """An endpoint, `host:port`, and who is to be there; an empty `provider_id` is any service of the own domain."""

    endpoint: str
    provider_id: str = ""
    source: Source = Source.CONFIGURED


class Neighbours:
    """The neighbours of one node, each endpoint once, and never the node itself.

    What was configured stays. What was announced lapses when its lease ends, and there is never more of it than `most`.
    """

    def __init__(
        self,
        own_id: str,
        own_endpoint: str,
        configured: Sequence[Neighbour] = (),
        *,
        most: int = MOST_ANNOUNCED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`own_id` and `own_endpoint` are the node's; `clock` is in seconds."""
        self._own_id = own_id
        self._own_endpoint = own_endpoint
        self._configured = {each.endpoint: each for each in configured if not self._is_own(each)}
        self._announced: dict[tuple[str, str], float] = {}
        self._most = most
        self._clock = clock
        self._settled_at = clock()

    def all(self) -> tuple[Neighbour, ...]:
        """All of them now, the configured ones first.

        Where several providers say that they are at one endpoint, its certificate decides.
        """
        now = self._clock()
        configured = {each.provider_id for each in self._configured.values()}
        heard: dict[str, str] = {}
        for (endpoint, provider_id), until in self._announced.items():
            if until > now and endpoint not in self._configured and provider_id not in configured:
                heard[endpoint] = "" if heard.get(endpoint, provider_id) != provider_id else provider_id
        announced = (Neighbour(endpoint, provider_id, Source.ANNOUNCED) for endpoint, provider_id in heard.items())
        return (*self._configured.values(), *announced)

    def announced(self, endpoint: str, provider_id: str, lease: float) -> bool:
        """Somebody says of itself that it is there, for `lease` seconds; tells whether that is new.

        Where there are too many, those that are known stay, so that a flood drives nobody out.
        """
        if self._is_own(Neighbour(endpoint, provider_id)):
            return False
        key, now = (endpoint, provider_id), self._clock()
        new = self._announced.get(key, now) <= now
        if new and len(self._announced) >= self._most:
            self._announced = {kept: until for kept, until in self._announced.items() if until > now}
            if len(self._announced) >= self._most:
                return False
        self._announced[key] = now + lease
        return new

    def expect(self, seconds: float) -> None:
        """From now on those that announce themselves are heard of, all of them within so many seconds."""
        self._settled_at = self._clock() + seconds

    async def settled(self) -> None:
        """Waits until those that announce themselves can have been heard of: right after a start nobody has."""
        wait = self._settled_at - self._clock()
        if wait > 0:
            await asyncio.sleep(wait)

    def prolong(self, seconds: float) -> None:
        """Nobody could be heard for so long: nobody's lease ends for that."""
        now = self._clock()
        self._announced = {kept: until + seconds for kept, until in self._announced.items() if until > now}

    def _is_own(self, neighbour: Neighbour) -> bool:
        return neighbour.provider_id == self._own_id or neighbour.endpoint == self._own_endpoint
