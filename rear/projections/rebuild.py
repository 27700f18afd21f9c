"""Rebuilds the tables from the ledger, from its first event."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rear.domain.allocation import Allocation
from rear.domain.contract import Contract
from rear.domain.purchase import Purchase
from rear.domain.service_request import ServiceRequest
from rear.domain.state import State
from rear.ledger.commit import Committed
from rear.ledger.opening import Tip, replay
from rear.ledger.stream import EventStream
from rear.projections.tables import Tables


class Replayed:
    """Takes replayed batches: writes their rows, and drops what has ended from memory."""

    def __init__(self, tables: Tables, state: State) -> None:
        self._tables = tables
        self._state = state

    def __call__(self, batch: Sequence[Committed]) -> None:
        """Takes one batch."""
        self._tables.write(batch, self._state.service)
        forget_ended(self._state, batch)


def forget_ended(state: State, batch: Sequence[Committed]) -> None:
    """Drops from memory what has ended: the tables have it."""
    for item in batch:
        if isinstance(item.step.after, Contract | Allocation | Purchase | ServiceRequest):
            state.forget(item.step.after)


async def rebuild(stream: EventStream, tables: Tables, progress: Callable[[int], None] = lambda _: None) -> Tip:
    """Empties the tables and fills them from the ledger, proving every event; returns the ledger's end.

    Raises LedgerDamaged at the first event that does not hash.
    """
    state = State()
    with tables.filled_anew() as filling:

        def fill(batch: Sequence[Committed]) -> None:
            filling.take(batch)
            forget_ended(state, batch)
            progress(batch[-1].sequence)

        tip = await replay(stream, state, Tip(), fill)
        filling.stand(state.service)
    return tip
