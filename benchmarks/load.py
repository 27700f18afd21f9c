"""A closed loop of callers, the same one for everything that is measured."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

DEADLINE: Final = 30.0
"""Seconds that each call has."""

Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of calls took: seconds in all, and seconds of each call, sorted."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Seconds within which so many of a hundred calls were answered."""
        return self.latencies[min(len(self.latencies) - 1, math.floor(len(self.latencies) * percent / 100))]


async def drive(
    call: Callable[[Q], Awaitable[R]], requests: Sequence[Q], in_flight: int, answers: list[R] | None = None
) -> Round:
    """Makes all calls, so many at a time; `answers` takes what came back. The first error ends it."""
    latencies: list[float] = []
    waiting = iter(requests)
    gc.collect()
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as callers:
        for _ in range(in_flight):
            callers.create_task(_caller(call, waiting, latencies, answers))
    return Round(time.perf_counter() - begun, tuple(sorted(latencies)))


async def _caller(
    call: Callable[[Q], Awaitable[R]], waiting: Iterator[Q], latencies: list[float], answers: list[R] | None
) -> None:
    for request in waiting:
        begun = time.perf_counter()
        answer = await call(request)
        latencies.append(time.perf_counter() - begun)
        if answers is not None:
            answers.append(answer)
