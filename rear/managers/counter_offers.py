"""What would fit where a reservation does not: a search in slices, with a budget."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from rear.domain import reservation
from rear.domain.calendar import EarliestFit
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.refusals import Refusal
from rear.domain.reservation import ReserveCommand, find_pool, resolve_window
from rear.domain.state import State
from rear.domain.window import Instant, Window
from rear.managers.provider import Provider

SLICE: Final = 0.002
"""Seconds that a search may keep the loop."""

BUDGET: Final = 0.05
"""Seconds after which a search gives up, and says so."""

JUMPS_A_LOOK: Final = 8
"""Jumps of a search between looks at the clock."""


async def find_counter_offer(provider: Provider, command: ReserveCommand) -> CounterOffer | None:
    """The counter-offer for a reservation that does not fit, once all that the search saw is durable.

    None where in the meantime the flavour or the window is no longer one that could be offered.
    """
    writer, promises = provider.writer, provider.promises
    now = writer.now()
    try:
        pool = find_pool(writer.state.pools, command.flavour_id)
        asked = resolve_window(command.window, promises, now)
    except Refusal:
        return None
    latest = Instant(now + promises.horizon - asked.duration)
    fit = await _earliest_fit(writer.state, pool.id, command.partition, asked, latest)
    offer = reservation.counter_offer(
        writer.state.pools.get(pool.id, pool),
        writer.state.calendar(pool.id),
        command.partition,
        asked,
        fit.start,
        fit.exhaustive,
        now,
    )
    await writer.settled()
    return offer


async def _earliest_fit(state: State, pool_id: str, partition: Demand, asked: Window, latest: Instant) -> EarliestFit:
    """The first start from the asked one on; lets others run between slices, and gives up after the budget."""
    begun = slice_begun = time.monotonic()
    candidate = asked.start
    while True:
        fit = state.calendar(pool_id).earliest_fit(partition, asked.duration, candidate, latest, JUMPS_A_LOOK)
        if fit.start is not None or fit.exhaustive:
            return fit
        candidate = fit.reached
        now = time.monotonic()
        if now - begun > BUDGET:
            return fit
        if now - slice_begun > SLICE:
            await asyncio.sleep(0)
            slice_begun = time.monotonic()
