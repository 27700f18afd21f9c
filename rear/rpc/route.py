"""Which endpoint of a service to ask: the ones that were named, in turn, and where its writer is said to be."""

from __future__ import annotations

import re
from typing import Final

from rear.rpc.refused import CallFailed, Unreachable

STAY: Final = frozenset({"OUTCOME_PENDING", "CLEARING_OVERDUE", "FABRIC_NOT_READY"})
"""Reasons of a service that has the request in its hands."""

MOST_NAMED: Final = 8
"""Endpoints of one service that are asked in turn; of those that are added beyond that, the newest."""

LONGEST_HOST: Final = 255

_is_endpoint = re.compile(
    rf"([A-Za-z0-9._-]{{1,{LONGEST_HOST}}}|\[[0-9A-Fa-f:.%a-z]{{2,64}}\])(:[0-9]{{1,5}})?"
).fullmatch


def read_endpoints(text: str) -> tuple[str, ...]:
    """The endpoints in a list that is separated by commas; at least one."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) or (text,)


class Route:
    """Where the next attempt goes. Begins at the first endpoint of `named`."""

    def __init__(self, named: tuple[str, ...]) -> None:
        self.endpoint = named[0]
        self._named = named
        self._index = 0
        self._sent_on = 0

    def named(self, endpoint: str) -> bool:
        """Whether it is one of those that were named."""
        return endpoint in self._named

    def add(self, endpoint: str) -> None:
        """The service has another endpoint, too: it is asked where the others give no answer."""
        if endpoint not in self._named:
            self._named = (*self._named[: MOST_NAMED - 1], endpoint)

    def answered(self) -> None:
        """The endpoint is the right one."""
        self._sent_on = 0

    def move(self, asked: str, failure: CallFailed) -> bool:
        """Goes where the next attempt should; tells whether it may be made without a pause. `asked` is who failed.

        That is so only where a service sends its caller on for the first time: two that send it to each other are
        asked at the pace of all other attempts. Of several calls that fail at one endpoint only the first moves: each
        of the others would move on from where that one went.
        """
        if not isinstance(failure, Unreachable) or failure.reason in STAY:
            return False
        writer = _writer(failure)
        if asked != self.endpoint:
            return writer == self.endpoint and self._sent_on <= 1
        if writer and writer != self.endpoint:
            self.endpoint = writer
            self._sent_on += 1
            return self._sent_on == 1
        self._index = (self._index + 1) % len(self._named)
        self.endpoint = self._named[self._index]
        return False


def _writer(failure: CallFailed) -> str:
    """Where the writer is said to be; empty where that is not said, or is no place to go to."""
    said = failure.metadata.get("endpoint", "") if failure.reason == "NOT_WRITER" else ""
    return said if _is_endpoint(said) else ""
