"""Sellers are followed while something of theirs is open, so that both copies of a contract come to the same state."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing
from typing import Final

import structlog

from rear.background import Pauses, Reconciler, all_of
from rear.domain.link import ContractCopy
from rear.domain.purchase import UNTRUE, Purchase, give_up_id
from rear.domain.refusals import Refusal, TryAgain
from rear.managers.consumer.contracts import ConsumerContractManager
from rear.managers.consumer.peers import Unanswered
from rear.managers.consumer.sellers import Sellers

log = structlog.get_logger(__name__)

GIVEN_UP: Final = "the buyer had given it up"

AT_ONCE: Final = 16
"""Questions to one seller side by side."""

LASTING: Final = 5.0
"""Seconds that a stream must have lasted for the next one to be opened at once: a seller may end each as it begins."""


class SellerFollower:
    """Watches each seller's contracts with this node, one stream for each seller with an open purchase."""

    def __init__(self, manager: ConsumerContractManager, sellers: Sellers) -> None:
        self._manager = manager
        self._sellers = sellers
        self._known: dict[str, set[str]] = {}
        """By seller, the open purchases that it is known to have a contract for."""
        self._streams = Reconciler("sellers that are followed", self._follow)
        self._pauses = Pauses()
        manager.on_change = self._note

    @property
    def trouble(self) -> str | None:
        """Why some sellers are not followed; None while none is in trouble of our making."""
        return self._streams.trouble

    async def stop(self) -> None:
        """Ends all streams."""
        await self._streams.stop()

    def _note(self, purchase: Purchase) -> None:
        """A seller whose contract was seen is followed; until then there is nothing to be told of."""
        seller = _seller(purchase)
        if purchase.open and purchase.copy is not None:
            self._known.setdefault(seller, set()).add(purchase.id)
            self._streams.wake(seller)
        elif seller in self._known:
            self._known[seller].discard(purchase.id)
            if not self._known[seller]:
                del self._known[seller]

    async def _follow(self, seller: str) -> float | None:
        """One stream, for as long as it lasts."""
        began = asyncio.get_running_loop().time()
        try:
            if seller in self._known:
                await self._listen(seller)
        except Unanswered as silence:
            if not self._pauses.waiting(seller):
                log.info("a seller cannot be followed just now", seller=seller, because=str(silence))
        lasted = asyncio.get_running_loop().time() - began
        if lasted >= LASTING or seller not in self._known:
            self._pauses.over(seller)
        return self._pauses.longer(seller) if seller in self._known else None

    async def _listen(self, seller: str) -> None:
        """Until nothing of the seller is open. Where it does not let itself be followed it is asked."""
        endpoint, _, provider_id = seller.rpartition(" ")
        account: set[str] | None = None
        """Those of ours that were told, where it is not complete yet."""
        try:
            async with aclosing(self._sellers.watch(endpoint, provider_id)) as telling:
                async for said in telling:
                    if said.anew:
                        account = set()
                    ours = await self._take(said.contracts, seller)
                    if account is not None:
                        account |= ours
                        if said.complete:
                            await self._ask_for_the_others(seller, account)
                            account = None
                    if seller not in self._known:
                        return
        except TryAgain:
            raise
        except Refusal as refusal:
            log.warning("a seller does not let itself be followed", seller=seller, because=str(refusal))
            await self._ask_for_the_others(seller, ())

    async def _take(self, contracts: Sequence[ContractCopy], seller: str) -> set[str]:
        """Takes notice of contracts; those for which something is open. What changes them is one commit or few."""
        ours = set[str]()
        taking = []
        for contract in contracts:
            purchase = self._manager.open.get(contract.id) or self._manager.find(contract.id)
            if purchase is None or _seller(purchase) != seller:
                continue  # reserved by something else that is the same caller to the seller
            if purchase.open:
                ours.add(contract.id)
                taking.append(self._manager.hear(contract))
            elif purchase.undone is not None and contract.live:
                log.warning(
                    "a contract that was given up is there", contract=contract.id, because=purchase.undone.reason
                )
                taking.append(self._give_up(purchase))
        await all_of(taking)
        return ours

    async def _give_up(self, purchase: Purchase) -> None:
        await self._sellers.cancel(purchase.order, purchase.id, give_up_id(purchase.id), GIVEN_UP)

    async def _ask_for_the_others(self, seller: str, told: Collection[str]) -> None:
        """What was not told of, when all that lives was, has ended meanwhile, or the seller does not have it."""
        others = [each for each in self._known.get(seller, ()) if each not in told]
        for begin in range(0, len(others), AT_ONCE):
            await all_of(map(self._ask, others[begin : begin + AT_ONCE]))

    async def _ask(self, contract_id: str) -> None:
        purchase = self._manager.open.get(contract_id)
        if purchase is None:
            return
        try:
            await self._manager.ask(purchase)
        except TryAgain:
            raise
        except Refusal as refusal:
            log.warning("a seller does not tell of a contract", contract=contract_id, because=str(refusal))
        except Unanswered as answer:
            if answer.reason != UNTRUE:
                raise
            log.warning("a seller tells of a contract what cannot be used", contract=contract_id, because=str(answer))


def _seller(purchase: Purchase) -> str:
    return f"{purchase.order.endpoint} {purchase.order.provider_id}"
