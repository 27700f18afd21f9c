"""Calls to sellers of contracts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator
from contextlib import aclosing
from typing import Final, Protocol

import structlog

from rear.domain.link import ContractCopy, Order
from rear.domain.window import AskedWindow
from rear.managers.consumer.sellers import Told
from rear.rpc.client import Client
from rear.rpc.peers import RpcPeers, understood
from rear.rpc.refused import UntrueAnswer
from rear.v1 import contract_pb2, watch_pb2
from rear.v1 import contract_service_pb2 as pb
from rear.wire.heard import Unusable, contract_from
from rear.wire.values import write_asked_window, write_duration, write_money, write_partition

log = structlog.get_logger(__name__)

DEADLINE: Final = 5.0
"""Seconds that a seller is given for one answer."""

AT_ONCE: Final = 64
"""Contracts that are told at once: others are to run between them, however many a seller tells of."""

LONGEST_REASON: Final = 256
"""Characters of a reason that a seller takes."""

ANEW: Final = frozenset({watch_pb2.WATCH_KIND_BEGUN, watch_pb2.WATCH_KIND_RESET})


class _Answer(Protocol):
    @property
    def contract(self) -> contract_pb2.Contract: ...


class RpcSellers:
    """`Sellers` over gRPC, on the connections of `peers`."""

    def __init__(self, peers: RpcPeers, *, deadline: float = DEADLINE) -> None:
        self._peers = peers
        self._deadline = deadline

    def contract_id(self, order: Order, request_id: str) -> str:
        """The id of the contract that a reservation with `request_id` leads to."""
        with understood(order.endpoint, self._deadline):
            return self._client(order).contract_id(order.provider_id, request_id)

    async def reserve(self, order: Order, request_id: str) -> ContractCopy:
        """RESERVE_FLAVOUR."""
        request = reserve_request(order, request_id)
        with understood(order.endpoint, self._deadline):
            client = self._client(order)
            expected = client.contract_id(order.provider_id, request_id)
            return await self._contract(client.reserve_flavour(request), expected)

    async def purchase(self, order: Order, contract_id: str, revision: int, request_id: str) -> ContractCopy:
        """PURCHASE_FLAVOUR."""
        request = pb.PurchaseFlavourRequest(
            provider_id=order.provider_id, contract_id=contract_id, revision=revision, request_id=request_id
        )
        with understood(order.endpoint, self._deadline):
            return await self._contract(self._client(order).purchase_flavour(request), contract_id)

    async def cancel(self, order: Order, contract_id: str, request_id: str, reason: str) -> ContractCopy:
        """Ends a contract, whatever its revision."""
        request = pb.CancelContractRequest(
            provider_id=order.provider_id,
            contract_id=contract_id,
            request_id=request_id,
            reason=reason[:LONGEST_REASON],
        )
        with understood(order.endpoint, self._deadline):
            return await self._contract(self._client(order).cancel_contract(request), contract_id)

    async def get_contract(self, order: Order, contract_id: str) -> ContractCopy:
        """One contract."""
        request = pb.GetContractRequest(provider_id=order.provider_id, contract_id=contract_id)
        with understood(order.endpoint, self._deadline):
            return await self._contract(self._client(order).get_contract(request), contract_id)

    async def watch(self, endpoint: str, provider_id: str) -> AsyncGenerator[Told, None]:
        """The caller's contracts: those that live, and then every change."""
        request = pb.WatchContractsRequest(provider_id=provider_id)
        with understood(endpoint, self._deadline):
            client = self._peers.client(endpoint, provider_id)
            async with aclosing(client.watch_contracts(request)) as responses:
                async for response in responses:
                    yield Told((), response.kind in ANEW)
                    for begin in range(0, len(response.contracts), AT_ONCE):
                        yield Told(tuple(_usable(response.contracts[begin : begin + AT_ONCE])))
                        await asyncio.sleep(0)
                    if response.kind == watch_pb2.WATCH_KIND_SYNCED:
                        yield Told(complete=True)

    def _client(self, order: Order) -> Client:
        return self._peers.client(order.endpoint, order.provider_id)

    async def _contract(self, asking: Awaitable[_Answer], expected: str) -> ContractCopy:
        async with asyncio.timeout(self._deadline):
            answer = await asking
        contract = contract_from(answer.contract)
        if contract.id != expected:
            raise UntrueAnswer(f"the seller answered with contract {contract.id[:64] or '(none)'}, not {expected}")
        return contract


def _usable(messages: Iterable[contract_pb2.Contract]) -> Iterator[ContractCopy]:
    """One that cannot be used says nothing of the others."""
    for message in messages:
        try:
            yield contract_from(message)
        except Unusable as unusable:
            log.warning("a seller tells of a contract that cannot be used", because=str(unusable))


def reserve_request(order: Order, request_id: str) -> pb.ReserveFlavourRequest:
    """The request for a reservation that an order stands for; equal orders give equal requests."""
    request = pb.ReserveFlavourRequest(
        provider_id=order.provider_id,
        flavour_id=order.flavour_id,
        confirm=order.confirm,
        priority=order.priority,
        request_id=request_id,
    )
    write_partition(request.partition, order.partition)
    if order.window != AskedWindow():
        write_asked_window(request.window, order.window)
    if order.ttp is not None:
        write_duration(request.ttp, order.ttp)
    if order.max_price is not None:
        write_money(request.max_price, order.max_price)
    return request
