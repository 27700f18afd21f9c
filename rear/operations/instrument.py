"""What a service gives to those who look into it, and what it asks of them. Loads nothing that does the looking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rear.ledger.store import Store
    from rear.ledger.writer import Writer
    from rear.managers.provider.timers import Timers
    from rear.projections.feed import TablesFeed
    from rear.rpc.surrounding import Around


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a service that has become its ledger's writer."""

    writer: Writer
    feed: TablesFeed
    timers: Timers
    store: Store


class Instrument(Protocol):
    """Looks into one service: at its calls from the start, at its parts once they are there."""

    @property
    def around(self) -> Around:
        """What goes around the handlers of the service."""
        ...

    def attach(self, parts: Parts) -> None:
        """Takes the parts, before the writer starts; those of another take-over in the place of the first."""
        ...
