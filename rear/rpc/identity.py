"""Who calls."""

from __future__ import annotations

from typing import Protocol

from rear.rpc.answering import Context


class Callers(Protocol):
    """Tells the authenticated identity of a caller."""

    def identity_of(self, context: Context) -> str:
        """A `spiffe://` URI."""
        ...


class Anonymous:
    """Without TLS there is one principal for all callers."""

    def __init__(self, domain: str) -> None:
        self._identity = f"spiffe://{domain}/local/anonymous"

    def identity_of(self, context: Context) -> str:
        """The same for every caller."""
        return self._identity
