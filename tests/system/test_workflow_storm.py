"""Many intents at once between three nodes, of which any may be killed at any moment."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Final

import grpc
import pytest

from rear.v1.intent_pb2 import Agreement
from rear.v1.service_request_pb2 import ServiceRequestState
from tests.system.asking import in_seconds
from tests.system.failing import SEED, SHARD, shared
from tests.system.fixtures import NewNode
from tests.system.intents import CANCELLED, COMPLETED, FAILED, READY, Owner, component, intent
from tests.system.neighbourhood import Neighbourhood
from tests.system.node_process import pool

ROUNDS: Final = shared(int(os.environ.get("REAR_STORMS", "0")))
INTENTS: Final = 10
KILLS: Final = 3


async def one_intent(owner: Owner, chance: random.Random) -> str | None:
    """An intent of up to three components, some of them in the future; given up now and then.

    None for one whose start had passed before there was a node to hand it in at.
    """
    await asyncio.sleep(chance.uniform(0, 2))
    start = in_seconds(chance.uniform(1, 4)) if chance.random() < 0.3 else None
    end = None if start is None else in_seconds(chance.uniform(5, 8))
    wanted = intent(
        *(
            component(f"c{number}", cores=chance.choice((0.5, 1, 3, 6)), least=0.5, start=start, end=end)
            for number in range(chance.randint(1, 3))
        )
    )
    if chance.random() < 0.3:
        wanted.agreement = Agreement.AGREEMENT_DIRECT
    try:
        key = await owner.submit(wanted)
    except grpc.aio.AioRpcError as refused:
        if start is None or "lies in the past" not in (refused.details() or ""):
            raise
        return None
    if chance.random() < 0.3:
        await asyncio.sleep(chance.uniform(0, 1))
        await owner.cancel(key)
    return key


async def kill_some(neighbours: Neighbourhood, chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        for node in chance.sample(neighbours.nodes, chance.choice((1, 1, 2, 3))):
            node.kill()
        await asyncio.sleep(chance.uniform(0, 1))
        await neighbours.start()


@pytest.mark.skipif(not ROUNDS, reason="make soak plays it")
async def test_intents_outlive_nodes_that_are_killed_at_any_moment(new_node: NewNode, tmp_path: Path) -> None:
    print(f"REAR_SEED={SEED}", flush=True)
    made = Neighbourhood.of(
        new_node, [pool("own", cpu=2)], [pool("near", cpu=12, price="0.05 EUR")], [pool("far", cpu=12)]
    )
    await made.start()
    for number in range(ROUNDS):
        chance = random.Random(f"{SEED}/{SHARD}/{number}")
        async with Owner(made.endpoint, patience=120) as owner:
            asking = [one_intent(owner, random.Random(chance.random())) for _ in range(INTENTS)]
            keys = [key for key in (await asyncio.gather(kill_some(made, chance), *asking))[1:] if key is not None]
            for key in keys:
                await owner.has_ended_or_is(key, READY)
            await made.agreed(within=60)
            ended: Counter[str] = Counter()
            for key in keys:
                found = await owner.cancel(key)
                assert found.state in (CANCELLED, FAILED, COMPLETED), found
                ended[ServiceRequestState.Name(found.state)] += 1
            proof = await made.agreed(within=60)
            assert not proof.buyer.local
            assert not [one for one in proof.buyer.purchases.values() if one.live]
            print(number, dict(ended), len(proof.buyer.purchases), "purchases", flush=True)
    await made.nothing_left(tmp_path)
