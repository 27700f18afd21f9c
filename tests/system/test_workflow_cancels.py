"""Buyer and seller end the same contract at once, at every time of its life: both copies reach the same state."""

from __future__ import annotations

import asyncio
import random
from typing import Final
from uuid import uuid4

from rear.domain.window import SECOND, Instant
from rear.rpc.client import Client
from rear.v1.contract_pb2 import Contract, ContractState
from rear.v1.contract_service_pb2 import RevokeContractRequest
from rear.v1.service_request_pb2 import ComponentState, ServiceRequest
from tests.checker.lives import LIVE
from tests.system.asking import cancel, in_seconds, now
from tests.system.failing import SEED
from tests.system.fixtures import NewNode
from tests.system.intents import CANCELLED, COMPLETED, FAILED, READY, Owner, component, intent
from tests.system.neighbourhood import Neighbourhood
from tests.system.node_process import pool
from tests.system.relay import Relay, Way

START: Final = 1.5
"""Seconds from handing in to the window's start, and from there to its end."""
ENDED: Final = (CANCELLED, FAILED, COMPLETED)


def revoke(contract_id: str) -> RevokeContractRequest:
    return RevokeContractRequest(contract_id=contract_id, reason="the machine broke", request_id=str(uuid4()))


async def until(moment: Instant, jitter: float = 0.0) -> None:
    await asyncio.sleep(max(0.0, (moment - now()) / SECOND + jitter))


async def agreed(owner: Owner, key: str) -> ServiceRequest:
    """The service request, once its contract is agreed."""
    deadline = asyncio.get_running_loop().time() + 20
    reached = {
        ComponentState.COMPONENT_STATE_AGREED,
        ComponentState.COMPONENT_STATE_PEERED,
        ComponentState.COMPONENT_STATE_READY,
    }
    while (found := await owner.get(key)).components[0].state not in reached:
        assert asyncio.get_running_loop().time() < deadline, f"it is still {found}"
        await asyncio.sleep(0.02)
    return found


async def cross(neighbours: Neighbourhood, owner: Owner, when: str, chance: random.Random) -> str:
    """One contract that both sides end at once, and the buyer's own hand with them."""
    start, end = in_seconds(START), in_seconds(2 * START)
    key = await owner.submit(intent(component(cores=2, start=start, end=end)))
    contract_id = (await agreed(owner, key)).components[0].remote.contract_id
    moments = {
        "before": now(),
        "at the start": start,
        "after the start": Instant(start + SECOND // 3),
        "at the end": end,
    }
    await until(moments[when])
    async with Client(neighbours.provider.endpoint) as client:

        async def seller() -> None:
            await asyncio.sleep(chance.uniform(0, 0.02))
            await client.revoke_contract(revoke(contract_id))

        async def buyer() -> None:
            await asyncio.sleep(chance.uniform(0, 0.02))
            await owner.cancel(key)

        async def by_hand() -> None:
            await asyncio.sleep(chance.uniform(0, 0.02))
            await client.cancel_contract(cancel(Contract(contract_id=contract_id)))

        acts = [seller(), buyer(), by_hand()]
        chance.shuffle(acts)
        await asyncio.gather(*acts)
    return key


async def test_what_both_sides_end_at_once_ends_the_same_on_both(new_node: NewNode) -> None:
    print(f"REAR_SEED={SEED}")
    made = Neighbourhood.of(new_node, [pool("own", cpu=1, whole=True)], [pool("far", cpu=40)])
    await made.start()
    moments = ["before", "at the start", "after the start", "at the end"] * 2
    async with Owner(made.endpoint) as owner:
        keys = await asyncio.gather(
            *(cross(made, owner, when, random.Random(f"{SEED}/{n}")) for n, when in enumerate(moments))
        )
        proof = await made.agreed()
        for key, when in zip(keys, moments, strict=True):
            found = await owner.get(key)
            assert found.state in ENDED, f"{when}: {found}"
            (bought,) = proof.buyer.of(key)
            assert bought.copy is not None
            print(when, ContractState.Name(bought.copy.state))
            assert bought.copy.state not in LIVE


async def test_what_is_revoked_while_the_buyers_cancel_is_on_its_way_ends_the_same_on_both(new_node: NewNode) -> None:
    made = Neighbourhood.of(new_node, [pool("own", cpu=1, whole=True)], [pool("far", cpu=40)])
    async with Relay(lambda: made.provider.port) as relay:
        made.consumer.options = made.consumer.options[:-2]
        made.introduce(f"127.0.0.1:{relay.port}")
        await made.start()
        async with Owner(made.endpoint) as owner, Client(made.provider.endpoint) as client:
            keys = [await owner.submit(intent(component(cores=2))) for _ in range(2)]
            ready = [await owner.has_state(key, READY) for key in keys]
            both = [one.components[0].remote.contract_id for one in ready]
            async with relay.holding(Way.BOTH):
                await owner.cancel(keys[0])
                for contract_id in both:
                    await client.revoke_contract(revoke(contract_id))
            proof = await made.agreed()
            for key in keys:
                await owner.has_state(key, CANCELLED, FAILED)
                proof = await made.agreed()
                (bought,) = proof.buyer.of(key)
                assert bought.copy is not None
                assert bought.copy.state == ContractState.CONTRACT_STATE_REVOKED
            assert [(await owner.get(key)).state for key in keys] == [CANCELLED, FAILED]
