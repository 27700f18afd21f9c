"""From committed steps to rows: each row once a batch, however often its aggregate changed in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from rear.domain.allocation import Allocation
from rear.domain.contract import Contract
from rear.domain.events import ContractReserved, HoldReleased, PoolReserved
from rear.domain.hold import Hold
from rear.domain.pool import Pool
from rear.ledger.writer import Committed
from rear.projections import schema


def write_rows(connection: sqlite3.Connection, committed: Iterable[Committed]) -> None:
    """Writes what the steps changed. The caller owns the transaction."""
    pools: dict[str, Pool] = {}
    changed: set[str] = set()  # pools of which more than the offer changed
    holds: dict[tuple[str, str], Hold | None] = {}
    began: dict[str, int] = {}
    contracts: dict[str, Contract] = {}
    allocations: dict[str, Allocation] = {}
    for item in committed:
        after = item.step.after
        if isinstance(after, Pool):
            pools[after.id] = after
            event = item.step.event
            if isinstance(event, PoolReserved):
                holds[after.id, event.hold.id] = event.hold
            elif isinstance(event, HoldReleased):
                holds[after.id, event.hold_id] = None
            else:
                changed.add(after.id)
        elif isinstance(after, Contract):
            contracts[after.id] = after
            if isinstance(item.step.event, ContractReserved):
                began[after.id] = item.sequence
        elif isinstance(after, Allocation):
            allocations[after.id] = after
    many = connection.executemany
    many(schema.PUT_POOL, [schema.pool_row(pools[key]) for key in changed])
    many(schema.PUT_OFFER, [schema.offer_row(pool) for key, pool in pools.items() if key not in changed])
    many(schema.PUT_HOLD, [schema.hold_row(key[0], hold) for key, hold in holds.items() if hold is not None])
    many(schema.DROP_HOLD, [key for key, hold in holds.items() if hold is None])
    many(
        schema.NEW_CONTRACT,
        [schema.new_contract_row(sequence, contracts[key]) for key, sequence in began.items()],
    )
    many(
        schema.PUT_CONTRACT,
        [schema.changed_contract_row(contract) for key, contract in contracts.items() if key not in began],
    )
    many(schema.PUT_ALLOCATION, [schema.allocation_row(allocation) for allocation in allocations.values()])
