"""The lives of contracts and allocations, once more as tables, by the names of events."""

from __future__ import annotations

from typing import Final

from rear.v1.contract_pb2 import ContractState

RESERVED: Final = ContractState.CONTRACT_STATE_RESERVED
CONFIRMED: Final = ContractState.CONTRACT_STATE_CONFIRMED
ACTIVE: Final = ContractState.CONTRACT_STATE_ACTIVE
EXPIRED: Final = ContractState.CONTRACT_STATE_EXPIRED
CANCELLED: Final = ContractState.CONTRACT_STATE_CANCELLED
REVOKED: Final = ContractState.CONTRACT_STATE_REVOKED
COMPLETED: Final = ContractState.CONTRACT_STATE_COMPLETED
LIVE: Final = frozenset({RESERVED, CONFIRMED, ACTIVE})

LIFE: Final = {
    "contract_purchased": ({RESERVED}, CONFIRMED),
    "contract_activated": ({CONFIRMED}, ACTIVE),
    "contract_cancelled": ({RESERVED, CONFIRMED, ACTIVE}, CANCELLED),
    "contract_revoked": ({RESERVED, CONFIRMED, ACTIVE}, REVOKED),
    "contract_expired": ({RESERVED}, EXPIRED),
    "contract_completed": ({CONFIRMED, ACTIVE}, COMPLETED),
}
"""From which states an event may lead, and to which."""

INACTIVE: Final = "inactive"
PEERED: Final = "peered"
ACTIVATED: Final = "active"
FAILED: Final = "failed"
RELEASED: Final = "released"

ALLOCATION_LIFE: Final = {
    "allocation_peered": ({INACTIVE, PEERED, ACTIVATED}, PEERED),
    "allocation_activated": ({PEERED}, ACTIVATED),
    "allocation_failed": ({INACTIVE, PEERED, ACTIVATED}, FAILED),
}
"""The same for an allocation."""

METHODS: Final = {
    "contract_reserved": "ReserveFlavour",
    "contract_purchased": "PurchaseFlavour",
    "contract_cancelled": "CancelContract",
    "contract_revoked": "RevokeContract",
}
ENDINGS: Final = frozenset({"contract_cancelled", "contract_revoked", "contract_expired", "contract_completed"})
