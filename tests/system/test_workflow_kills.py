"""Workflow 1 with a node killed at every step, or the other, or both; and cancelled at every step."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import pytest

from tests.checker.lives import LIVE
from tests.conftest import ROOT
from tests.system.failing import SEED, SHARD, SHARDS, Failpoints
from tests.system.fixtures import NewNode
from tests.system.intents import CANCELLED, FAILED, READY, Owner, component, intent
from tests.system.neighbourhood import Neighbourhood, Proof
from tests.system.node_process import NodeProcess, pool
from tests.system.steps import CONSUMER, GIVING_BACK, STEPS, Step

CELLS: Final = os.environ.get("REAR_WORKFLOW_CELLS", "")
"""`all`; or some, as `step/how` separated by commas; otherwise a few."""
HOWS: Final = ("node", "other", "both", "cancel")
"""Who is killed at the step: the node that is at it, the other one while the first stands there, or both; or nobody,
and the service request is cancelled while the node stands there.
"""
SAMPLE: Final = ("14/node", "20/other", "17/both", "23/cancel")
CELLS_OF_A_PAIR: Final = 8
CELL_WITHIN: Final = 120.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to fail at one step: a number of the workflow, or a place on the way back."""

    step: str
    how: str

    @property
    def place(self) -> Step:
        """Where that is."""
        return GIVING_BACK[self.step] if self.step in GIVING_BACK else STEPS[int(self.step)]

    def __str__(self) -> str:
        return f"{self.step}/{self.how}"


def chosen_cells() -> list[Cell]:
    every = [Cell(str(step), how) for step in STEPS for how in HOWS]
    every += [Cell(place, how) for place in GIVING_BACK for how in HOWS if how != "cancel"]
    if CELLS != "all":
        wanted = CELLS.split(",") if CELLS else SAMPLE
        return [cell for cell in every if str(cell) in wanted]
    random.Random(SEED).shuffle(every)
    return every


class Theatre:
    """Two nodes on which one cell after the other is tried."""

    def __init__(self, pair: Neighbourhood) -> None:
        self.pair = pair
        self.cells = 0

    async def play(self, cell: Cell, chance: random.Random) -> str:
        """Tries one cell. Returns how the service request ended, once both sides agree and nothing is left over."""
        self.cells += 1
        await self.pair.start()
        step = cell.place
        here, other = self.pair.consumer, self.pair.provider
        if step.side != CONSUMER:
            here, other = other, here
        action = "kill" if cell.how == "node" else "stop"
        failpoints = self.pair.failpoints[here.name]
        request_id = f"{cell}-{chance.getrandbits(64):x}".replace("/", "-")
        components = [component(cores=chance.choice((2, 3, 4.5)))]
        if chance.random() < 0.5:
            components.append(component("db", cores=0.5))
        async with Owner(self.pair.endpoint, patience=CELL_WITHIN) as owner:
            key = ""
            if cell.step in GIVING_BACK:
                key = await owner.submit(intent(*components), request_id=request_id)
                await owner.has_state(key, READY)
            failpoints.arm(f"{step.point}={action}@{step.visit}")
            asked = asyncio.create_task(
                self._give_back(owner, key) if key else owner.submit(intent(*components), request_id=request_id)
            )
            try:
                await failpoints.struck(step.point, action)
            finally:
                failpoints.disarm()
            cancelling = await self._strike(cell, here, other, owner, asked, chance)
            key = await asked
            if cancelling is not None:
                await cancelling
            await owner.wait(key, CELL_WITHIN)
            found = await owner.get(key)
            proof = await self.pair.agreed()
            match found.state:
                case state if state == READY:
                    assert cell.how != "cancel", f"it was cancelled, and is {found}"
                    self._check_one_each(proof, key)
                    await owner.cancel(key)
                    proof = await self.pair.agreed()
                case state if state == CANCELLED:
                    assert cell.how == "cancel" or cell.step in GIVING_BACK, f"nobody cancelled it: {found}"
                case state:
                    assert state == FAILED, f"it is neither ready nor failed: {found}"
                    assert cell.how != "node" or step.side != CONSUMER, f"only its own node was killed: {found.error}"
            assert not proof.buyer.local, "a hold is left"
            assert not any(one.live for one in proof.buyer.of(key)), "a contract is left"
            for seller in proof.sellers.values():
                left = [one.contract_id for one in seller.contracts.values() if one.newest.state in LIVE]
                assert not left, f"contracts are left: {left}"
        return {READY: "ready", FAILED: "failed", CANCELLED: "cancelled"}[found.state]

    @staticmethod
    async def _give_back(owner: Owner, key: str) -> str:
        await owner.cancel(key)
        return key

    @staticmethod
    def _check_one_each(proof: Proof, key: str) -> None:
        """One contract lives, and it is the same one on both sides."""
        (agreed,) = (one for one in proof.buyer.of(key) if one.live)
        seller = proof.sellers[agreed.order.provider_id]
        live = [contract for contract, seen in seller.contracts.items() if seen.newest.state in LIVE]
        assert live == [agreed.contract_id]

    async def _strike(
        self,
        cell: Cell,
        here: NodeProcess,
        other: NodeProcess,
        owner: Owner,
        submitted: asyncio.Task[str],
        chance: random.Random,
    ) -> asyncio.Task[object] | None:
        failpoints = self.pair.failpoints[here.name]
        match cell.how:
            case "node":
                await here.restart()
            case "other":
                other.kill()
                if chance.random() < 0.5:
                    failpoints.go_on()
                    await asyncio.sleep(chance.uniform(0, 0.5))
                    await other.restart()
                else:
                    await other.restart()
                    failpoints.go_on()
            case "both":
                other.kill()
                here.kill()
                await self.pair.start()
            case _:
                return await self._cancel(failpoints, owner, submitted)
        return None

    async def _cancel(
        self, failpoints: Failpoints, owner: Owner, submitted: asyncio.Task[str]
    ) -> asyncio.Task[object] | None:
        """The cancellation is on its way before the node goes on, where its id is known by then."""
        cancelling: asyncio.Task[object]
        if submitted.done():
            cancelling = asyncio.create_task(owner.cancel(submitted.result()))
            await asyncio.sleep(0.05)
            failpoints.go_on()
        else:
            failpoints.go_on()
            cancelling = asyncio.create_task(owner.cancel(await submitted))
        return cancelling


async def test_a_node_that_is_killed_at_any_step_leaves_one_contract_or_none(new_node: NewNode) -> None:
    print(f"REAR_SEED={SEED}", flush=True)
    cells = chosen_cells()[SHARD::SHARDS]
    assert cells, "no such cell"
    ended: Counter[str] = Counter()
    failed: list[str] = []
    theatre: Theatre | None = None
    for cell in cells:
        chance = random.Random(f"{SEED}/{cell}")
        if theatre is None:
            theatre = Theatre(Neighbourhood.of(new_node, [pool("own", cpu=1)], [pool("far", cpu=20)]))
        try:
            async with asyncio.timeout(CELL_WITHIN):
                how = await theatre.play(cell, chance)
            ended[how] += 1
            print(f"{cell}: {how}", flush=True)
            if theatre.cells >= CELLS_OF_A_PAIR or cell == cells[-1]:
                await theatre.pair.nothing_left(theatre.pair.consumer.folder)
                theatre = None
        except Exception as error:
            if not CELLS:
                raise AssertionError(f"REAR_SEED={SEED} REAR_WORKFLOW_CELLS={cell}") from error
            failed.append(str(cell))
            print(f"FAILED {cell}: {error!r}", flush=True)
            if theatre is not None:
                for node in theatre.pair.nodes:
                    if node.running:
                        node.kill()
            theatre = None
    print(f"{len(cells)} cells, {dict(ended)}, {len(failed)} failed", flush=True)
    assert not failed, f"REAR_SEED={SEED} REAR_WORKFLOW_CELLS={','.join(failed)}"


def test_every_step_of_the_workflow_is_tried_where_its_table_says() -> None:
    rows = re.findall(r"^\| (\d+) \|.* `([a-z_.]+)` \|$", (ROOT / "docs/workflows.md").read_text(), re.MULTILINE)
    assert {int(number): point for number, point in rows} == {step: at.point for step, at in STEPS.items()}
    assert list(STEPS) == list(range(1, 29))
    assert {step.side for step in STEPS.values()} == {"consumer", "provider"}


@pytest.mark.parametrize("how", HOWS)
def test_the_short_form_has_every_way_to_fail(how: str) -> None:
    assert how in {cell.partition("/")[2] for cell in SAMPLE}
