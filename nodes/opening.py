"""From the tables and the ledger to a state, and from a state to the ledger's writer."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from rear.domain.state import State
from rear.ledger.commit import Identity
from rear.ledger.following import Follower
from rear.ledger.opening import Tip, become_writer
from rear.ledger.sources import Clock, Ids
from rear.ledger.store import Store
from rear.ledger.writer import Writer
from rear.projections.rebuild import Replayed, rebuild
from rear.projections.tables import Standing, Tables, TablesError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens one ledger with the tables beside it."""

    store: Store
    tables: Tables
    identity: Identity
    endpoint: str
    clock: Clock
    ids: Ids

    async def load(self) -> tuple[State, Tip]:
        """The state at the tables' position; rebuilt where they are lost, damaged, or not this ledger's."""
        try:
            if self.tables.damage is not None:
                raise self.tables.damage
            standing = self.tables.standing()
            if await self._follows(standing):
                return self.tables.load(), Tip(standing.sequence, standing.hash)
            because = "there are none" if not standing.sequence else "they do not follow from this ledger"
        except TablesError as error:
            because = str(error)
        return await self.rebuilt(because)

    async def rebuilt(self, because: str) -> tuple[State, Tip]:
        """The state at the ledger's end, with tables that were filled anew up to there."""
        log.warning("the tables are rebuilt", because=because)
        tip = await rebuild(self.store.stream, self.tables)
        return self.tables.load(), tip

    async def become_writer(self, deposing: int | None = None) -> Writer:
        """The ledger's writer, as `rear.ledger.opening.become_writer` makes it."""
        try:
            return await self.fence(*await self.load(), deposing)
        except TablesError as error:  # in a row that was read late, for an event that came after it
            return await self.fence(*await self.rebuilt(str(error)), deposing)

    async def fence(self, state: State, tip: Tip, deposing: int | None) -> Writer:
        """The same, from a state that is there already."""
        return await become_writer(
            self.store.stream,
            self.store.anchor,
            state,
            tip,
            self.identity,
            endpoint=self.endpoint,
            clock=self.clock,
            ids=self.ids,
            replayed=Replayed(self.tables, state),
            deposing=deposing,
        )

    async def follower(self) -> Follower:
        """Who keeps the tables at the end of a ledger that another process writes."""
        state, tip = await self.load()
        store, service = self.store, self.identity.service
        replayed = Replayed(self.tables, state)
        return Follower(store.stream, store.anchor, store.connection, service, state, tip, replayed)

    async def _follows(self, standing: Standing) -> bool:
        if not standing.sequence:
            return await self.store.stream.tip() == 0
        stored = await self.store.stream.get(standing.sequence)
        return stored is not None and stored.hash == standing.hash
