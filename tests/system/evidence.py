"""What a ledger proves, read with nothing but the generated event types; and the tables rebuilt from it."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rear.domain.state import State
from rear.event.v1.envelope_pb2 import Envelope
from rear.ledger.codec import decode
from rear.ledger.commit import Committed
from rear.ledger.opening import Tip, replay
from rear.ledger.store import StateDirectory, open_store
from rear.projections.rebuild import Replayed
from rear.projections.tables import Tables, digest_of
from rear.rpc.client import Client
from rear.v1.audit_service_pb2 import ReadEventsRequest, RecordedEvent
from rear.v1.contract_pb2 import Contract
from rear.v1.contract_service_pb2 import ListContractsRequest
from tests.checker.replay import Replay
from tests.system.asking import ACTIVE, CANCELLED, COMPLETED, CONFIRMED, EXPIRED, REVOKED

LEADS_TO: Final = {
    "contract_purchased": CONFIRMED,
    "contract_activated": ACTIVE,
    "contract_cancelled": CANCELLED,
    "contract_revoked": REVOKED,
    "contract_expired": EXPIRED,
    "contract_completed": COMPLETED,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a contract stands by its events."""

    state: int
    revision: int


class Ledger:
    """All events of one ledger, in their order."""

    def __init__(self, recorded: Iterable[RecordedEvent]) -> None:
        self.recorded = list(recorded)
        self.envelopes = [Envelope.FromString(event.payload) for event in self.recorded]

    @classmethod
    async def read(cls, client: Client) -> Ledger:
        return cls([event async for event in client.events(ReadEventsRequest())])

    def of(self, *kinds: str, aggregate_id: str = "") -> list[Envelope]:
        """Events by the names of their bodies, such as `contract_reserved`."""
        return [
            envelope
            for envelope in self.envelopes
            if envelope.WhichOneof("body") in kinds
            and (not aggregate_id or envelope.subject.rpartition(".")[2] == aggregate_id)
        ]

    def contracts(self) -> dict[str, Standing]:
        """Every contract by its id, as its events leave it."""
        found: dict[str, Standing] = {}
        for envelope in self.envelopes:
            _, kind, key = envelope.subject.rsplit(".", 2)
            body = envelope.WhichOneof("body")
            if kind != "contract" or body is None:
                continue
            state = envelope.contract_reserved.state if body == "contract_reserved" else LEADS_TO[body]
            found[key] = Standing(state, envelope.aggregate_version)
        return found

    def check(self) -> None:
        """By itself it is one that could come to be: nothing oversold, nothing half-done, whole."""
        assert not (findings := Replay(self.recorded).findings), "\n".join(findings)

    def check_request_ids(self) -> None:
        """No request had two effects on contracts."""
        asked_for = self.of("contract_reserved", "contract_purchased", "contract_cancelled", "contract_revoked")
        effects = Counter(envelope.request_id for envelope in asked_for)
        assert [key for key, count in effects.items() if count > 1] == []


class Rebuilt:
    """Tables made of nothing but the events that a running node gives out."""

    def __init__(self, scratch: Path) -> None:
        self._tables = Tables(scratch)
        self._state = State()
        self._take = Replayed(self._tables, self._state)
        self._position = ""

    async def check(self, client: Client, kept: Path) -> None:
        """The tables that the node keeps are these, at the sequence where they stand."""
        with closing(sqlite3.connect(f"file:{kept}?mode=ro", uri=True)) as connection:
            sequence, digest = digest_of(connection)
        missing = sequence - self._tables.standing().sequence
        assert missing >= 0, "the tables have gone back"
        batch = []
        if missing:
            async for event in client.events(ReadEventsRequest(after_position=self._position, limit=missing)):
                step = self._state.apply(decode(event.payload).event)
                batch.append(Committed(event.sequence, event.hash.hex(), event.payload, step))
                self._position = event.position
            self._take(batch)
        assert self._tables.standing().sequence == sequence
        assert self._tables.digest() == digest, f"the tables are not what the ledger gives up to {sequence}"

    def close(self) -> None:
        self._tables.close()


async def list_all(client: Client, pool_id: str = "") -> list[Contract]:
    """The contracts of all pages, of one pool or of all."""
    return [found async for found in client.contracts(ListContractsRequest(page_size=200, pool_id=pool_id))]


async def agreeing(client: Client, within: float = 10.0) -> tuple[Ledger, list[Contract]]:
    """The ledger and the list of contracts, which has every contract once, where its events leave it.

    Time may move a contract on between the two looks, so they are taken again until `within` seconds are over.
    """
    deadline = time.monotonic() + within
    while True:
        ledger, listed = await Ledger.read(client), await list_all(client)
        rows = {found.contract_id: Standing(found.state, found.revision) for found in listed}
        assert len(rows) == len(listed), "a contract is listed twice"
        if rows == ledger.contracts():
            return ledger, listed
        assert time.monotonic() < deadline, "the list of contracts is not what the ledger says"


async def digests(state: Path, scratch: Path) -> tuple[str, str]:
    """The digest of a stopped node's tables, and that of tables rebuilt from its ledger."""
    directory = StateDirectory(state)
    kept = Tables(directory.tables)
    fresh = Tables(scratch / "fresh.sqlite")
    try:
        async with AsyncExitStack() as stack:
            store = await open_store(stack, directory)
            after = State()
            await replay(store.stream, after, Tip(), Replayed(fresh, after))
        assert fresh.counts() == kept.counts()
        return kept.digest(), fresh.digest()
    finally:
        kept.close()
        fresh.close()
