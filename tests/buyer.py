"""A buyer without a node: a ledger and tables, the consumer's Contract Manager over them, and sellers in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

from rear.domain import purchase as purchases
from rear.domain.allocation import Allocation
from rear.domain.contract import Contract, contract_id
from rear.domain.demand import Demand
from rear.domain.event import Cause
from rear.domain.events import AnyEvent
from rear.domain.link import ContractCopy, Order
from rear.domain.purchase import Purchase
from rear.domain.refusals import Refusal, TryAgain
from rear.domain.virtual_node import virtual_node_id
from rear.domain.window import Instant
from rear.ledger.commit import Decision
from rear.ledger.stream import EventStream
from rear.managers.consumer.contracts import ConsumerContractManager
from rear.managers.consumer.following import SellerFollower
from rear.managers.consumer.peers import Unanswered
from rear.managers.consumer.sellers import Sellers, Told
from rear.managers.provider.contracts import Answered
from rear.wire.contracts import contract_to_proto, read_copy
from tests.seller import BUYER, PROVIDER, ManualClock, Seller, cpus, verb, wish

ENDPOINT: Final = "10.0.0.7:7000"
UNAVAILABLE: Final = 14


def order(partition: Demand | None = None, **more: Any) -> Order:
    """A core of the seller's machine, if nothing else is said."""
    return Order(PROVIDER, ENDPOINT, "machine-1", partition or cpus(1_000), **more)


class Buyer(Seller):
    """A consumer in memory, open from `open` to `close` or `drop`. What it decides is what its tests decide."""

    def __init__(
        self, stream: EventStream, directory: Path, sellers: Sellers, clock: ManualClock | None = None
    ) -> None:
        super().__init__(stream, directory, clock, service="n2")
        self.sellers = sellers
        self.manager: ConsumerContractManager
        self.follower: SellerFollower

    async def open(self) -> Buyer:
        """Becomes the writer, and goes on with what is open."""
        await super().open()
        self.manager = ConsumerContractManager(self.writer, self.feed, self.sellers)
        self.follower = SellerFollower(self.manager, self.sellers)
        self.writer.listeners.append(self.manager)
        await self.manager.start()
        return self

    async def close(self) -> None:
        """Ends, and closes everything."""
        await self._rest()
        await super().close()

    async def drop(self) -> None:
        """Ends as if killed."""
        await self._rest()
        await super().drop()

    async def _rest(self) -> None:
        await asyncio.gather(self.manager.stop(), self.follower.stop())

    # -- deciding ------------------------------------------------------------------------------------------

    async def order(self, request_id: str, wanted: Order, caller: str = BUYER) -> str:
        """Decides to reserve; the contract's id."""
        key = contract_id(wanted.provider_id, caller, request_id)
        await self.commit(
            lambda cause: [
                purchases.request_reserve(
                    self.state.purchases.get(key), key, request_id, wanted, "request-1", "web", cause
                )
            ]
        )
        return key

    async def buy(self, key: str) -> None:
        await self.commit(lambda cause: [purchases.request_purchase(self.state.purchases[key], f"b-{key}", cause)])

    async def cancel_purchase(self, key: str) -> None:
        def decide(cause: Cause) -> Iterable[AnyEvent | None]:
            known = self.state.purchases.get(key)
            return [] if known is None else [purchases.request_cancel(known, f"c-{key}", "no longer needed", cause)]

        await self.commit(decide)

    async def commit(self, decide: Callable[[Cause], Iterable[AnyEvent | None]]) -> None:
        def on_state(now: Instant) -> Decision[None]:
            return Decision([event for event in decide(Cause(now, now)) if event is not None], None)

        await self.writer.submit(on_state)

    # -- looking -------------------------------------------------------------------------------------------

    def bought(self, key: str) -> Purchase:
        found = self.manager.find(key)
        assert found is not None, f"there is no purchase {key}"
        return found

    def virtual_node(self, key: str) -> Allocation | None:
        """The allocation that stands for it."""
        found = self.state.allocations.get(virtual_node_id(key))
        return found if found is not None and found.stands else None


class SellerInMemory:
    """`Sellers` of one seller, whose answers and whose hearing get lost by chance."""

    def __init__(self, seller: Seller, random: Random | None = None, loss: float = 0.0) -> None:
        self.seller = seller
        self.loss = loss
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[str], Awaitable[None]] | None = None
        """Awaited before each call reaches the seller, with the name of what is asked."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.again = 0.0
        """How likely it is that a request arrives for a second time, later than others that were sent after it."""
        self._down = False
        self._late = set[asyncio.Task[object]]()
        self._random = random or Random(0)

    async def kill(self) -> None:
        """Kills the seller, and starts it again a little later. What it was asked just then is not answered."""
        self._down = True
        await self.seller.drop()
        await asyncio.sleep(0.02)
        await self.seller.open()
        self._down = False

    async def rest(self) -> None:
        """Returns once nothing is on its way any more."""
        await asyncio.gather(*self._late, return_exceptions=True)

    def contract_id(self, order: Order, request_id: str) -> str:
        return contract_id(order.provider_id, BUYER, request_id)

    async def reserve(self, order: Order, request_id: str) -> ContractCopy:
        command = wish(
            request_id,
            order.partition,
            order.flavour_id,
            order.window,
            ttp=order.ttp,
            confirm=order.confirm,
            max_price=order.max_price,
        )
        return await self._call("reserve", request_id, lambda: self.seller.reserve(request_id, command))

    async def purchase(self, order: Order, contract_id: str, revision: int, request_id: str) -> ContractCopy:
        command = verb(request_id, revision)
        return await self._call("purchase", contract_id, lambda: self.seller.purchase(contract_id, command))

    async def cancel(self, order: Order, contract_id: str, request_id: str, reason: str) -> ContractCopy:
        command = verb(request_id)
        return await self._call("cancel", contract_id, lambda: self.seller.cancel(contract_id, command))

    async def get_contract(self, order: Order, contract_id: str) -> ContractCopy:
        return await self._call(
            "get_contract", contract_id, lambda: self.seller.contracts.get(contract_id, owner=BUYER)
        )

    async def watch(self, endpoint: str, provider_id: str) -> AsyncGenerator[Told, None]:
        told: dict[str, ContractCopy] = {}
        self._lose("watch")
        yield Told(anew=True)
        while True:
            if self._down:
                raise Unanswered(UNAVAILABLE, "the seller is gone")
            if self.seller.writer.unacknowledged:  # what is not durable is not told
                await asyncio.sleep(0.001)
                continue
            find, live = self.seller.provider.find_contract, self.seller.state.contracts
            contracts = {key: find(key) for key in [*live, *told]}  # one that ended is soon in the tables only
            now = {key: self._copy(found) for key, found in contracts.items() if found is not None}
            yield Told(tuple(copy for key, copy in now.items() if told.get(key) != copy), complete=not told)
            told = now
            await asyncio.sleep(0.01)
            await self.gate.wait()
            self._lose("watch")

    async def _call(self, asked: str, key: str, call: Callable[[], Awaitable[Answered]]) -> ContractCopy:
        self.asked.append((asked, key))
        if self.before is not None:
            await self.before(asked)
        await self.gate.wait()
        self._lose(f"the request to {asked}")
        try:
            async with asyncio.timeout(0.5):
                answered = await call()
        except (TimeoutError, TryAgain):
            raise Unanswered(UNAVAILABLE, f"the seller is gone, asked to {asked}") from None
        if self._random.random() < self.again:
            self._late.add(asyncio.create_task(self._arrive_again(call)))
        self._lose(f"the answer to {asked}")
        return self._copy(answered.contract)

    async def _arrive_again(self, call: Callable[[], Awaitable[Answered]]) -> None:
        await asyncio.sleep(self._random.random() / 5)
        if not self._down:
            with suppress(Refusal, TimeoutError):
                async with asyncio.timeout(0.5):  # one that is killed meanwhile never answers
                    await call()

    def _lose(self, what: str) -> None:
        if self._down or self._random.random() < self.loss:
            raise Unanswered(UNAVAILABLE, f"{what} got lost")

    @staticmethod
    def _copy(contract: Contract) -> ContractCopy:
        return read_copy(contract_to_proto(contract, PROVIDER))


def copy_at(seller: Seller, key: str) -> ContractCopy | None:
    """The contract as the seller has it."""
    found = seller.provider.find_contract(key)
    return None if found is None else read_copy(contract_to_proto(found, PROVIDER))


def agree(buyer: Buyer, seller: Seller, key: str) -> bool:
    """Whether both sides say the same of a contract, and the buyer has a virtual node where it is to have one."""
    bought, sold = buyer.bought(key), copy_at(seller, key)
    if bought.pending is not None:
        return False
    if bought.undone is not None:
        return (sold is None or not sold.live) and buyer.virtual_node(key) is None
    if bought.copy != sold:
        return False
    return (buyer.virtual_node(key) is not None) is (sold is not None and sold.live)
