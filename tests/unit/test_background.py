"""Things are brought on one by one, never twice at once, and again after a fault."""

from __future__ import annotations

import asyncio

from rear.background import Pauses, Reconciler
from rear.domain.refusals import TryAgain
from rear.domain.window import MILLISECOND, Duration
from tests.waiting import eventually


async def test_a_wake_while_a_step_runs_has_the_key_looked_at_again() -> None:
    running, go, steps = asyncio.Event(), asyncio.Event(), []

    async def step(key: str) -> None:
        steps.append(key)
        running.set()
        await go.wait()

    reconciler = Reconciler("things", step)
    reconciler.wake("a")
    await running.wait()
    reconciler.wake("a")
    reconciler.wake("a")
    assert steps == ["a"]

    go.set()
    await eventually(lambda: not reconciler.busy)

    assert steps == ["a", "a"]


async def test_keys_do_not_wait_for_each_other() -> None:
    done: list[str] = []

    async def step(key: str) -> None:
        if key == "slow":
            await asyncio.Event().wait()
        done.append(key)

    reconciler = Reconciler("things", step)
    reconciler.wake("slow")
    reconciler.wake("quick")
    await eventually(lambda: done == ["quick"])

    assert reconciler.busy == 1
    await reconciler.stop()
    assert not reconciler.busy


async def test_a_step_says_when_it_is_to_be_called_again() -> None:
    waits: list[float | None] = [0, 0.001, None]
    called = 0

    async def step(_: str) -> float | None:
        nonlocal called
        called += 1
        return waits.pop(0)

    reconciler = Reconciler("things", step)
    reconciler.wake("a")
    await eventually(lambda: not reconciler.busy)

    assert called == 3


async def test_a_fault_is_tried_again_and_told_until_then() -> None:
    faults: list[Exception] = [TryAgain("not now", Duration(MILLISECOND)), RuntimeError("a fault")]
    troubles: list[str | None] = []

    async def step(_: str) -> None:
        troubles.append(reconciler.trouble)
        if faults:
            raise faults.pop(0)

    reconciler = Reconciler("things", step)
    reconciler.wake("a")
    await eventually(lambda: not reconciler.busy)

    assert troubles == [None, None, "1 of the things cannot be brought on; the log says why"]
    assert reconciler.trouble is None


async def test_nothing_begins_once_it_is_stopped() -> None:
    called: list[str] = []

    async def step(key: str) -> None:
        called.append(key)

    reconciler = Reconciler("things", step)
    await reconciler.stop()
    reconciler.wake("a")
    await asyncio.sleep(0)

    assert called == []
    assert not reconciler.busy


def test_pauses_double_up_to_the_longest_and_begin_anew_once_something_came_of_it() -> None:
    pauses = Pauses(first=1.0, longest=3.0)

    assert [pauses.longer("a") for _ in range(4)] == [1.0, 2.0, 3.0, 3.0]
    assert pauses.longer("b") == 1.0
    assert pauses.waiting("a")
    pauses.over("a")
    assert not pauses.waiting("a")
    pauses.over("never waited")
    assert pauses.longer("a") == 1.0
