"""The tables of one service, in one SQLite file (WAL).

Rows are written in the same transaction as the position that they follow from. The file may be deleted at any
time: the next start rebuilds it, with identical rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog
from immutables import Map

from rear import failpoints
from rear.domain.allocation import Allocation
from rear.domain.contract import Contract
from rear.domain.event import AggregateType
from rear.domain.events import AllocationSide, AnyEvent
from rear.domain.hold import Hold
from rear.domain.lifecycle import ContractState
from rear.domain.purchase import Purchase
from rear.domain.rating import Rating
from rear.domain.request_decisions import RequestFilter
from rear.domain.service_request import ServiceRequest
from rear.domain.state import Service, State
from rear.domain.window import Instant
from rear.ledger.chain import GENESIS
from rear.ledger.commit import Committed
from rear.ledger.errors import LedgerError
from rear.projections import rows, schema
from rear.projections.batch import standing_row, statements
from rear.projections.bulk import Filling, filling
from rear.projections.digest import add_rows, at_one_moment
from rear.projections.histories import RequestRows, events_of, purchase_of, request_of, requests_of
from rear.projections.known import KnownContracts
from rear.projections.lazy import Lazily, LazyHolds

log = structlog.get_logger(__name__)

STEPS_TO_CHECKPOINT: Final = 20_000
"""Steps after which the write-ahead log is to be brought into the file."""

IDS_IN_SLICE: Final = 500
"""Ids read in one go: about a quarter of a millisecond."""

CACHE_KIB: Final = 16 * 1024
"""What SQLite keeps of the file in memory for writing: the ids of some hundred thousand contracts are in no order."""

ROWS_IN_SLICE: Final = 64
"""Rows written in one go: about half a millisecond."""


class TablesError(Exception):
    """The tables' file cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The position that the rows follow from; sequence 0 where there are none yet."""

    log_id: str = ""
    segment: int = 1
    sequence: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class ContractRow:
    """A contract, and the sequence of its first event, by which contracts are listed."""

    sequence: int
    contract: Contract


@dataclass(frozen=True, slots=True)
class ContractRows:
    """Contracts as they are in the tables at one sequence."""

    sequence: int
    rows: list[ContractRow]


class Tables:
    """Reads and writes the tables, on one thread but for what says otherwise."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. One of another schema, or no database at all, is begun anew."""
        self.path = path
        self.unmerged = 0
        """Steps written since the last checkpoint."""
        self.damage: TablesError | None = None
        """What was found in rows that were read late. Such tables are rebuilt at the next start."""
        try:
            self._writer = self._open(path)
        except sqlite3.DatabaseError as error:
            log.warning("the tables are no tables; they are rebuilt", tables=str(path), error=str(error))
            discard(path)
            self._writer = self._open(path)
        self._reader = sqlite3.connect(path, check_same_thread=False)
        self._known = KnownContracts()

    @contextmanager
    def filled_anew(self) -> Iterator[Filling]:
        """The tables, emptied, to be filled from a ledger's first event on. Nobody reads or writes them meanwhile.

        The file is deleted and created, so that this also mends one that is too damaged to be emptied.
        """
        self.close()
        discard(self.path)
        self._known = KnownContracts()
        try:
            with filling(self.path) as filled:
                yield filled
        finally:
            self._writer = self._open(self.path)  # anew, where they did not become whole
            self._reader = sqlite3.connect(self.path, check_same_thread=False)
        self.damage = None

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()
        self._writer.close()

    def write(self, batch: Sequence[Committed], service: Service) -> None:
        """Writes the rows of a batch and the position after it, in one transaction."""
        for _ in self.writing(batch, service):
            pass
        if self.unmerged >= STEPS_TO_CHECKPOINT:
            self.checkpoint()

    def writing(self, batch: Sequence[Committed], service: Service) -> Iterator[None]:
        """The same in slices, so that others can run between them. Not exhausted, it takes itself back."""
        last = batch[-1]
        with self._writer:
            for statement, values in statements(batch):
                if statement is schema.NEW_CONTRACT:
                    self._known.add(rows.contract_ids(values))
                for begin in range(0, len(values), ROWS_IN_SLICE):
                    self._writer.executemany(statement, values[begin : begin + ROWS_IN_SLICE])
                    yield
            self._writer.execute(schema.PUT_STANDING, standing_row(last, service))
            failpoints.reach("tables.before_commit")
        failpoints.reach("tables.after_commit")
        self.unmerged += len(batch)

    def checkpoint(self) -> None:
        """Brings the write-ahead log into the file. May take long, and may be called on another thread."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.unmerged = 0

    def standing(self) -> Standing:
        """The position that the rows follow from. Raises TablesError where that cannot be read."""
        try:
            row = self._reader.execute("SELECT log_id, segment, sequence, hash FROM standing").fetchone()
        except sqlite3.DatabaseError as error:
            raise _damaged(self.path, error) from error
        return Standing(*row) if row else Standing()

    def load(self) -> State:
        """The writer's state at the tables' position: pools with their holds, and what still lives.

        Holds, contracts and allocations are read when they are first asked for. Raises TablesError where a row
        cannot be read, also then.
        """
        with self._reading():
            return self._load()

    def due(self) -> list[tuple[Instant, str]]:
        """When time alone will change each contract that lives, and the contract's id; the first comes first."""
        with self._reading():
            return self._reader.execute(
                "SELECT due_at, contract_id FROM contracts WHERE live AND due_at IS NOT NULL ORDER BY due_at"
            ).fetchall()

    def ratings(self) -> dict[str, Rating]:
        """The ratings of all providers at the tables' position."""
        with self._reading():
            return {row[0]: rows.rating_from(row) for row in self._reader.execute(schema.RATINGS)}

    def peered(self, side: AllocationSide) -> list[str]:
        """The contracts with an allocation on that side that is peered and not released."""
        with self._reading():
            found = self._reader.execute(
                "SELECT contract_id FROM allocations "
                "WHERE side = ? AND peer_id IS NOT NULL AND state != 'RELEASED' ORDER BY contract_id",
                (side.value,),
            )
            return [contract_id for (contract_id,) in found]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Says of a row that cannot be read that the tables are damaged."""
        try:
            yield
        except (sqlite3.DatabaseError, LedgerError, AssertionError, AttributeError, LookupError, ValueError) as error:
            raise _damaged(self.path, error) from error

    def _load(self) -> State:
        state = State()
        row = self._reader.execute(
            "SELECT log_id, epoch, endpoint, service_version, last_recorded FROM standing"
        ).fetchone()
        if row is None:
            return state
        state.service = Service(row[3], row[0], row[1], row[2])
        state.last_recorded = Instant(row[4])
        for row in self._reader.execute(rows.POOLS):
            pool = rows.pool_from(row, LazyHolds(partial(self._holds, row[0])))
            state.pools[pool.id] = pool
        live = self._reader.execute("SELECT contract_id FROM contracts WHERE live ORDER BY due_at")
        state.contracts = Lazily((key for (key,) in live), self._live_contract)
        standing = self._reader.execute("SELECT allocation_id FROM allocations WHERE state != 'RELEASED'")
        state.allocations = Lazily((key for (key,) in standing), self._allocation)
        purchases = self._reader.execute("SELECT contract_id FROM purchases WHERE open")
        state.purchases = Lazily((key for (key,) in purchases), self._open_purchase)
        requests = self._reader.execute("SELECT service_request_id FROM service_requests WHERE open")
        state.requests = Lazily((key for (key,) in requests), self._open_request)
        return state

    @contextmanager
    def _reading_late(self) -> Iterator[None]:
        """The same for a row that is asked for once the tables are in use: the next start is to rebuild them."""
        try:
            with self._reading():
                yield
        except TablesError as error:
            self.damage = error
            log.error("the tables are damaged", error=str(error))
            with suppress(sqlite3.Error):
                self._writer.execute(f"PRAGMA user_version = {schema.CONDEMNED}")
            raise

    def _holds(self, pool_id: str) -> Map[str, Hold]:
        with self._reading_late():
            return rows.holds_from(self._reader.execute("SELECT event FROM holds WHERE pool_id = ?", (pool_id,)))

    def _live_contract(self, contract_id: str) -> Contract:
        with self._reading_late():
            found = self.contract(contract_id)
            if found is None:
                raise LookupError(f"contract {contract_id} is gone")
            return found

    def _allocation(self, allocation_id: str) -> Allocation:
        with self._reading_late():
            row = self._reader.execute(
                f"SELECT {rows.ALLOCATION_COLUMNS} FROM allocations WHERE allocation_id = ? AND state != 'RELEASED'",
                (allocation_id,),
            ).fetchone()
            if row is None:
                raise LookupError(f"allocation {allocation_id} is gone")
            return rows.allocation_from(row)

    def _open_purchase(self, contract_id: str) -> Purchase:
        with self._reading_late():
            found = self.purchase(contract_id)
            if found is None:
                raise LookupError(f"purchase {contract_id} is gone")
            return found

    def _open_request(self, request_id: str) -> ServiceRequest:
        with self._reading_late():
            found = self.service_request(request_id)
            if found is None:
                raise LookupError(f"service request {request_id} is gone")
            return found

    def learning(self) -> Iterator[None]:
        """Learns in slices which contracts have a row, so that others need not be looked for."""
        after = ""
        while page := self._reader.execute(schema.NEXT_CONTRACTS, (after, IDS_IN_SLICE)).fetchall():
            self._known.add(contract_id for (contract_id,) in page)
            after = page[-1][0]
            yield
        self._known.complete = True

    def contract(self, contract_id: str) -> Contract | None:
        """A contract at the tables' position; None where there is none."""
        if contract_id not in self._known:
            return None
        row = self._reader.execute(
            f"SELECT {rows.CONTRACT_COLUMNS} FROM contracts WHERE contract_id = ?", (contract_id,)
        ).fetchone()
        return None if row is None else rows.contract_from(row)

    def purchase(self, contract_id: str) -> Purchase | None:
        """A purchase at the tables' position; None where there is none."""
        return purchase_of(self._reader, contract_id)

    def service_request(self, request_id: str) -> ServiceRequest | None:
        """A service request at the tables' position; None where there is none."""
        return request_of(self._reader, request_id)

    def service_requests(self, wanted: RequestFilter, after: int, limit: int) -> RequestRows:
        """Service requests, oldest first, whose first event is above the sequence `after`.

        Another thread may call it.
        """
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("BEGIN")
            return requests_of(connection, wanted, after, limit)

    def history(self, aggregate: AggregateType, aggregate_id: str) -> list[AnyEvent]:
        """The events of an aggregate whose history is kept, the first one first; none where there is none."""
        return events_of(self._reader, aggregate, aggregate_id)

    def contracts(
        self, *, buyer_id: str | None, states: Sequence[ContractState], pool_id: str, after: int, limit: int
    ) -> ContractRows:
        """A buyer's contracts, oldest first, that began after the sequence `after`; empty filters let all through.

        It may have to look at many rows, and may be called on another thread.
        """
        query = f"SELECT sequence, {rows.CONTRACT_COLUMNS} FROM contracts WHERE sequence > ?"
        arguments: list[int | str] = [after]
        if buyer_id is not None:
            query += " AND buyer_id = ?"
            arguments.append(buyer_id)
        if pool_id:
            query += " AND pool_id = ?"
            arguments.append(pool_id)
        if states:
            query += f" AND state IN ({', '.join('?' * len(states))})"
            arguments += [state.value for state in states]
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("BEGIN")  # one transaction: the rows are those of that standing
            standing = connection.execute("SELECT sequence FROM standing").fetchone()
            found = connection.execute(f"{query} ORDER BY sequence LIMIT ?", (*arguments, limit)).fetchall()
        return ContractRows(
            standing[0] if standing else 0, [ContractRow(row[0], rows.contract_from(row[1:])) for row in found]
        )

    def contracts_of(self, contract_ids: Sequence[str], *, buyer_id: str | None) -> list[Contract]:
        """The contracts with these ids, those that are there and are the buyer's (None: anybody's).

        It may be called on another thread.
        """
        found: list[Contract] = []
        with closing(sqlite3.connect(self.path)) as connection:
            for begin in range(0, len(contract_ids), IDS_IN_SLICE):
                ids = contract_ids[begin : begin + IDS_IN_SLICE]
                among = f"contract_id IN ({', '.join('?' * len(ids))}) AND buyer_id = coalesce(?, buyer_id)"
                query = f"SELECT {rows.CONTRACT_COLUMNS} FROM contracts WHERE {among}"
                found += map(rows.contract_from, connection.execute(query, (*ids, buyer_id)))
        return found

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return counts_of(self._reader)

    def digest(self) -> str:
        """SHA-256 over every row of every table in order. Equal ledgers give equal digests."""
        return digest_of(self._reader)[1]

    def _open(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # `checkpoint` does it, off the loop's thread
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, schema.SCHEMA_VERSION):
            connection.close()
            discard(path)
            return self._open(path)
        if version == 0:
            connection.executescript(schema.TABLES_DDL + schema.INDEXES_DDL)
            connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
        return connection


def _damaged(path: Path, error: Exception) -> TablesError:
    return TablesError(f"{path} is damaged ({error}); stop the service and delete it: the next start rebuilds it")


def counts_of(connection: sqlite3.Connection) -> dict[str, int]:
    """Rows by table."""
    return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in schema.TABLES}


def digest_of(connection: sqlite3.Connection) -> tuple[int, str]:
    """The sequence that the tables stand at, and SHA-256 over every row of every table in order."""
    whole = sha256()
    with at_one_moment(connection) as sequence:
        for table, order in schema.TABLES.items():
            whole.update(f"[{table}]".encode())
            add_rows(whole, connection.execute(f"SELECT * FROM {table} ORDER BY {order}"))
    return sequence, whole.hexdigest()


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, for looking at the tables of a running service."""
    if not path.exists():
        raise TablesError(f"there are no tables at {path}")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def discard(path: Path) -> None:
    """Deletes the tables' file with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
