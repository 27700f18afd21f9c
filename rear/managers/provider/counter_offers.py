"""What would fit where a reservation does not: a search in slices, with a budget."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from rear.domain import reservation
from rear.domain.calendar import EarliestFit, PoolCalendar
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.refusals import Refusal
from rear.domain.reservation import ReserveCommand, find_pool, resolve_window
from rear.domain.window import Instant, Window
from rear.managers.provider import endings
from rear.managers.provider.provider import Provider

SLICE: Final = 0.002
"""Seconds that a search may keep the loop."""

BUDGET: Final = 0.05
"""Seconds after which a search gives up, and says so."""

JUMPS_A_LOOK: Final = 8
"""Jumps of a search between looks at the clock."""


async def find_counter_offer(provider: Provider, command: ReserveCommand) -> CounterOffer | None:
    """The counter-offer for a reservation that does not fit, once all that the search saw is durable.

    Overdue reservations do not count: whoever asks for their room gets it. None where in the meantime the flavour or
    the window is no longer one that could be offered.
    """
    writer, promises = provider.writer, provider.promises
    while True:
        reverted, now = writer.reverted, writer.now()
        try:
            pool = find_pool(provider.state.pools, command.flavour_id)
            asked = resolve_window(command.window, promises, now)
        except Refusal:
            return None
        latest = Instant(now + promises.horizon - asked.duration)
        fit = await _earliest_fit(provider, pool.id, command.partition, asked, latest)
        offer = reservation.counter_offer(
            provider.state.pools.get(pool.id, pool),
            _calendar(provider, pool.id),
            command.partition,
            asked,
            fit.start,
            fit.exhaustive,
            now,
        )
        await writer.settled()
        if writer.reverted == reverted:  # otherwise it may rest on what never came to be
            return offer


def _calendar(provider: Provider, pool_id: str) -> PoolCalendar:
    """The pool's calendar, without what is overdue."""
    overdue = endings.overdue(provider, provider.writer.now(), pool_id)
    if not overdue:
        return provider.state.calendar(pool_id)
    calendar = provider.state.pools[pool_id].calendar()
    for contract in overdue:
        calendar.vacate(provider.state.pools[pool_id].holds[contract.id])
    return calendar


async def _earliest_fit(
    provider: Provider, pool_id: str, partition: Demand, asked: Window, latest: Instant
) -> EarliestFit:
    """The first start from the asked one on; lets others run between slices, and gives up after the budget."""
    begun = slice_begun = time.monotonic()
    candidate, calendar = asked.start, _calendar(provider, pool_id)
    while True:
        fit = calendar.earliest_fit(partition, asked.duration, candidate, latest, JUMPS_A_LOOK)
        if fit.start is not None or fit.exhaustive:
            return fit
        candidate = fit.reached
        now = time.monotonic()
        if now - begun > BUDGET:
            return fit
        if now - slice_begun > SLICE:
            await asyncio.sleep(0)
            slice_begun, calendar = time.monotonic(), _calendar(provider, pool_id)
