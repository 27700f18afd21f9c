"""Buyers who reserve, purchase and end contracts without pause, repeat themselves, and remember every answer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rear.domain.window import SECOND
from rear.rpc.client import Client
from rear.rpc.refused import Refused, Unreachable
from rear.v1.contract_pb2 import Contract
from rear.v1.contract_service_pb2 import (
    CancelContractRequest,
    CancelContractResponse,
    ListContractsRequest,
    PurchaseFlavourRequest,
    PurchaseFlavourResponse,
    ReserveFlavourRequest,
    ReserveFlavourResponse,
    RevokeContractRequest,
    RevokeContractResponse,
)
from rear.v1.discovery_service_pb2 import ListFlavoursRequest
from tests.checker import Call, RecordingClient, check
from tests.system.asking import cancel, get, in_seconds, purchase, reserve, revoke
from tests.system.evidence import Ledger

EXPECTED_REFUSALS: Final = {"CAPACITY_EXCEEDED", "TTP_PASSED", "REVISION_MISMATCH", "WRONG_STATE"}
PATIENCE: Final = 180.0
"""Seconds that a buyer repeats a request for which there is no answer."""

Ending = CancelContractRequest | RevokeContractRequest
Request = ReserveFlavourRequest | PurchaseFlavourRequest | Ending
Response = ReserveFlavourResponse | PurchaseFlavourResponse | CancelContractResponse | RevokeContractResponse
Answer = TypeVar("Answer", bound=Response)


@dataclass(slots=True)
class History:
    """What was asked and answered, and how often it went which way."""

    calls: list[Call] = field(default_factory=list)
    """Every attempt at every call, for the checker."""
    expected: set[str] = field(default_factory=lambda: set(EXPECTED_REFUSALS))
    """Reasons of refusals that a buyer takes; any other is raised."""
    granted: list[tuple[Request, Contract]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    read: int = 0
    repeated: int = 0
    """Requests that were sent again, with or without an answer to the first."""
    cut: int = 0
    """Of these, those that had got no answer at first."""

    def check(self, ledger: Ledger, listed: list[Contract], *, skew: float = 0.0) -> None:
        """Every answer is explained by the ledger; and what is listed in the end is what was granted, or later."""
        print(check(self.calls, ledger.recorded, skew=round(skew * SECOND)))
        final = {found.contract_id: found for found in listed}
        assert len(final) == len(listed), "a contract is listed twice"
        for request, answer in self.granted:
            found = final[answer.contract_id]
            assert found.revision >= answer.revision, f"answered {answer}, but it is {found}"
            if isinstance(request, Ending):
                assert found.state == answer.state, f"ended as {answer}, but it is {found}"


class Buyer:
    """One buyer with a connection of its own. `flavours` are the first ones of the pools."""

    def __init__(
        self, name: str, seed: str, endpoint: str, flavours: dict[str, bool], history: History, *, timeout: float
    ) -> None:
        self._name = name
        self._random = random.Random(f"{seed}/{name}")
        calls = history.calls
        self._client = RecordingClient(endpoint, calls, name=name, timeout=timeout, patience=PATIENCE)
        self._hurried = RecordingClient(endpoint, calls, name=name, timeout=0.2, patience=0)
        self._flavours = flavours
        self._history = history
        self._held: list[Contract] = []
        self._count = 0

    async def run(self, stop: asyncio.Event) -> None:
        async with self._client, self._hurried:
            while not stop.is_set():
                await self._act()

    async def _act(self) -> None:
        choice = self._random.random()
        if choice > 0.85:
            await self._read()
        elif self._held and choice < 0.3:
            contract = self._held[self._random.randrange(len(self._held))]
            if (bought := await self._purchase(contract)) is not None:
                self._held[self._held.index(contract)] = bought
        elif self._held and (choice < 0.6 or len(self._held) > 4):
            await self._end(self._held.pop(self._random.randrange(len(self._held))))
        elif (reserved := await self._reserve()) is not None:
            self._held.append(reserved)

    async def _read(self) -> None:
        choice = self._random.random()
        if self._held and choice < 0.5:
            await self._client.get_contract(get(self._random.choice(self._held)))
        elif choice < 0.7:
            pool_id = self._random.choice(list(self._flavours)).rpartition("-")[0]
            await self._client.list_contracts(ListContractsRequest(pool_id=pool_id, page_size=1_000))
        else:
            await self._client.list_flavours(ListFlavoursRequest())
        self._history.read += 1

    async def _reserve(self) -> Contract | None:
        flavour, gpus = self._random.choice(list(self._flavours.items()))
        start = self._random.choice((None, in_seconds(self._random.uniform(300, 2_000))))
        request = reserve(
            flavour,
            cores=self._random.choice((0.5, 1, 1.5, 3)),
            start=start,
            end=in_seconds(self._random.uniform(2_100, 4_000)),
            ttp=self._random.choice((0.3, 1.0, 600.0, 600.0)),
            confirm=self._random.random() < 0.2,
            request_id=self._new_id(),
        )
        if gpus and self._random.random() < 0.5:
            request.partition.units.add(unit_class="gpu", count=1, millis_each=self._random.choice((300, 600, 1_000)))
        response = await self._ask(Client.reserve_flavour, request)
        return None if response is None else response.contract

    async def _purchase(self, contract: Contract) -> Contract | None:
        response = await self._ask(Client.purchase_flavour, purchase(contract, request_id=self._new_id()))
        return None if response is None else response.contract

    async def _end(self, contract: Contract) -> None:
        """As its buyer or, being the same principal, as its seller."""
        if self._random.random() < 0.7:
            await self._ask(Client.cancel_contract, cancel(contract, request_id=self._new_id()))
        else:
            await self._ask(Client.revoke_contract, revoke(contract, request_id=self._new_id()))

    async def _ask(
        self, verb: Callable[[Client, Request], Awaitable[Answer]] | Callable[..., Awaitable[Answer]], request: Request
    ) -> Answer | None:
        """The answer; None for a refusal. Sometimes gives up early, sometimes asks once more for nothing."""
        if self._random.random() < 0.3:
            try:
                await verb(self._hurried, request)
            except Unreachable:
                self._history.cut += 1
            except Refused:
                pass
            self._history.repeated += 1
        try:
            response = await verb(self._client, request)
        except Refused as refusal:
            if refusal.reason not in self._history.expected:
                raise
            self._history.refused[refusal.reason] += 1
            return None
        if self._random.random() < 0.2:
            self._history.repeated += 1
            again = await verb(self._client, request)
            assert again.contract.contract_id == response.contract.contract_id
            assert again.contract.revision >= response.contract.revision
        self._history.granted.append((request, response.contract))
        return response

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"


@asynccontextmanager
async def buyers(
    count: int,
    seed: str,
    endpoint: str,
    flavours: dict[str, bool],
    history: History | None = None,
    *,
    timeout: float = 5.0,  # noqa: ASYNC109
) -> AsyncIterator[History]:
    """That many buyers at work inside the context; leaving it waits until each has its last answer.

    `timeout` is in seconds, for one attempt at a request. A flavour maps to whether its pool has GPUs. What a buyer
    cannot explain is raised.
    """
    history, stop = history or History(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for index in range(count):
            group.create_task(Buyer(f"buyer{index}", seed, endpoint, flavours, history, timeout=timeout).run(stop))
        try:
            yield history
        finally:
            stop.set()
