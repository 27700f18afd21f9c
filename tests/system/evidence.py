"""What a ledger proves, read with nothing but the generated event types; and the tables rebuilt from it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from rear.domain.state import State
from rear.event.v1.envelope_pb2 import Envelope
from rear.event.v1.pool_pb2 import Hold
from rear.ledger.opening import Tip, replay
from rear.ledger.store import StateDirectory, open_store
from rear.projections.rebuild import Replayed
from rear.projections.tables import Tables
from rear.rpc.client import Client
from rear.v1.audit_service_pb2 import ReadEventsRequest, RecordedEvent
from rear.v1.contract_pb2 import Contract
from rear.v1.contract_service_pb2 import ListContractsRequest
from rear.v1.quantities_pb2 import Quantities
from tests.system.asking import ACTIVE, CANCELLED, COMPLETED, CONFIRMED, EXPIRED

WHOLE_UNIT: Final = 1_000

LEADS_TO: Final = {
    "contract_purchased": CONFIRMED,
    "contract_activated": ACTIVE,
    "contract_cancelled": CANCELLED,
    "contract_expired": EXPIRED,
    "contract_completed": COMPLETED,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a contract stands by its events."""

    state: int
    revision: int


@dataclass(slots=True)
class _Pool:
    capacity: dict[str, int]
    holds: dict[str, Hold] = field(default_factory=dict)


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
        """The chain holds, every aggregate counts from 1 without a gap, and nothing was ever oversold."""
        self._check_chain()
        self._check_versions()
        self._check_never_oversold()

    def check_request_ids(self) -> None:
        """No request had two effects on contracts."""
        effects = Counter(
            envelope.request_id for envelope in self.of("contract_reserved", "contract_purchased", "contract_cancelled")
        )
        assert [key for key, count in effects.items() if count > 1] == []

    def _check_chain(self) -> None:
        before = bytes(32)
        for place, event in enumerate(self.recorded, start=1):
            subject = event.subject.encode()
            before = sha256(before + len(subject).to_bytes(4, "big") + subject + event.payload).digest()
            assert (event.sequence, event.hash) == (place, before), f"the chain breaks at {event.sequence}"

    def _check_versions(self) -> None:
        versions: Counter[str] = Counter()
        for envelope in self.envelopes:
            versions[envelope.subject] += 1
            assert envelope.aggregate_version == versions[envelope.subject], envelope.subject

    def _check_never_oversold(self) -> None:
        pools: dict[str, _Pool] = {}
        for envelope in self.envelopes:
            key = envelope.subject.rpartition(".")[2]
            match envelope.WhichOneof("body"):
                case "pool_registered":
                    registered = envelope.pool_registered
                    capacity = dict(_amounts(registered.capacity))
                    capacity |= {f"{unit.unit_class}/{unit.name}": WHOLE_UNIT for unit in registered.units}
                    pools[key] = _Pool(capacity)
                case "pool_reserved":
                    hold = envelope.pool_reserved.hold
                    assert hold.hold_id not in pools[key].holds, f"{hold.hold_id} is held twice"
                    pools[key].holds[hold.hold_id] = hold
                    _check_peak(key, pools[key], hold)
                case "hold_released":
                    del pools[key].holds[envelope.hold_released.hold_id]


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


def _check_peak(pool_id: str, pool: _Pool, new: Hold) -> None:
    """What is held at no instant of the new hold's window is more than there is."""
    steps: dict[int, Counter[str]] = defaultdict(Counter)
    opens, closes = _window(new)
    for hold in pool.holds.values():
        start, end = _window(hold)
        if start < closes and opens < end:
            for kind, amount in _claims(hold):
                steps[max(start, opens)][kind] += amount
                steps[min(end, closes)][kind] -= amount
    running: Counter[str] = Counter()
    for instant in sorted(steps):
        running.update(steps[instant])
        over = {kind: used for kind, used in running.items() if used > pool.capacity.get(kind, 0)}
        assert not over, f"{pool_id} is oversold at {instant}: {over} of {pool.capacity}"


def _window(hold: Hold) -> tuple[int, int]:
    return hold.window.start.ToNanoseconds(), hold.window.end.ToNanoseconds()


def _claims(hold: Hold) -> Iterator[tuple[str, int]]:
    yield from _amounts(hold.quantities)
    for share in hold.units:
        yield f"{share.unit_class}/{share.name}", share.millis


def _amounts(quantities: Quantities) -> Iterator[tuple[str, int]]:
    for kind in ("cpu_millicores", "memory_bytes", "storage_bytes", "pods"):
        if quantities.HasField(kind):
            yield kind, getattr(quantities, kind)
    yield from quantities.extended.items()
