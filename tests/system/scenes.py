"""What buyers and time do to one pool while its node fails: each verb, several times at once, in two waves.

Every scene begins and ends with an empty pool `a`; what is asked of pool `b` goes on beside it and expires.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rear.domain.window import SECOND, Instant
from rear.rpc.client import Client
from rear.rpc.refused import Refused, Unreachable
from rear.v1.contract_pb2 import Contract
from rear.v1.contract_service_pb2 import ReserveFlavourRequest
from tests.checker import Call, RecordingClient
from tests.system.asking import (
    ACTIVE,
    CANCELLED,
    COMPLETED,
    CONFIRMED,
    EXPIRED,
    REVOKED,
    cancel,
    get,
    has_state,
    now,
    purchase,
    reserve,
    revoke,
)
from tests.system.evidence import Ledger
from tests.system.load import EXPECTED_REFUSALS, Request
from tests.system.node_process import pool

POOLS: Final = (pool("a", cpu=20), pool("b", cpu=20))
WAVE: Final = 3
"""Requests in a wave."""
SOON: Final = 0.6
"""Seconds until time does something to what was prepared."""
BETWEEN: Final = 0.15
"""Seconds between the waves."""

Verb = Callable[[Client, Any], Awaitable[Any]]


@dataclass(slots=True)
class Stage:
    """Who asks, and all that was asked."""

    endpoint: str
    hurry: float
    """Seconds after which an answer is not waited for."""
    calls: list[Call]
    """Every attempt at every call, for the checker."""
    asked: list[tuple[Verb, Request]] = field(default_factory=list)
    granted: list[tuple[Request, Contract]] = field(default_factory=list)
    open: list[tuple[Verb, Request]] = field(default_factory=list)
    """Requests for which there was no answer."""

    def client(self, endpoint: str = "", *, timeout: float = 10.0, patience: float = 30.0) -> Client:
        return RecordingClient(endpoint or self.endpoint, self.calls, name="buyer", timeout=timeout, patience=patience)

    async def ask(self, client: Client, verb: Verb, request: Request) -> Contract | None:
        """The contract; None for a refusal, and where there is no answer."""
        self.asked.append((verb, request))
        try:
            contract: Contract = (await verb(client, request)).contract
        except Unreachable:
            self.open.append((verb, request))
            return None
        except Refused as refusal:
            if refusal.reason not in EXPECTED_REFUSALS:
                raise
            return None
        self.granted.append((request, contract))
        return contract

    async def settle(self, client: Client) -> None:
        """Sends again what got no answer, with the same request id, and then all that was granted once more."""
        cut, self.open = self.open, []
        for verb, request in cut:
            await self.ask(client, verb, request)
        assert not self.open, "no answer even now"
        granted = {request.request_id: contract for request, contract in self.granted}
        for verb, request in self.asked:
            if request.request_id in granted:
                first, again = granted[request.request_id], (await verb(client, request)).contract
                assert (again.contract_id, again.window) == (first.contract_id, first.window)
                assert again.revision >= first.revision


@dataclass(slots=True)
class Scene:
    """One verb. `prepare` is done in peace, the waves go on while the node fails."""

    verb: str
    goal: Sequence[int]
    """The states in which all contracts on the stage are to end."""
    due: tuple[Instant, Instant] | None = None
    """When time does something to what was prepared, in both waves."""
    prepared: list[Contract] = field(default_factory=list)
    decoys: bool = False
    """Whether others' reservations expire just when the waves go out."""

    async def prepare(self, stage: Stage, client: Client) -> None:
        first = Instant(now() + round(SOON * SECOND))
        due = first, Instant(first + round(BETWEEN * SECOND))
        if self.decoys or self.verb in BY_TIME:
            self.due = due
        wishes = [self._wish(due[index // WAVE], index) for index in range(0 if self.verb == "reserve" else 2 * WAVE)]
        decoys = [self._until(due[index // WAVE], "b-1", 0.5) for index in range(2 * WAVE if self.decoys else 0)]
        made = await asyncio.gather(*(stage.ask(client, Client.reserve_flavour, one) for one in (*wishes, *decoys)))
        assert None not in made, "what was to be prepared was refused"
        self.prepared += [one for one in made[: len(wishes)] if one is not None]

    def _wish(self, due: Instant, index: int) -> ReserveFlavourRequest:
        match self.verb:
            case "expiry":
                return self._until(due, "a-1", 3)
            case "window end":
                return reserve("a-1", cores=3, end=due, confirm=True)
            case _:
                return reserve("a-1", cores=3, confirm=self.verb in ("cancel", "revoke") and index % 2 == 0)

    @staticmethod
    def _until(due: Instant, flavour: str, cores: float) -> ReserveFlavourRequest:
        return reserve(flavour, cores=cores, ttp=(due - now()) / SECOND)

    async def act(self, stage: Stage, struck: Callable[[], bool]) -> None:
        """Both waves, and small talk after them until the node has failed or does not answer."""
        async with stage.client(timeout=stage.hurry, patience=0) as client:
            for wave in (0, 1):
                if self.due is not None:
                    await asyncio.sleep(max(0, (self.due[wave] - now()) / SECOND))
                await asyncio.gather(*(stage.ask(client, *one) for one in self._wave(wave)))
            while not struck():
                await stage.ask(client, Client.reserve_flavour, reserve("b-1", cores=0.5, ttp=0.15))
                await asyncio.sleep(0.02)

    def _wave(self, wave: int) -> list[tuple[Verb, Request]]:
        mine = self.prepared[wave * WAVE : (wave + 1) * WAVE]
        match self.verb:
            case "purchase":
                return [(Client.purchase_flavour, purchase(contract)) for contract in mine]
            case "cancel":
                return [(Client.cancel_contract, cancel(contract)) for contract in mine]
            case "revoke":
                return [(Client.revoke_contract, revoke(contract)) for contract in mine]
            case "reserve":
                return [(Client.reserve_flavour, reserve("a-1", cores=8)) for _ in range(WAVE)]
            case _:  # they want the room of what time is about to end
                return [(Client.reserve_flavour, reserve("a-1", cores=8, ttp=60)) for _ in range(WAVE)]

    async def conclude(self, stage: Stage, client: Client) -> None:
        """All has come as it should, and the pool is empty again."""
        for contract in self.prepared:
            found = (
                await has_state(client, contract, self.goal[0])
                if self.verb in BY_TIME
                else await _get(client, contract)
            )
            assert found.state in self.goal, f"{self.verb}: {found}"
        if self.verb == "reserve":
            fits = [contract for request, contract in stage.granted if contract.flavour_id == "a-1"]
            assert len(fits) == 2, "two of six fit, and a refusal of the second rests on nothing"
        await self._empty(stage, client)

    async def _empty(self, stage: Stage, client: Client) -> None:
        for contract in [contract for _, contract in stage.granted if contract.flavour_id == "a-1"]:
            with contextlib.suppress(KeyError):
                live = await _get(client, contract)
                if live.state not in {EXPIRED, CANCELLED, REVOKED, COMPLETED}:
                    await stage.ask(client, Client.cancel_contract, cancel(contract))
        whole = await stage.ask(client, Client.reserve_flavour, reserve("a-1", cores=20))
        assert whole is not None, "capacity that nobody holds has not come back"
        await stage.ask(client, Client.cancel_contract, cancel(whole))

    def check(self, ledger: Ledger) -> None:
        """Each of what was prepared had the verb's one effect."""
        for contract in self.prepared:
            effects = ledger.of(EFFECTS[self.verb], aggregate_id=contract.contract_id)
            assert len(effects) == 1, f"{self.verb}: {len(effects)} effects on {contract.contract_id}"


async def _get(client: Client, contract: Contract) -> Contract:
    return (await client.get_contract(get(contract))).contract


BY_TIME: Final = frozenset({"expiry", "window end"})
EFFECTS: Final = {
    "purchase": "contract_purchased",
    "cancel": "contract_cancelled",
    "revoke": "contract_revoked",
    "expiry": "contract_expired",
    "window end": "contract_completed",
}
GOALS: Final = {
    "reserve": (),
    "purchase": (CONFIRMED, ACTIVE),
    "cancel": (CANCELLED,),
    "revoke": (REVOKED,),
    "expiry": (EXPIRED,),
    "window end": (COMPLETED,),
}
VERBS: Final = tuple(GOALS)
