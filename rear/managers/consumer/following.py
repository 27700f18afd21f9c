"""Sellers are followed while something of theirs is open, so that both copies of a contract come to the same state."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import structlog

from rear.background import Pauses, Reconciler
from rear.domain.link import ContractCopy
from rear.domain.purchase import Purchase, give_up_id
from rear.domain.refusals import Refusal, TryAgain
from rear.managers.consumer.contracts import ConsumerContractManager
from rear.managers.consumer.peers import Unanswered
from rear.managers.consumer.sellers import Sellers

log = structlog.get_logger(__name__)

GIVEN_UP: Final = "the buyer had given it up"


class SellerFollower:
    """Watches each seller's contracts with this node, one stream for each seller with an open purchase."""

    def __init__(self, manager: ConsumerContractManager, sellers: Sellers) -> None:
        self._manager = manager
        self._sellers = sellers
        self._streams = Reconciler("sellers that are followed", self._follow)
        self._pauses = Pauses()
        manager.on_open = self._open

    @property
    def trouble(self) -> str | None:
        """Why some sellers are not followed; None while none is in trouble of our making."""
        return self._streams.trouble

    async def stop(self) -> None:
        """Ends all streams."""
        await self._streams.stop()

    def _open(self, purchase: Purchase) -> None:
        """A seller whose contract was seen is followed; until then there is nothing to be told of."""
        if purchase.copy is not None:
            self._streams.wake(_seller(purchase))

    def _known_of(self, seller: str) -> list[Purchase]:
        """The open purchases of a seller that it is known to have a contract for."""
        return [each for each in self._manager.open.values() if each.copy is not None and _seller(each) == seller]

    async def _follow(self, seller: str) -> float | None:
        """One stream, for as long as it lasts."""
        if not self._known_of(seller):
            return None
        endpoint, _, provider_id = seller.partition(" ")
        try:
            async with aclosing(self._sellers.watch(endpoint, provider_id)) as telling:
                told = set[str]()
                async for said in telling:
                    self._pauses.over(seller)
                    if said.anew:
                        told.clear()
                    for contract in said.contracts:
                        told.add(contract.id)
                        await self._take(contract, seller)
                    if said.complete:
                        await self._ask_for_the_others(seller, told)
                    if not self._known_of(seller):
                        return None
        except Unanswered as silence:
            log.info("a seller cannot be followed just now", seller=seller, because=str(silence))
        except TryAgain:
            raise
        except Refusal as refusal:
            log.warning("a seller does not let itself be followed", seller=seller, because=str(refusal))
            await self._ask_for_the_others(seller, set())
        return self._pauses.longer(seller)

    async def _take(self, contract: ContractCopy, seller: str) -> None:
        purchase = self._manager.find(contract.id)
        if purchase is None or _seller(purchase) != seller:
            return  # reserved by something else that is the same caller to the seller
        if purchase.open:
            await self._manager.hear(contract)
        elif purchase.undone is not None and contract.live:
            log.warning("a contract that was given up is there", contract=contract.id, because=purchase.undone.reason)
            await self._sellers.cancel(purchase.order, contract.id, give_up_id(contract.id), GIVEN_UP)

    async def _ask_for_the_others(self, seller: str, told: set[str]) -> None:
        """What was not told of, when all that lives was, has ended meanwhile, or the seller does not have it."""
        for purchase in self._known_of(seller):
            if purchase.id not in told:
                try:
                    await self._manager.ask(purchase)
                except TryAgain:
                    raise
                except Refusal as refusal:
                    log.warning("a seller does not tell of a contract", contract=purchase.id, because=str(refusal))


def _seller(purchase: Purchase) -> str:
    return f"{purchase.order.endpoint} {purchase.order.provider_id}"
