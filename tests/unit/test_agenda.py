"""When a service request is looked at again."""

from __future__ import annotations

import asyncio

from nodes.orchestration.agenda import Agenda
from rear.domain.window import MILLISECOND, SECOND, Instant
from tests.seller import T0
from tests.waiting import eventually


class Clock:
    def __init__(self) -> None:
        self.at = T0

    def now(self) -> Instant:
        return self.at


async def test_each_is_woken_when_its_time_has_come_and_once() -> None:
    clock, woken = Clock(), list[str]()
    agenda = Agenda(clock.now, woken.append)
    agenda.put("late", Instant(T0 + SECOND))
    agenda.put("soon", Instant(T0 + 5 * MILLISECOND))
    agenda.put("never", Instant(T0 + 5 * MILLISECOND))
    agenda.put("never", None)
    agenda.put("moved", Instant(T0 + 5 * MILLISECOND))
    agenda.put("moved", Instant(T0 + SECOND))
    agenda.start()

    clock.at = Instant(T0 + 10 * MILLISECOND)
    await eventually(lambda: woken == ["soon"])
    clock.at = Instant(T0 + 2 * SECOND)
    agenda.put("at once", T0)
    await eventually(lambda: len(woken) == 4)

    assert sorted(woken) == ["at once", "late", "moved", "soon"]
    assert len(agenda) == 0
    assert agenda.trouble is None
    await agenda.stop()


async def test_it_looks_again_though_nothing_moves() -> None:
    clock, woken = Clock(), list[str]()
    agenda = Agenda(clock.now, woken.append)
    agenda.start()
    await asyncio.sleep(0)
    agenda.put("set forward", Instant(T0 + 3_600 * SECOND))
    await asyncio.sleep(0)

    clock.at = Instant(T0 + 3_600 * SECOND)

    await eventually(lambda: woken == ["set forward"])
    await agenda.stop()
