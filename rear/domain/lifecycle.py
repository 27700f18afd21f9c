"""The life of a contract, as one table (DESIGN: contracts)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from rear.domain.value import value


class ContractState(Enum):
    """Where in its life a contract is."""

    RESERVED = "RESERVED"
    CONFIRMED = "CONFIRMED"
    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REVOKED = "REVOKED"
    COMPLETED = "COMPLETED"


class Trigger(Enum):
    """What moves a contract on."""

    PURCHASE = "purchase"
    TTP_PASSED = "TTP passes"
    WINDOW_STARTED = "window starts"
    WINDOW_ENDED = "window ends"
    CANCEL = "buyer cancels"
    REVOKE = "seller can no longer keep it"
    AMEND = "both agree to an update"


S, T = ContractState, Trigger

CONTRACT_LIFECYCLE: Final[Mapping[tuple[ContractState, Trigger], ContractState]] = {
    (S.RESERVED, T.PURCHASE): S.CONFIRMED,
    (S.RESERVED, T.TTP_PASSED): S.EXPIRED,
    (S.RESERVED, T.CANCEL): S.CANCELLED,
    (S.RESERVED, T.REVOKE): S.REVOKED,
    (S.RESERVED, T.AMEND): S.RESERVED,
    (S.CONFIRMED, T.WINDOW_STARTED): S.ACTIVE,
    (S.CONFIRMED, T.WINDOW_ENDED): S.COMPLETED,
    (S.CONFIRMED, T.CANCEL): S.CANCELLED,
    (S.CONFIRMED, T.REVOKE): S.REVOKED,
    (S.CONFIRMED, T.AMEND): S.CONFIRMED,
    (S.ACTIVE, T.WINDOW_ENDED): S.COMPLETED,
    (S.ACTIVE, T.CANCEL): S.CANCELLED,
    (S.ACTIVE, T.REVOKE): S.REVOKED,
    (S.ACTIVE, T.AMEND): S.ACTIVE,
}
"""What is not in the table is refused."""

LIVE_STATES: Final = frozenset({S.RESERVED, S.CONFIRMED, S.ACTIVE})
"""States in which a contract holds capacity."""

TERMINAL_STATES: Final = frozenset(S) - LIVE_STATES
"""States that a contract never leaves."""


@value
class Ending:
    """Who ended a contract, and why."""

    actor: str
    reason: str
