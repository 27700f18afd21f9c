"""Sellers of contracts, as the consumer's Contract Manager calls them: domain values in and out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, Protocol

from rear.domain.link import ContractCopy, Order
from rear.domain.refusals import (
    CapacityExceeded,
    FlavourChanged,
    FlavourNotFound,
    InvalidField,
    NotServed,
    PriceAboveMaximum,
    Refusal,
    RefusedElsewhere,
)
from rear.domain.value import value

NOTHING_THERE: Final = (
    CapacityExceeded,
    FlavourChanged,
    FlavourNotFound,
    InvalidField,
    NotServed,
    PriceAboveMaximum,
)
"""Refusals of a reservation by a seller that has looked whether it has its contract. Others say nothing of that: a
request that was sent before and not answered may have led to one.
"""


@value
class Told:
    """What a seller says of the caller's contracts, as they are now.

    `anew` begins an account of all that live; with `complete` all of it has been told, and what it did not mention does
    not live, or not any more.
    """

    contracts: tuple[ContractCopy, ...] = ()
    anew: bool = False
    complete: bool = False


class Sellers(Protocol):
    """Calls sellers.

    Everything raises the refusals of `rear.domain.refusals` where the seller said no, and
    `rear.managers.consumer.peers.Unanswered` where it said nothing that can be used. `order` says who the seller is and
    where it listens. Every change may be sent any number of times: with the same request id it has the effect of one.
    """

    def contract_id(self, order: Order, request_id: str) -> str:
        """The id of the contract that a reservation with `request_id` leads to."""
        ...

    async def reserve(self, order: Order, request_id: str) -> ContractCopy:
        """RESERVE_FLAVOUR (step 15)."""
        ...

    async def purchase(self, order: Order, contract_id: str, revision: int, request_id: str) -> ContractCopy:
        """PURCHASE_FLAVOUR (step 22)."""
        ...

    async def cancel(self, order: Order, contract_id: str, request_id: str, reason: str) -> ContractCopy:
        """Ends a contract, whatever its revision."""
        ...

    async def get_contract(self, order: Order, contract_id: str) -> ContractCopy:
        """One contract."""
        ...

    def watch(self, endpoint: str, provider_id: str) -> AsyncGenerator[Told, None]:
        """The caller's contracts: those that live, and then every change, for as long as it is asked.

        It tells something every few seconds, also where nothing changes.
        """
        ...


def reason_of(refusal: Refusal) -> str:
    """The stable reason of a seller's refusal, also of one that is not known here."""
    if isinstance(refusal, RefusedElsewhere):
        return refusal.metadata.get("reason") or refusal.reason
    return refusal.reason
