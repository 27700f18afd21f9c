"""A buyer's copies of its contracts, kept by watching the seller."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from rear.rpc.client import Client
from rear.v1 import watch_pb2
from rear.v1.contract_pb2 import ContractState
from rear.v1.contract_service_pb2 import WatchContractsRequest
from tests.checker.lives import LIVE
from tests.system.evidence import list_all
from tests.waiting import eventually

GONE: Final = ContractState.CONTRACT_STATE_UNSPECIFIED
"""What is known of a contract that lived and was not told again: how it ended must be asked for."""

BEGINNINGS: Final = frozenset({watch_pb2.WATCH_KIND_BEGUN, watch_pb2.WATCH_KIND_RESET})


class Watcher:
    """Applies what it is told, as the protocol says."""

    def __init__(self) -> None:
        self.copies: dict[str, tuple[int, int]] = {}
        """Revision and state of each contract."""
        self.heard: Counter[int] = Counter()
        """Messages by their kind."""
        self._unsure: set[str] = set()

    async def follow(self, client: Client) -> None:
        """Watches for ever."""
        async with aclosing(client.watch_contracts(WatchContractsRequest())) as messages:
            async for message in messages:
                self.heard[message.kind] += 1
                if message.kind in BEGINNINGS:
                    self._unsure = {key for key, (_, state) in self.copies.items() if state in LIVE}
                for contract in message.contracts:
                    self._unsure.discard(contract.contract_id)
                    revision, _ = self.copies.get(contract.contract_id, (0, GONE))
                    if contract.revision > revision:
                        self.copies[contract.contract_id] = contract.revision, contract.state
                if message.kind == watch_pb2.WATCH_KIND_SYNCED:
                    self.copies |= {key: (self.copies[key][0], GONE) for key in self._unsure}
                    self._unsure = set()

    async def agrees(self, client: Client, within: float = 15.0) -> None:
        """Waits until its copies are what the seller lists. Time may move contracts on, so both are looked at again."""
        deadline = time.monotonic() + within
        while True:
            final = {one.contract_id: (one.revision, one.state) for one in await list_all(client)}
            if self.copies == final:
                return
            wrong = [f"{key}: {one}, not {final.get(key)}" for key, one in self.copies.items() if one != final.get(key)]
            unknown = final.keys() - self.copies.keys()
            assert time.monotonic() < deadline, f"copies are wrong: {wrong}; there are none of {unknown}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def watching(endpoint: str, patience: float = 60.0) -> AsyncIterator[Watcher]:
    """A watcher that was told all that is when the context begins."""
    watcher = Watcher()
    async with Client(endpoint, patience=patience) as client, asyncio.TaskGroup() as group:
        task = group.create_task(watcher.follow(client))
        await eventually(lambda: watcher.heard[watch_pb2.WATCH_KIND_SYNCED] > 0)
        yield watcher
        task.cancel()
