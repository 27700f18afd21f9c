"""What can be put around every handler of a server: counting, tracing. Where there is nothing, it costs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

Unary = Callable[[Any, Any], Awaitable[Any]]
"""Handles a call that has one answer: takes the request and gRPC's context."""

Stream = Callable[[Any, Any], AsyncIterator[Any]]
"""Handles a call that is answered by a stream."""


class Around(Protocol):
    """Gives for each handler the one that is registered in its place.

    A handler that ended its call for a Refusal raises gRPC's AbortError with that refusal as its cause.
    """

    def unary(self, rpc: str, behaviour: Unary) -> Unary:
        """For a call with one answer; `rpc` is `package.Service/Method`."""
        ...

    def stream(self, rpc: str, behaviour: Stream) -> Stream:
        """For a call that is answered by a stream."""
        ...
