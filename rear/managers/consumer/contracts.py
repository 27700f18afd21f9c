"""The consumer's Contract Manager: what was decided is asked of sellers until its outcome is known, and on record.

Whoever decides that something is to be reserved, purchased or cancelled commits a LinkRequested. Only once that is
durable it is sent, and then for as long as it takes: a restart at any point goes on from what the ledger says.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from rear import failpoints
from rear.background import Pauses, Reconciler
from rear.domain import virtual_node
from rear.domain.allocation import Allocation
from rear.domain.event import Cause
from rear.domain.events import AnyEvent
from rear.domain.link import ContractCopy, LinkVerb
from rear.domain.purchase import UNTRUE, PendingLink, Purchase
from rear.domain.refusals import CapacityExceeded, ContractNotFound, Refusal, RequestIdReused, TryAgain
from rear.domain.virtual_node import virtual_node_id
from rear.domain.window import SECOND, Duration, Instant
from rear.ledger.commit import Committed, Decision
from rear.ledger.writer import Writer
from rear.managers.consumer.peers import Unanswered
from rear.managers.consumer.sellers import NOTHING_THERE, Sellers, reason_of

log = structlog.get_logger(__name__)

OTHER_CALLER: Final = "CALLER_CHANGED"
"""The reason of a LinkUndone where the seller would take this node for somebody else than when it was decided."""

AT_ONCE: Final = 32
"""Requests to one seller side by side: thousands that wait for one that does not answer must not take up all time."""

IN_SLICE: Final = 64
"""Purchases that are read in one go at a start: a few milliseconds."""


class PurchaseArchive(Protocol):
    """The purchases' table: all of them, also those that are no longer in memory."""

    def purchase(self, contract_id: str) -> Purchase | None:
        """A purchase by its id; None where there is none."""
        ...


class ConsumerContractManager:
    """A listener of the writer: purchases with a request under way are brought on, each by itself."""

    def __init__(self, writer: Writer, archive: PurchaseArchive, sellers: Sellers) -> None:
        self.open: dict[str, Purchase] = {}
        """The open purchases, as they are on record: what is not durable yet is not acted upon."""
        self._writer = writer
        self._archive = archive
        self._sellers = sellers
        self._links = Reconciler("purchases", self._bring_on)
        self._pauses = Pauses()
        self._asking: defaultdict[str, asyncio.Semaphore] = defaultdict(partial(asyncio.Semaphore, AT_ONCE))
        self._heard: dict[str, ContractCopy | None] = {}
        """By the contracts that something is asked about: what was heard of them meanwhile, and is not on record."""
        self._sent: set[str] = set()
        """Reservations that were sent, or may have been, and whose outcome is not on record."""
        self.on_change: Callable[[Purchase], None] = lambda _: None
        """Told of each purchase that is open when this starts, and of each that changes."""

    @property
    def trouble(self) -> str | None:
        """Why some purchases do not come on; None while none is in trouble of our making."""
        return self._links.trouble

    async def start(self) -> None:
        """Goes on with what is open, once all of it has been read."""
        purchases = self._writer.state.purchases
        for number, contract_id in enumerate([*purchases]):
            purchases.get(contract_id)  # is kept once it was read
            if number % IN_SLICE == IN_SLICE - 1:
                await asyncio.sleep(0)
        for purchase in [*purchases.values()]:
            self._sent.add(purchase.id)
            self._note(purchase)

    async def stop(self) -> None:
        """Ends what is under way, wherever it stands."""
        await self._links.stop()

    def committed(self, batch: Sequence[Committed]) -> None:
        """Takes notice of purchases that have changed."""
        for item in batch:
            if isinstance(item.step.after, Purchase):
                self._note(item.step.after)

    def find(self, contract_id: str) -> Purchase | None:
        """A purchase as it is now, also one that has ended; None where there is none."""
        return self._writer.state.purchases.get(contract_id) or self._archive.purchase(contract_id)

    async def see(self, contract: ContractCopy, elapsed: Duration | None = None) -> bool:
        """Records what a sight of the contract changes; tells whether it changed anything."""

        def decide(purchase: Purchase, now: Instant) -> Sequence[AnyEvent]:
            allocation = self._virtual_node(purchase)
            return virtual_node.seen(purchase, allocation, contract, Cause(now, now), elapsed)

        return await self._record(contract.id, decide)

    async def hear(self, contract: ContractCopy) -> None:
        """Records what nobody asked for. While the seller's answer about it is awaited, that one is recorded first."""
        known = self.open.get(contract.id)
        if known is not None and known.copy is not None and contract.revision <= known.copy.revision:
            return
        if contract.id not in self._heard:
            await self.see(contract)
            return
        before = self._heard[contract.id]
        if before is None or contract.revision > before.revision:
            self._heard[contract.id] = contract

    async def ask(self, purchase: Purchase) -> bool:
        """Asks the seller how the contract stands, and records that; tells whether it changed anything.

        Raises Unanswered, and a Refusal other than that there is no such contract.
        """
        try:
            contract = await self._sellers.get_contract(purchase.order, purchase.id)
        except ContractNotFound as refusal:
            return await self._undo(purchase.id, refusal, None)
        return await self.see(contract)

    def _note(self, purchase: Purchase) -> None:
        if purchase.open:
            self.open[purchase.id] = purchase
        else:
            self.open.pop(purchase.id, None)
            self._pauses.over(purchase.id)
        if not purchase.open or purchase.copy is not None:
            self._sent.discard(purchase.id)
        self.on_change(purchase)
        if purchase.pending is not None:
            self._links.wake(purchase.id)

    async def _bring_on(self, contract_id: str) -> float | None:
        purchase = self.open.get(contract_id)
        if purchase is None:
            self._heard.pop(contract_id, None)
            return None
        async with self._asking[purchase.order.provider_id]:
            return await self._go_on(contract_id)

    async def _go_on(self, contract_id: str) -> float | None:
        """One attempt at what is asked of the seller, and what was heard of the contract meanwhile.

        Only the ledger's writer asks: another may have learnt of a refusal, and would not know what became of this.
        """
        await self._writer.sure()
        purchase = self.open.get(contract_id)
        if purchase is None:
            return 0.0
        moved = False
        if purchase.pending is not None:
            self._heard.setdefault(contract_id, None)
            moved = await self._try(purchase, purchase.pending)
        moved = await self._record_heard(contract_id) or moved
        if moved or self.open.get(contract_id) is not purchase:
            self._pauses.over(contract_id)
            return 0.0
        return None if purchase.pending is None else self._pauses.longer(contract_id)

    async def _try(self, purchase: Purchase, pending: PendingLink) -> bool:
        try:
            moved = await self._attempt(purchase, pending)
        except Unanswered as silence:
            if not self._pauses.waiting(purchase.id):  # once, and not each few seconds until the seller is back
                log.info("no answer of a seller", contract=purchase.id, because=str(silence))
            return False
        except TryAgain:
            raise
        except Refusal as refusal:
            log.warning("a seller does not tell", contract=purchase.id, reason=refusal.reason, because=str(refusal))
            return False
        if moved:
            failpoints.reach("links.observed")
        return moved

    async def _record_heard(self, contract_id: str) -> bool:
        """It stays until it is on record: it is told once."""
        moved = False
        while (heard := self._heard.get(contract_id)) is not None:
            moved = await self.see(heard) or moved
            if self._heard[contract_id] is heard:
                break
        self._heard.pop(contract_id, None)
        return moved

    async def _attempt(self, purchase: Purchase, pending: PendingLink) -> bool:
        match pending.verb:
            case LinkVerb.CANCEL if purchase.copy is not None or purchase.undone is not None:
                asking = self._sellers.cancel(purchase.order, purchase.id, pending.request_id, pending.reason)
                return await self._settle(purchase, asking)
            case LinkVerb.PURCHASE if purchase.copy is not None:
                revision = purchase.copy.revision
                asking = self._sellers.purchase(purchase.order, purchase.id, revision, pending.request_id)
                return await self._settle(purchase, asking)
            case _:
                # Of a cancel whose reservation is not known to have landed, this is how that becomes known.
                return await self._reserve(purchase)

    async def _reserve(self, purchase: Purchase) -> bool:
        leads_to = self._sellers.contract_id(purchase.order, purchase.request_id)
        if leads_to != purchase.id:
            changed = f"this node was somebody else to the seller when it decided: it would get contract {leads_to} now"
            return await self._undo(purchase.id, Refusal(changed), None, OTHER_CALLER)
        in_doubt, began = purchase.id in self._sent, asyncio.get_running_loop().time()
        self._sent.add(purchase.id)
        try:
            contract = await self._answer(self._sellers.reserve(purchase.order, purchase.request_id))
        except Unanswered as silence:
            if silence.reason != UNTRUE:
                raise
            return await self._give_up(purchase.id, UNTRUE, silence.message, self._since(began))
        except Refusal as refusal:
            failpoints.reach("links.answered")
            if isinstance(refusal, RequestIdReused) or (in_doubt and not isinstance(refusal, NOTHING_THERE)):
                return await self._give_up(purchase.id, reason_of(refusal), refusal.message, self._since(began))
            return await self._undo(purchase.id, refusal, self._since(began))
        return await self.see(contract, self._since(began))

    async def _settle(self, purchase: Purchase, asking: Awaitable[ContractCopy]) -> bool:
        """For a contract that is there: a refusal only says that it stands otherwise than was thought."""
        began = asyncio.get_running_loop().time()
        try:
            contract = await self._answer(asking)
        except Refusal as refusal:
            log.info("a contract stands otherwise", contract=purchase.id, reason=refusal.reason, because=str(refusal))
            return await self.ask(purchase)
        return await self.see(contract, self._since(began))

    async def _answer(self, asking: Awaitable[ContractCopy]) -> ContractCopy:
        failpoints.reach("links.before_sending")
        contract = await asking
        failpoints.reach("links.answered")
        return contract

    async def _give_up(self, contract_id: str, reason: str, message: str, elapsed: Duration) -> bool:
        def decide(purchase: Purchase, now: Instant) -> Sequence[AnyEvent]:
            allocation = self._virtual_node(purchase)
            return virtual_node.given_up(purchase, allocation, reason, message, Cause(now, now), elapsed)

        return await self._record(contract_id, decide)

    async def _undo(
        self, contract_id: str, refusal: Refusal, elapsed: Duration | None, reason: str | None = None
    ) -> bool:
        counter_offer = refusal.counter_offer if isinstance(refusal, CapacityExceeded) else None
        stable = reason or reason_of(refusal)

        def decide(purchase: Purchase, now: Instant) -> Sequence[AnyEvent]:
            allocation = self._virtual_node(purchase)
            cause = Cause(now, now)
            return virtual_node.undone(purchase, allocation, stable, refusal.message, cause, counter_offer, elapsed)

        return await self._record(contract_id, decide)

    def _virtual_node(self, purchase: Purchase) -> Allocation | None:
        """The allocation of the purchase, None where there is none that stands."""
        found = self._writer.state.allocations.get(virtual_node_id(purchase.id))
        return None if found is None or not found.stands else found

    async def _record(self, contract_id: str, decide: Callable[[Purchase, Instant], Iterable[AnyEvent]]) -> bool:
        def on_purchase(now: Instant) -> Decision[bool]:
            purchase = self._writer.state.purchases.get(contract_id)
            events = [] if purchase is None else [*decide(purchase, now)]
            return Decision(events, bool(events))

        return (await self._writer.submit(on_purchase)).answer

    @staticmethod
    def _since(began: float) -> Duration:
        return Duration(int((asyncio.get_running_loop().time() - began) * SECOND))
