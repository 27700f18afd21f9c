"""What a seller shows that cannot be true: of what was ordered, or after what it showed before.

Instants are the seller's own and are held against each other, never against a clock here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from rear.domain.demand import Demand, devices
from rear.domain.lifecycle import CONTRACT_LIFECYCLE, ContractState
from rear.domain.link import ContractCopy, Order
from rear.domain.price import Money
from rear.domain.units import UnitShare
from rear.domain.window import BEGINNING, FOREVER, MINUTE, SECOND, AskedWindow, Duration, Instant, Window

ROUNDING: Final = SECOND
"""How far a window may be from the one that was asked for: a seller may count in coarser units of time."""

SKEW: Final = Duration(5 * MINUTE)
"""How far a start may be moved on that lay in the past by the seller's clock."""


def _reachable() -> Mapping[ContractState, frozenset[ContractState]]:
    found = {state: {state} for state in ContractState}
    for _ in ContractState:
        for (before, _trigger), then in CONTRACT_LIFECYCLE.items():
            found[before] |= found[then]
    return {state: frozenset(then) for state, then in found.items()}


REACHABLE: Final = _reachable()
"""The states that a contract may be in later, by the one that it is in."""


def of_order(order: Order, contract: ContractCopy) -> str:
    """What of a contract cannot have come of the order; empty where nothing is wrong with it."""
    if contract.provider_id != order.provider_id:
        return f"{order.provider_id} was asked, and the contract is one of {contract.provider_id or 'nobody'}"
    if not _same(contract.partition, order.partition):
        return "the contract is about another partition than was asked for"
    if not _assigned(order.partition, contract.assigned_units):
        return "the contract does not assign the devices that were asked for"
    if not _in_window(order.window, contract.window, contract.created_at):
        return "the contract's window is not the one that was asked for"
    return "the contract costs more than the order allows" if _dearer(contract.price, order.max_price) else ""


def of_copy(before: ContractCopy, contract: ContractCopy) -> str:
    """What of a contract cannot have become of it since `before`; empty where nothing is wrong with it."""
    if contract.state not in REACHABLE[before.state]:
        return f"the contract was {before.state.value}, and cannot be {contract.state.value} after that"
    for what, was, now in (
        ("window", before.window, contract.window),
        ("devices", before.assigned_units, contract.assigned_units),
        ("price", before.price, contract.price),
    ):
        if was != now:
            return f"the contract's {what} changed, which was not agreed"
    return ""


def _same(one: Demand, other: Demand) -> bool:
    kinds = {*one.quantities, *other.quantities}
    return devices(one.units) == devices(other.units) and all(
        one.quantities.of(kind) == other.quantities.of(kind) for kind in kinds
    )


def _assigned(partition: Demand, shares: tuple[UnitShare, ...]) -> bool:
    """Whether these are as many different devices as were asked for, with as much of each."""
    wanted = Counter[tuple[str, int]]()
    for request in partition.units:
        wanted[request.unit_class, request.millis_each] += request.count
    different = {(share.unit_class, share.name) for share in shares}
    return len(different) == len(shares) and Counter((share.unit_class, share.millis) for share in shares) == wanted


def _in_window(asked: AskedWindow, window: Window, created_at: Instant) -> bool:
    """Whether the seller may have made this of what was asked: what was left open it decides itself.

    One without a start begins when the contract is made; a seller need not say when that was.
    """
    if asked.start is not None:
        begins = asked.start - ROUNDING <= window.start <= asked.start + SKEW
    else:
        begins = created_at <= BEGINNING or window.start <= created_at + ROUNDING
    if not begins:
        return False
    if asked.end is not None:
        return abs(window.end - asked.end) <= ROUNDING
    if asked.duration is not None and window.end < FOREVER:
        return abs(window.duration - asked.duration) <= ROUNDING
    return True


def _dearer(price: Money | None, most: Money | None) -> bool:
    return price is not None and most is not None and (price.currency != most.currency or price.nanos > most.nanos)
