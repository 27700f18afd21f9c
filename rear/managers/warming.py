"""Makes what would else be made when it is first asked for, while nobody waits for it."""

from __future__ import annotations

import asyncio
from typing import Final

from rear.managers.provider import Provider

BREATH: Final = 0.002
"""Seconds between pools, which take about one millisecond each: whoever calls meanwhile comes first."""


async def warm(provider: Provider) -> None:
    """Reads the holds of every pool, and makes its calendar."""
    state = provider.state
    for pool_id in list(state.pools):
        state.calendar(pool_id)
        await asyncio.sleep(BREATH)
