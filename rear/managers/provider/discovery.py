"""The Discovery Manager, provider side: which of the own flavours a selector selects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rear.domain.demand import Demand
from rear.domain.flavour import Flavour, parse_flavour_id
from rear.domain.partition import check_against, check_well_formed
from rear.domain.pool import Pool
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.refusals import FlavourNotFound, InvalidField
from rear.domain.reservation import resolve_window
from rear.domain.selector import SORT_KEYS, FlavourOrder, Selector
from rear.domain.units import UnitShare
from rear.domain.window import AskedWindow, Instant, Window
from rear.ledger.commit import Decision
from rear.managers.provider.provider import Provider

SLICE: Final = 0.002
"""Seconds that a list may keep the loop."""

POOLS_A_LOOK: Final = 16
"""Pools between looks at the clock."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A flavour with what is free of it over the asked window, and what the asked partition costs."""

    flavour: Flavour
    available: Quantities
    available_units: tuple[UnitShare, ...]
    as_of: Instant
    total_price: Money | None


@dataclass(frozen=True, slots=True)
class Listing:
    """An answer to a list: durable at `position`. `truncated` where the limit kept more away."""

    flavours: tuple[Listed, ...]
    truncated: bool
    at: Instant
    position: str


class DiscoveryManager:
    """Answers from Available Resources."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._orders: dict[FlavourOrder, tuple[int, list[str]]] = {}

    async def find(self, selector: Selector, *, order: FlavourOrder, limit: int) -> Listing:
        """At most `limit` flavours, best first. Raises InvalidField."""
        if selector.partition is not None:
            check_well_formed(selector.partition, "selector.partition")
        writer = self._provider.writer
        while True:
            reverted, now = writer.reverted, writer.now()
            window = resolve_window(selector.window, self._provider.promises, now, "selector.window")
            found, truncated = await self._scan(selector, window, self._ordered(order, selector, window), limit, now)
            position = await writer.settled()
            if writer.reverted == reverted:  # otherwise the list may rest on what never came to be
                return Listing(tuple(found), truncated, now, str(position))

    async def get(self, flavour_id: str, asked: AskedWindow) -> Listing:
        """One flavour. Raises FlavourNotFound, which names the current one where there is one."""
        if not flavour_id:
            raise InvalidField("flavour_id", "is required")

        def decide(now: Instant) -> Decision[Listed | None]:
            window = resolve_window(asked, self._provider.promises, now)
            pool = _current(self._provider.state.pools, flavour_id)
            return Decision((), self._look(pool, Selector(), window, now))

        outcome = await self._provider.writer.submit(decide)
        listed = outcome.answer
        assert listed is not None, "no filter, so nothing is left out"
        return Listing((listed,), False, listed.as_of, str(outcome.position))

    async def _scan(
        self, selector: Selector, window: Window, ordered: Sequence[str], limit: int, now: Instant
    ) -> tuple[list[Listed], bool]:
        if selector.provider_ids and self._provider.provider_id not in selector.provider_ids:
            return [], False
        found: list[Listed] = []
        pools = self._provider.state.pools
        pause_at = time.monotonic() + SLICE
        for looked, pool_id in enumerate(ordered):
            if looked % POOLS_A_LOOK == 0 and time.monotonic() > pause_at:
                await asyncio.sleep(0)
                pause_at = time.monotonic() + SLICE
            pool = pools.get(pool_id)
            if pool is None:
                continue
            listed = self._look(pool, selector, window, now)
            if listed is None:
                continue
            if len(found) == limit:
                return found, True
            found.append(listed)
        return found, False

    def _look(self, pool: Pool, selector: Selector, window: Window, now: Instant) -> Listed | None:
        """The pool's flavour where it passes every filter, the cheapest tests first."""
        flavour = pool.flavour
        if flavour is None or not selector.matches_terms(pool.id, pool.terms, pool.units):
            return None
        calendar, partition = self._provider.state.calendar(pool.id), selector.partition
        if partition is not None and not (calendar.fits(partition, window) and _is_allowed(partition, pool)):
            return None
        available = calendar.free(window)
        if not selector.matches_available(available):
            return None
        available_units = calendar.free_units(window)
        total = pool.terms.price.total(Demand(available) if partition is None else partition, window.duration)
        if not selector.matches_price(total):
            return None
        return Listed(flavour, available, available_units, now, None if partition is None else total)

    def _ordered(self, order: FlavourOrder, selector: Selector, window: Window) -> Sequence[str]:
        """Ids of pools, best first. The cheapest is the one that sells the asked partition for the least."""
        ordered = self._kept_order(order)
        if selector.pool_ids:
            ordered = [pool_id for pool_id in ordered if pool_id in selector.pool_ids]
        if order is FlavourOrder.PRICE and selector.partition is not None:
            return self._by_total(ordered, selector.partition, window)
        return ordered

    def _kept_order(self, order: FlavourOrder) -> list[str]:
        """An order that depends on terms and capacities only, and lasts while they do."""
        state = self._provider.state
        kept = self._orders.get(order)
        if kept is None or kept[0] != state.offers_changed:
            key = SORT_KEYS[order]
            keyed = sorted(
                (key(flavour, pool.capacity), pool.id)
                for pool in state.pools.values()
                if (flavour := pool.flavour) is not None
            )
            kept = self._orders[order] = (state.offers_changed, [pool_id for _, pool_id in keyed])
        return kept[1]

    def _by_total(self, pool_ids: Sequence[str], partition: Demand, window: Window) -> Sequence[str]:
        """Pools that share their terms share their price, so it is worked out once for all of them."""
        totals: dict[int, float] = {}

        def total(pool_id: str) -> float:
            price = pools[pool_id].terms.price
            if id(price) not in totals:
                money = price.total(partition, window.duration)
                totals[id(price)] = float("inf") if money is None else money.nanos
            return totals[id(price)]

        pools = self._provider.state.pools
        return sorted(pool_ids, key=total)


def _is_allowed(partition: Demand, pool: Pool) -> bool:
    try:
        check_against(partition, pool.terms, pool.capacity, pool.units, "selector.partition")
    except InvalidField:
        return False
    return True


def _current(pools: dict[str, Pool], flavour_id: str) -> Pool:
    parsed = parse_flavour_id(flavour_id)
    if parsed is None:
        raise InvalidField("flavour_id", "is not a flavour's id, which has the form <pool>-<n>")
    pool = pools.get(parsed[0])
    if pool is None or pool.offer is None:
        raise FlavourNotFound(f"there is no flavour {flavour_id}", {"flavour_id": flavour_id})
    if pool.offer.flavour_id != flavour_id:
        raise FlavourNotFound(
            f"flavour {flavour_id} is not advertised; the pool's current one is {pool.offer.flavour_id}",
            {"flavour_id": flavour_id, "current_flavour_id": pool.offer.flavour_id},
        )
    return pool
