"""A stream of recorded events: appends that are guarded by each aggregate's last message."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from rear.ledger.errors import EventLost
from rear.ledger.stream import EventStream
from rear.persistence.messages import Guarded, guarded_frames


class RecordStream(EventStream):
    """A stream that many may write: a commit is refused only where it is about the same aggregate as another."""

    async def verify(self) -> None:
        """Holds the stream's settings against those that matter, and makes none. Raises as `ensure` does."""
        self._verify((await self._info())["config"])

    async def append_guarded(
        self,
        messages: Sequence[Guarded],
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> int:
        """Writes all messages or none, where every guard holds; returns the last sequence. Raises as `append` does."""
        batch = secrets.token_hex(16)
        return await self._send(
            len(messages), lambda limit: guarded_frames(messages, batch, limit), "where they belong", timeout
        )

    def _missing(self, sequence: int, tip: int) -> EventLost:
        return EventLost(
            f"stream {self.name}: message {sequence} is missing or cannot be read, but the stream goes up to {tip}: "
            "restore the server's store from a copy",
            sequence,
        )
