"""Sellers that are followed may be out of order, in pieces, or mean harm: what is theirs harms nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from rear.domain.lifecycle import ContractState
from rear.domain.link import ContractCopy, Order
from rear.domain.purchase import UNTRUE
from rear.domain.refusals import PermissionDenied
from rear.managers.consumer.peers import Unanswered
from rear.managers.consumer.sellers import Told
from tests.buyer import Buyer, SellerInMemory, agree, order
from tests.seller import Seller, verb
from tests.waiting import eventually


async def held(buyer: Buyer, *request_ids: str) -> list[str]:
    keys = [await buyer.order(request_id, order()) for request_id in request_ids]
    await eventually(lambda: all(buyer.bought(key).state is ContractState.RESERVED for key in keys))
    return keys


async def revoke(seller: Seller, key: str) -> None:
    await seller.contracts.revoke(key, verb("k"), "gone", caller="admin", owner=None, validate_only=False)


async def test_a_seller_that_does_not_let_itself_be_followed_is_asked_and_may_be_silent_for_a_while(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(endpoint: str, provider_id: str) -> AsyncGenerator[Told, None]:
        raise PermissionDenied("nobody watches me")
        yield Told()

    monkeypatch.setattr(sellers, "watch", refuse)
    [key] = await held(buyer, "r1")
    sellers.loss = 1.0
    await revoke(seller, key)
    asked = len(sellers.asked)
    await eventually(lambda: len(sellers.asked) >= asked + 3)

    assert buyer.follower.trouble is None  # it is none of our making

    sellers.loss = 0.0
    await eventually(lambda: buyer.bought(key).state is ContractState.REVOKED)
    assert agree(buyer, seller, key)


async def test_a_contract_that_cannot_be_used_does_not_keep_the_others_from_ending(
    buyer: Buyer, seller: Seller, sellers: SellerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    unusable, *others = await held(buyer, "r1", "r2", "r3")
    await buyer.drop()
    for key in others:
        await revoke(seller, key)
    truly = sellers.get_contract

    async def lie(wanted: Order, contract_id: str) -> ContractCopy:
        if contract_id == unusable:
            raise Unanswered(13, "a contract in a state that nobody knows", UNTRUE)
        return await truly(wanted, contract_id)

    async def say_nothing(endpoint: str, provider_id: str) -> AsyncGenerator[Told, None]:
        yield Told(anew=True)
        yield Told(complete=True)
        await asyncio.Event().wait()

    monkeypatch.setattr(sellers, "get_contract", lie)
    monkeypatch.setattr(sellers, "watch", say_nothing)
    await buyer.open()

    await eventually(lambda: all(buyer.bought(key).state is ContractState.REVOKED for key in others))
    assert buyer.bought(unusable).open


async def test_a_seller_that_ends_each_stream_as_it_begins_is_not_asked_without_a_pause(
    buyer: Buyer, sellers: SellerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0

    async def end_at_once(endpoint: str, provider_id: str) -> AsyncGenerator[Told, None]:
        nonlocal opened
        opened += 1
        yield Told(anew=True)

    monkeypatch.setattr(sellers, "watch", end_at_once)
    await held(buyer, "r1")
    await asyncio.sleep(1.0)

    assert 1 < opened <= 6


async def test_another_service_is_not_believed_what_it_says_of_a_contract_with_the_seller(
    buyer: Buyer,
) -> None:
    [key] = await held(buyer, "r1")
    known = buyer.bought(key).copy
    assert known is not None
    lie = replace(known, state=ContractState.REVOKED, revision=9)

    assert await buyer.follower._take([lie], "10.9.9.9:1 spiffe://other.example/node/n9") == set()

    assert buyer.bought(key).state is ContractState.RESERVED
