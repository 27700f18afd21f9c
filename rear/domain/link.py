"""What passes between a buyer and a seller: what is wanted, what is asked, and the contract as it was seen."""

from __future__ import annotations

from enum import Enum

from rear.domain.demand import Demand
from rear.domain.lifecycle import LIVE_STATES, ContractState, Ending
from rear.domain.price import Money
from rear.domain.units import UnitShare
from rear.domain.value import value
from rear.domain.window import AskedWindow, Duration, Instant, Window


class LinkVerb(Enum):
    """What is asked of a seller."""

    RESERVE = "RESERVE"
    PURCHASE = "PURCHASE"
    CANCEL = "CANCEL"


@value
class Order:
    """All that a reservation's request says, and where the seller listens.

    `ttp` None leaves the time to purchase to the seller, `confirm` agrees at once, and `max_price` None sets no bound.
    """

    provider_id: str
    endpoint: str
    flavour_id: str
    partition: Demand
    window: AskedWindow = AskedWindow()
    ttp: Duration | None = None
    confirm: bool = False
    max_price: Money | None = None
    priority: int = 0


@value
class ContractCopy:
    """A contract as its seller showed it, at one revision. The instants are the seller's: no clock here is held
    against them.
    """

    id: str
    provider_id: str
    buyer_id: str
    flavour_id: str
    pool_id: str
    partition: Demand
    assigned_units: tuple[UnitShare, ...]
    window: Window
    state: ContractState
    revision: int
    price: Money | None
    priority: int
    created_at: Instant
    updated_at: Instant
    purchase_before: Instant | None
    ending: Ending | None
    allocation_id: str
    chain_id: str

    @property
    def live(self) -> bool:
        """Whether it held capacity when it was seen."""
        return self.state in LIVE_STATES
