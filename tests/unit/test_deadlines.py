"""Calls are cut off at their deadline, and only then."""

from __future__ import annotations

import asyncio

import pytest

from rear.rpc.deadlines import TICK, within


async def test_what_is_done_in_time_is_left_alone() -> None:
    for _ in range(3):
        with within(5.0):
            await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_is_not_done_in_time_is_cut_off_and_the_task_goes_on() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()

    with pytest.raises(TimeoutError), within(0.1):
        await asyncio.Event().wait()

    assert 0.1 - TICK <= loop.time() - begun < 2.0
    await asyncio.sleep(0)  # no cancellation is left behind


async def test_many_calls_end_each_at_its_own_time() -> None:
    ended: list[float] = []

    async def call(seconds: float) -> None:
        with pytest.raises(TimeoutError), within(seconds):
            await asyncio.Event().wait()
        ended.append(seconds)

    await asyncio.gather(*(call(seconds) for seconds in (0.2, 0.05, 0.12)))

    assert ended == [0.05, 0.12, 0.2]


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def call() -> None:
        with within(5.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_stays_what_it_is() -> None:
    with pytest.raises(LookupError), within(5.0):
        raise LookupError


async def test_what_ends_in_time_is_not_cut_off_later() -> None:
    with within(0.03):
        await asyncio.sleep(0)
    await asyncio.sleep(0.08)
    with within(5.0):
        await asyncio.sleep(0.03)
