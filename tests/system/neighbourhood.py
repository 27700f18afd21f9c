"""A consumer's node and its neighbours, providers of the same domain: real processes, and the proof that they agree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rear.rpc.client import Client
from rear.v1.contract_pb2 import Contract
from tests.checker.agreement import disagreements
from tests.checker.buying import Buying
from tests.checker.replay import Replay
from tests.system.asking import cancel
from tests.system.evidence import Ledger, agreeing, digests
from tests.system.failing import Failpoints
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, PoolEntry, fixed_port

AGREE_WITHIN: Final = 30.0
"""Seconds for both sides to agree once faults have stopped."""
PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Proof:
    """What the ledgers of a neighbourhood prove."""

    buyer: Buying
    sellers: dict[str, Replay]
    ledgers: dict[str, Ledger]
    """Of every node, by its identity."""

    @property
    def findings(self) -> list[str]:
        """What may never be so, however early one looks."""
        return [*self.buyer.findings, *(found for seller in self.sellers.values() for found in seller.findings)]

    def open(self, foreign: Collection[str]) -> list[str]:
        """What may be so for a while."""
        return [*disagreements(self.buyer, self.sellers, foreign), *self.buyer.nothing_left()]


class Neighbourhood:
    """A consumer's node and its neighbours. Each comes back to its own state directory and port.

    The consumer asks its neighbours for each intent anew, and gives each a second.
    """

    def __init__(self, consumer: NodeProcess, providers: Sequence[NodeProcess]) -> None:
        self.consumer = consumer
        self.providers = list(providers)
        self.failpoints = {node.name: Failpoints(node) for node in (consumer, *providers)}
        self.foreign: dict[str, NodeProcess] = {}
        """Contracts that others have bought, with their sellers."""
        consumer.options = ["--candidates-fresh", "0", "--discovery-deadline", "1"]
        for provider in self.providers:
            self.introduce(f"127.0.0.1:{provider.port}")

    @classmethod
    def of(cls, new_node: NewNode, own: Sequence[PoolEntry], *stocks: Sequence[PoolEntry]) -> Neighbourhood:
        """A consumer with pools of its own, and a provider for each of the stocks. Nothing is started yet."""
        consumer = new_node(*own, name="consumer", port=fixed_port())
        providers = [
            new_node(*stock, name=f"provider-{number}", port=fixed_port()) for number, stock in enumerate(stocks, 1)
        ]
        return cls(consumer, providers)

    @property
    def provider(self) -> NodeProcess:
        """The first of them."""
        return self.providers[0]

    @property
    def nodes(self) -> list[NodeProcess]:
        return [self.consumer, *self.providers]

    @property
    def endpoint(self) -> str:
        """The consumer's."""
        return f"127.0.0.1:{self.consumer.port}"

    def introduce(self, endpoint: str) -> None:
        """Has the consumer ask there too, from its next start on."""
        self.consumer.options = [*self.consumer.options, "--neighbour", endpoint]

    async def start(self) -> None:
        """Starts what does not run, side by side, and returns once all of it serves."""
        spawned = [node for node in self.nodes if not node.running]
        for node in spawned:
            node.spawn()
        await asyncio.gather(*(node.serves() for node in spawned))

    async def buy_nothing(self) -> None:
        """Others cancel all that they have bought."""
        for contract_id, seller in self.foreign.items():
            async with Client(seller.endpoint) as client:
                await client.cancel_contract(cancel(Contract(contract_id=contract_id)))

    async def look(self) -> Proof:
        """What all ledgers say now."""
        ledgers = {}
        for node in self.nodes:
            async with Client(f"127.0.0.1:{node.port}", patience=20) as client:
                ledgers[node.provider_id] = await Ledger.read(client)
        sellers = {node.provider_id: Replay(ledgers[node.provider_id].recorded) for node in self.providers}
        recorded = ledgers[self.consumer.provider_id].recorded
        own = Replay(recorded)
        assert not own.findings, "\n".join(own.findings)
        return Proof(Buying(recorded), sellers, ledgers)

    async def agreed(self, within: float = AGREE_WITHIN) -> Proof:
        """What the ledgers prove once both sides agree, and nothing stands that nobody needs."""
        deadline = time.monotonic() + within
        while True:
            proof = await self.look()
            assert not proof.findings, "\n".join(proof.findings)
            if not (left := proof.open(self.foreign)):
                return proof
            assert time.monotonic() < deadline, "\n".join(left)
            await asyncio.sleep(PAUSE)

    async def nothing_left(self, scratch: Path) -> Proof:
        """Ends all nodes; both sides agreed before, and all tables are what the ledgers give. Returns the proof."""
        proof = await self.agreed()
        for node in self.nodes:
            async with Client(f"127.0.0.1:{node.port}", patience=20) as client:
                await agreeing(client)
        for node in self.nodes:
            node.signal_end()
        for node in self.nodes:
            assert node.wait() == 0
        for node in self.nodes:
            folder = scratch / f"rebuilt-{node.name}"
            folder.mkdir(parents=True, exist_ok=True)
            kept, rebuilt = await digests(node.state, folder)
            assert kept == rebuilt, f"the tables of {node.name} are not what its ledger gives"
        return proof
