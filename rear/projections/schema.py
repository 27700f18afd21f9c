"""The tables: their columns, and the statements that write them."""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 12
"""Another number, and the tables are rebuilt from the ledger."""

CONDEMNED: Final = -1
"""The version of tables in which damage was found while they were in use."""

TABLES_DDL: Final = """
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
    offers INTEGER NOT NULL,
    terms_since_offer INTEGER NOT NULL,
    offer_event BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE pools (
    pool_id TEXT PRIMARY KEY,
    terms_event BLOB NOT NULL,
    capacity_event BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE holds (
    sequence INTEGER PRIMARY KEY,
    pool_id TEXT NOT NULL,
    hold_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    event BLOB NOT NULL
);
CREATE TABLE contracts (
    sequence INTEGER PRIMARY KEY,
    contract_id TEXT NOT NULL,
    pool_id TEXT NOT NULL,
    buyer_id TEXT NOT NULL,
    state TEXT NOT NULL,
    live INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    due_at INTEGER,
    updated_at INTEGER NOT NULL,
    ended_by TEXT,
    ended_because TEXT,
    requests TEXT NOT NULL,
    event BLOB NOT NULL
);
CREATE TABLE allocations (
    sequence INTEGER PRIMARY KEY,
    allocation_id TEXT NOT NULL,
    contract_id TEXT NOT NULL,
    side TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    peer_id TEXT,
    fabric TEXT,
    endpoint TEXT,
    event BLOB NOT NULL
);
CREATE TABLE purchases (
    contract_id TEXT PRIMARY KEY,
    provider_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    flavour_id TEXT NOT NULL,
    service_request_id TEXT NOT NULL,
    component TEXT NOT NULL,
    open INTEGER NOT NULL,
    pending TEXT,
    state TEXT,
    revision INTEGER,
    starts_at INTEGER,
    ends_at INTEGER,
    undone_because TEXT,
    version INTEGER NOT NULL,
    requested_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE service_requests (
    sequence INTEGER PRIMARY KEY,
    service_request_id TEXT NOT NULL,
    name TEXT NOT NULL,
    submitted_by TEXT NOT NULL,
    state TEXT NOT NULL,
    open INTEGER NOT NULL,
    failed_because TEXT,
    operation_deleted INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE TABLE histories (
    sequence INTEGER PRIMARY KEY,
    aggregate TEXT NOT NULL,
    aggregate_id TEXT NOT NULL,
    event BLOB NOT NULL
);
CREATE TABLE ratings (
    provider_id TEXT PRIMARY KEY,
    granted INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    unanswered INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    answers INTEGER NOT NULL,
    elapsed INTEGER NOT NULL,
    slowest INTEGER NOT NULL
) WITHOUT ROWID;
"""
"""The tables without their indexes.

Columns that end in `event` hold the very bytes of an event in the ledger: nothing is encoded a second time.

A `sequence` is that of the row's first event. Rows come at the end of their table: a key at random would cost three
times as much. `due_at` is when time alone changes a contract next.
"""

INDEXES_DDL: Final = """
CREATE UNIQUE INDEX hold_ids ON holds (pool_id, hold_id);
CREATE UNIQUE INDEX contract_ids ON contracts (contract_id);
CREATE INDEX live_contracts ON contracts (due_at, contract_id) WHERE live;
CREATE UNIQUE INDEX live_allocations ON allocations (allocation_id) WHERE state != 'RELEASED';
CREATE INDEX peered_allocations ON allocations (side, contract_id) WHERE peer_id IS NOT NULL AND state != 'RELEASED';
CREATE INDEX open_purchases ON purchases (contract_id) WHERE open;
CREATE UNIQUE INDEX service_request_ids ON service_requests (service_request_id);
CREATE INDEX open_service_requests ON service_requests (service_request_id) WHERE open;
CREATE INDEX histories_of ON histories (aggregate_id, aggregate, sequence);
"""
"""Those on what lives hold all that a start asks for. Of allocations no other is ever looked for: one that is released
does not change any more. Each index on ids is a write to a page at random for each reservation.
"""

TABLES: Final = {
    "standing": "one",
    "available_resources": "pool_id",
    "pools": "pool_id",
    "holds": "sequence",
    "contracts": "sequence",
    "allocations": "sequence",
    "purchases": "contract_id",
    "service_requests": "sequence",
    "histories": "sequence",
    "ratings": "provider_id",
}
"""Every table with the columns that order it for a digest."""

NEW_OFFER: Final = "INSERT INTO available_resources VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
PUT_OFFER: Final = (
    "UPDATE available_resources SET flavour_id = ?, type = ?, owner_domain = ?, version = ?, offers = ?, "
    "terms_since_offer = ?, offer_event = coalesce(?, offer_event) WHERE pool_id = ?"
)
NEW_POOL: Final = "INSERT INTO pools VALUES (?, ?, ?)"
PUT_POOL: Final = (
    "UPDATE pools SET terms_event = coalesce(?, terms_event), capacity_event = coalesce(?, capacity_event) "
    "WHERE pool_id = ?"
)
NEW_HOLD: Final = "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?)"
DROP_HOLD: Final = "DELETE FROM holds WHERE pool_id = ? AND hold_id = ?"
DROP_HOLD_AT: Final = "DELETE FROM holds WHERE sequence = ?"
NEW_CONTRACT: Final = "INSERT INTO contracts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
NEXT_CONTRACTS: Final = "SELECT contract_id FROM contracts WHERE contract_id > ? ORDER BY contract_id LIMIT ?"
_PUT_CONTRACT: Final = (
    "UPDATE contracts SET state = ?, live = ?, revision = ?, due_at = ?, updated_at = ?, ended_by = ?, "
    "ended_because = ?, requests = ?"
)
PUT_CONTRACT: Final = f"{_PUT_CONTRACT} WHERE contract_id = ?"
PUT_CONTRACT_AT: Final = f"{_PUT_CONTRACT} WHERE sequence = ?"
NEW_ALLOCATION: Final = "INSERT INTO allocations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_ALLOCATION: Final = (
    "UPDATE allocations SET state = ?, version = ?, updated_at = ?, peer_id = ?, fabric = ?, endpoint = ?"
)
PUT_ALLOCATION: Final = f"{_PUT_ALLOCATION} WHERE allocation_id = ? AND state != 'RELEASED'"
PUT_ALLOCATION_AT: Final = f"{_PUT_ALLOCATION} WHERE sequence = ?"
PUT_PURCHASE: Final = "INSERT OR REPLACE INTO purchases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
NEW_REQUEST: Final = "INSERT INTO service_requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
PUT_REQUEST: Final = (
    "UPDATE service_requests SET state = ?, open = ?, failed_because = ?, operation_deleted = ?, version = ?, "
    "updated_at = ? WHERE service_request_id = ?"
)
DELETE_OPERATION: Final = (
    "UPDATE service_requests SET operation_deleted = 1, version = ?, updated_at = max(updated_at, ?) "
    "WHERE service_request_id = ?"
)
NEW_HISTORY: Final = "INSERT INTO histories VALUES (?, ?, ?, ?)"
PUT_STANDING: Final = "INSERT OR REPLACE INTO standing VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)"
RATINGS: Final = "SELECT * FROM ratings"
ADD_RATING: Final = (
    "INSERT INTO ratings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET granted = granted + "
    "excluded.granted, refused = refused + excluded.refused, unanswered = unanswered + excluded.unanswered, "
    "kept = kept + excluded.kept, revoked = revoked + excluded.revoked, answers = answers + excluded.answers, "
    "elapsed = elapsed + excluded.elapsed, slowest = max(slowest, excluded.slowest)"
)
"""Rows of it say what a stretch of the ledger added."""
