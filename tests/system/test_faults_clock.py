"""The clock of a node is set while buyers are at work: an hour back, an hour ahead, and right again."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.checker import RecordingClient
from tests.system.asking import COMPLETED, EXPIRED, RESERVED, get, has_state, in_seconds, reserve
from tests.system.fixtures import NewNode
from tests.system.load import buyers
from tests.system.node_process import NodeProcess, fixed_port
from tests.system.outages import FLAVOURS, POOLS, answers_more, logged, until_serving, whole_again

HOUR: Final = 3_600.0
SEEN_WITHIN: Final = 4.0
"""Seconds until health follows the clock."""


class Clock:
    """The clock of a node, as far as a test sets it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, seconds_off: float) -> None:
        """Sets it to so many seconds before or after the machine's."""
        draft = self.path.with_suffix(".new")
        draft.write_text(repr(seconds_off))
        os.replace(draft, self.path)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
async def node(new_node: NewNode, clock: Clock) -> NodeProcess:
    node = new_node(*POOLS, port=fixed_port())
    node.launcher = (sys.executable, "-m", "tests.planted", f"clock={clock.path}")
    await node.restart()
    return node


async def test_a_clock_that_is_set_back_makes_the_node_not_ready_and_time_stands_still(
    node: NodeProcess, clock: Clock, tmp_path: Path
) -> None:
    async with buyers(8, "back", node.endpoint, FLAVOURS) as history:
        await answers_more(history)
        clock.set(-HOUR)
        noticed = await until_serving(node, False, SEEN_WITHIN)
        await asyncio.sleep(0.5)
        clock.set(0)
        back = await until_serving(node, True, SEEN_WITHIN)
        await answers_more(history)
    print(f"an hour back: not ready within {noticed:.1f} s, ready {back:.1f} s after it was set right")
    assert any("behind the ledger" in str(entry) for entry in logged(node, "not ready"))
    await whole_again(node, history, tmp_path)


async def test_a_clock_that_is_set_ahead_ends_what_is_due_and_cannot_be_set_back_unnoticed(
    node: NodeProcess, clock: Clock, tmp_path: Path
) -> None:
    async with buyers(4, "ahead", node.endpoint, FLAVOURS) as history:
        history.expected.add("INVALID_FIELD")  # windows that lie in the past by then
        own = RecordingClient(node.endpoint, history.calls, name="own", timeout=5, patience=10)
        async with own as client:
            held = (await client.reserve_flavour(reserve("spare-1", ttp=1_800, request_id="held"))).contract
            used = reserve("spare-1", end=in_seconds(1_800), confirm=True, request_id="used")
            used_up = (await client.reserve_flavour(used)).contract
            await answers_more(history)
            assert (await client.get_contract(get(held))).contract.state == RESERVED
            clock.set(HOUR)
            await has_state(client, held, EXPIRED)
            await has_state(client, used_up, COMPLETED)
            await until_serving(node, True, SEEN_WITHIN)
            clock.set(0)
            noticed = await until_serving(node, False, SEEN_WITHIN)
            assert (await client.get_contract(get(held))).contract.state == EXPIRED, "what has ended stays ended"
            clock.set(HOUR)
            await until_serving(node, True, SEEN_WITHIN)
    print(f"an hour ahead and back: not ready within {noticed:.1f} s")
    await whole_again(node, history, tmp_path, skew=HOUR)
