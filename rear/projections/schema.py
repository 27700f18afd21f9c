"""The tables' columns, and how an aggregate becomes a row."""

from __future__ import annotations

from typing import Final

from rear.domain.allocation import Allocation
from rear.domain.contract import Contract
from rear.domain.hold import Hold
from rear.domain.pool import Pool
from rear.wire.snapshots import (
    allocation_to_bytes,
    contract_to_bytes,
    hold_to_bytes,
    pool_offer_to_bytes,
    pool_terms_to_bytes,
)

SCHEMA_VERSION: Final = 2
"""Another number, and the tables are rebuilt from the ledger."""

DDL: Final = """
CREATE TABLE standing (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    log_id TEXT NOT NULL,
    segment INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL,
    last_recorded INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    service_version INTEGER NOT NULL
);
CREATE TABLE available_resources (
    pool_id TEXT PRIMARY KEY,
    flavour_id TEXT,
    type TEXT NOT NULL,
    owner_domain TEXT NOT NULL,
    version INTEGER NOT NULL,
    terms BLOB NOT NULL,
    offer BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE holds (
    pool_id TEXT NOT NULL,
    hold_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    snapshot BLOB NOT NULL,
    PRIMARY KEY (pool_id, hold_id)
) WITHOUT ROWID;
CREATE TABLE contracts (
    sequence INTEGER PRIMARY KEY,
    contract_id TEXT NOT NULL UNIQUE,
    pool_id TEXT NOT NULL,
    buyer_id TEXT NOT NULL,
    state TEXT NOT NULL,
    live INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    snapshot BLOB NOT NULL
);
CREATE INDEX live_contracts ON contracts (sequence) WHERE live;
CREATE TABLE allocations (
    allocation_id TEXT PRIMARY KEY,
    contract_id TEXT NOT NULL,
    side TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    snapshot BLOB NOT NULL
) WITHOUT ROWID;
"""

TABLES: Final = {
    "standing": "one",
    "available_resources": "pool_id",
    "holds": "pool_id, hold_id",
    "contracts": "sequence",
    "allocations": "allocation_id",
}
"""Every table with the columns that order it for a digest."""

PUT_POOL: Final = "INSERT OR REPLACE INTO available_resources VALUES (?, ?, ?, ?, ?, ?, ?)"
PUT_OFFER: Final = "UPDATE available_resources SET flavour_id = ?, version = ?, offer = ? WHERE pool_id = ?"
PUT_HOLD: Final = "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?)"
DROP_HOLD: Final = "DELETE FROM holds WHERE pool_id = ? AND hold_id = ?"
NEW_CONTRACT: Final = "INSERT INTO contracts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
PUT_CONTRACT: Final = (
    "UPDATE contracts SET state = ?, live = ?, revision = ?, starts_at = ?, ends_at = ?, snapshot = ? "
    "WHERE contract_id = ?"
)
PUT_ALLOCATION: Final = "INSERT OR REPLACE INTO allocations VALUES (?, ?, ?, ?, ?, ?)"
PUT_STANDING: Final = "INSERT OR REPLACE INTO standing VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)"

Row = tuple[str | int | bytes | None, ...]


def pool_row(pool: Pool) -> Row:
    """For PUT_POOL."""
    return (
        pool.id,
        _flavour_id(pool),
        pool.terms.type.value,
        pool.terms.owner.domain,
        pool.version,
        pool_terms_to_bytes(pool),
        pool_offer_to_bytes(pool),
    )


def offer_row(pool: Pool) -> Row:
    """For PUT_OFFER: a pool whose terms, capacity and devices are as they were."""
    return (_flavour_id(pool), pool.version, pool_offer_to_bytes(pool), pool.id)


def hold_row(pool_id: str, hold: Hold) -> Row:
    """For PUT_HOLD."""
    window = hold.window
    return (pool_id, hold.id, hold.kind.value, window.start, window.end, hold_to_bytes(hold))


def new_contract_row(sequence: int, contract: Contract) -> Row:
    """For NEW_CONTRACT; `sequence` is that of the contract's first event."""
    return (
        sequence,
        contract.id,
        contract.pool_id,
        contract.buyer_id,
        contract.state.value,
        contract.live,
        contract.version,
        contract.window.start,
        contract.window.end,
        contract_to_bytes(contract),
    )


def changed_contract_row(contract: Contract) -> Row:
    """For PUT_CONTRACT."""
    return (
        contract.state.value,
        contract.live,
        contract.version,
        contract.window.start,
        contract.window.end,
        contract_to_bytes(contract),
        contract.id,
    )


def allocation_row(allocation: Allocation) -> Row:
    """For PUT_ALLOCATION."""
    return (
        allocation.id,
        allocation.contract_id,
        allocation.side.value,
        allocation.state.value,
        allocation.version,
        allocation_to_bytes(allocation),
    )


def _flavour_id(pool: Pool) -> str | None:
    return pool.offer.flavour_id if pool.offer else None
