"""A node that fails at every point that has a name, at every verb: nothing is lost, doubled, oversold or half done."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from rear.failpoints import POINTS, VARIABLE
from rear.rpc.client import Client
from tests.checker import Call, check
from tests.system.evidence import Ledger, Rebuilt, agreeing, digests
from tests.system.failing import (
    AT_START,
    AT_WORK,
    ELSEWHERE,
    LINKING,
    ORCHESTRATING,
    PEERING,
    PROVOKED,
    SEARCHING,
    SEED,
    SHARD,
    SHARDS,
    SUBMITTING,
    Failpoints,
    actions_at,
)
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess
from tests.system.scenes import BY_TIME, GOALS, POOLS, VERBS, Scene, Stage

CELLS: Final = os.environ.get("REAR_CELLS", "")
"""`all`; or some, as `point/verb/action` separated by commas; otherwise a sample with every point and every verb."""
PARTS: Final = 1 if CELLS else 3
"""Parts of the sample, so that tests that run side by side share it."""
CELLS_OF_A_NODE: Final = 12
CELL_WITHIN: Final = 90.0
"""Seconds for one cell; it takes two where nobody else wants the processor."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to fail. `visit` counts the times that the point is reached."""

    point: str
    verb: str
    action: str
    visit: int

    def __str__(self) -> str:
        return f"{self.point}/{self.verb}/{self.action}"


def every_cell(chance: random.Random) -> list[Cell]:
    return [
        Cell(point, verb, action, chance.randint(1, 3) if point in AT_WORK else 1)
        for point in (*AT_START, *AT_WORK, *PROVOKED)
        for verb in VERBS
        for action in actions_at(point)
    ]


def sample(cells: Sequence[Cell], chance: random.Random) -> list[Cell]:
    """Every point once, and the verbs in turns."""
    points = list(dict.fromkeys(cell.point for cell in cells))
    chance.shuffle(points)
    return [
        chance.choice([cell for cell in cells if (cell.point, cell.verb) == (point, VERBS[index % len(VERBS)])])
        for index, point in enumerate(points)
    ]


def chosen_cells() -> list[Cell]:
    chance = random.Random(SEED)
    cells = every_cell(chance)
    if not CELLS:
        return sample(cells, chance)
    if CELLS != "all":
        return [cell for cell in cells if str(cell) in CELLS.split(",")]
    chance.shuffle(cells)
    return cells


class Theatre:
    """A node on which one cell after the other is tried, and what it must agree with."""

    def __init__(self, node: NodeProcess, chance: random.Random) -> None:
        self.node = node
        self.failpoints = Failpoints(node)
        self.rebuilt = Rebuilt(node.folder / "rebuilt.sqlite")
        self.cells = 0
        self._calls: list[Call] = []
        self._chance = chance

    async def play(self, cell: Cell) -> None:
        """Tries one cell, and proves that nothing came of it but what was asked."""
        self.cells += 1
        if cell.point == "opening.begun":
            await self._start_failing(cell)
        elif not self.node.running:
            await self.node.restart()
        stage = Stage(self.node.endpoint, self._chance.choice((0.3, 2.0)), self._calls)
        scene = Scene(cell.verb, GOALS[cell.verb], decoys=cell.point.startswith("timers."))
        async with stage.client() as client:
            await scene.prepare(stage, client)
        await self._fail(cell, scene, stage)
        interrupted = len(stage.open)
        async with stage.client(self.node.endpoint) as client:
            await stage.settle(client)
            await scene.conclude(stage, client)
            ledger, _ = await agreeing(client)
            check(self._calls, ledger.recorded)
            ledger.check_request_ids()
            scene.check(ledger)
            await self.rebuilt.check(client, self.node.directory.tables)
        if cell.action == "kill" and cell.visit == 1 and cell.verb not in BY_TIME and cell.point.startswith("writer."):
            assert interrupted, "the node died, but not in the middle of what was asked"
        print(f"{cell}@{cell.visit}: {interrupted} requests cut", flush=True)

    async def close(self) -> None:
        """The tables of the stopped node are those that its ledger gives."""
        self.rebuilt.close()
        if not self.node.running:
            await self.node.restart()
        assert self.node.terminate() == 0
        kept, rebuilt = await digests(self.node.state, self.node.folder)
        assert kept == rebuilt

    async def _fail(self, cell: Cell, scene: Scene, stage: Stage) -> None:
        if cell.point == "opening.begun":
            await scene.act(stage, lambda: True)
            return
        if cell.point in AT_START:
            await self._interrupt(scene, stage, self.node.kill)
            await self._start_failing(cell)
            return
        strike = f"{cell.point}={cell.action}@{cell.visit}"
        if cell.point == "connection.checked":
            self.failpoints.arm("writer.before_publish=cut", strike)
        else:
            self.failpoints.arm(strike)
        if cell.point == "node.draining":
            await self._interrupt(scene, stage, self.node.signal_end, cell)
        elif cell.point == "server.fallen":
            await self._interrupt(scene, stage, self._kill_nats, cell)
        else:
            async with asyncio.TaskGroup() as group:
                over = asyncio.Event()
                group.create_task(scene.act(stage, over.is_set))
                await self._recover(cell, over)

    async def _interrupt(self, scene: Scene, stage: Stage, interrupt: object, cell: Cell | None = None) -> None:
        """Lets something happen in the middle of a wave."""
        assert callable(interrupt)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.act(stage, over.is_set))
            due = scene.due[self._chance.randrange(2)] if scene.due is not None else time.time_ns()
            await asyncio.sleep(max(0, (due - time.time_ns()) / 1e9) + self._chance.uniform(0, 0.03))
            interrupt()
            if cell is not None:
                await self._recover(cell, over)
            over.set()

    def _kill_nats(self) -> None:
        os.kill(self.node.nats_pid, 9)

    async def _start_failing(self, cell: Cell) -> None:
        self.failpoints.arm(f"{cell.point}={cell.action}@{cell.visit}")
        self.node.spawn()
        await self._recover(cell, asyncio.Event())
        if cell.action != "kill":
            await self.node.serves()

    async def _recover(self, cell: Cell, over: asyncio.Event) -> None:
        await self.failpoints.struck(cell.point, cell.action)
        over.set()
        self.failpoints.disarm()
        if cell.action == "stop":
            await asyncio.sleep(self._chance.uniform(0, 0.5))
            self.failpoints.go_on()
        elif cell.action == "kill":
            await self.node.restart()
        if cell.point == "node.draining" and cell.action != "kill":
            assert self.node.wait() == 0
            await self.node.restart()


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_failure_at_any_point_and_any_verb_leaves_nothing_half_done(part: int, new_node: NewNode) -> None:
    print(f"REAR_SEED={SEED}", flush=True)
    cells = chosen_cells()[SHARD::SHARDS][part::PARTS]
    assert cells, "no such cell"
    done: Counter[str] = Counter()
    failed: list[str] = []
    theatre: Theatre | None = None
    for number, cell in enumerate(cells):
        chance = random.Random(f"{SEED}/{cell}")
        if theatre is not None and (theatre.cells >= CELLS_OF_A_NODE or cell.point == "opening.begun"):
            await theatre.close()
            theatre = None
        if theatre is None:
            theatre = Theatre(new_node(*POOLS, name=f"n{number}"), chance)
        theatre._chance = chance
        try:
            async with asyncio.timeout(CELL_WITHIN):
                await theatre.play(cell)
        except Exception as error:
            if len(cells) == 1 or not CELLS:
                raise AssertionError(f"REAR_SEED={SEED} REAR_CELLS={cell}") from error
            failed.append(f"{cell}@{cell.visit}: {error!r}")
            print(f"FAILED {failed[-1]}", flush=True)
            theatre.node.kill()
            theatre = None
        done[cell.action] += 1
    if theatre is not None:
        await theatre.close()
    print(f"{sum(done.values())} cells, {dict(done)}, {len(failed)} failed", flush=True)
    assert not failed, f"REAR_SEED={SEED} REAR_CELLS={','.join(line.partition('@')[0] for line in failed)}"


def test_every_point_is_tried() -> None:
    buying = {*SUBMITTING, *SEARCHING, *ORCHESTRATING, *LINKING, *PEERING}
    assert {*AT_START, *AT_WORK, *PROVOKED, *ELSEWHERE, *buying} == set(POINTS)


def accept_loss(node: NodeProcess, failpoint: str) -> int:
    """The exit code of the operator's command, which is told to fail."""
    command = [str(Path(sys.executable).with_name("rear")), "ledger", "accept-loss", "--state", str(node.state)]
    environment = os.environ | {VARIABLE: failpoint}
    return subprocess.run(
        [*command, "--reason", "a test", "--yes"], env=environment, timeout=60, check=False
    ).returncode


async def test_a_loss_whose_acceptance_is_killed_before_the_anchor_moves_can_be_accepted_again(
    new_node: NewNode,
) -> None:
    node = new_node(*POOLS)
    node.start()
    node.kill()
    node.directory.anchor.unlink()
    assert accept_loss(node, "mending.before_anchor=kill") == -signal.SIGKILL
    assert accept_loss(node, "") == 0
    await node.restart()
    async with Client(node.endpoint) as client:
        ledger = await Ledger.read(client)
    ledger.check()
    assert len(ledger.of("loss_accepted")) == 2
