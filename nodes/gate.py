"""Whether a node answers, and what it says while it does not."""

from __future__ import annotations

from collections.abc import Callable

from rear.domain.refusals import NotReady, NotWriter, Refusal
from rear.domain.window import SECOND


class NodeGate:
    """Closed at first: while the node starts, stands by, or drains."""

    def __init__(self) -> None:
        self._why_not: Callable[[], Refusal] | None = None
        self.close("it is starting")

    @property
    def is_open(self) -> bool:
        """Whether calls are let in."""
        return self._why_not is None

    def open(self) -> None:
        """Lets calls in."""
        self._why_not = None

    def close(self, why: str) -> None:
        """Keeps calls out for a while."""
        self._why_not = lambda: NotReady(f"the service does not answer now: {why}", SECOND)

    def send_on(self, writer: Callable[[], str]) -> None:
        """Keeps calls out, and tells callers where the ledger's writer is: `writer` gives its endpoint, or nothing."""
        self._why_not = lambda: NotWriter(writer())

    def check(self) -> None:
        """Raises the refusal of a call that comes now."""
        if self._why_not is not None:
            raise self._why_not()

    def refusal(self) -> Refusal:
        """What is said to a call for which there is nobody just now."""
        return self._why_not() if self._why_not is not None else NotWriter("")
