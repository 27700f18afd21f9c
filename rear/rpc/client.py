"""A client of one service: each of its methods is one call, and tells failures by their type."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from rear.domain.contract import contract_id
from rear.rpc.calling import Caller
from rear.rpc.refused import UntrueAnswer
from rear.v1 import (
    audit_service_pb2,
    contract_pb2,
    contract_service_pb2,
    discovery_service_pb2,
    fabric_service_pb2,
)

SILENCE: Final = 20.0
"""Seconds without a word after which a watch is as good as broken: a service says something every few seconds."""


class Client(Caller):
    """Calls a provider, as a `Caller` does. Methods raise `Refused`, `Unreachable` and `UntrueAnswer`."""

    async def list_flavours(
        self, request: discovery_service_pb2.ListFlavoursRequest
    ) -> discovery_service_pb2.ListFlavoursResponse:
        """LIST_FLAVOURS."""
        return await self._call(lambda line: line.discovery.ListFlavours, request)

    async def get_flavour(
        self, request: discovery_service_pb2.GetFlavourRequest
    ) -> discovery_service_pb2.GetFlavourResponse:
        """One flavour."""
        return await self._call(lambda line: line.discovery.GetFlavour, request)

    async def reserve_flavour(
        self, request: contract_service_pb2.ReserveFlavourRequest
    ) -> contract_service_pb2.ReserveFlavourResponse:
        """RESERVE_FLAVOUR. Raises `UntrueAnswer` where the contract is not the one that was asked for."""
        response = await self._change(lambda line: line.contracts.ReserveFlavour, request, request.request_id)
        self._check(request, response.contract)
        return response

    async def purchase_flavour(
        self, request: contract_service_pb2.PurchaseFlavourRequest
    ) -> contract_service_pb2.PurchaseFlavourResponse:
        """PURCHASE_FLAVOUR."""
        return await self._change(lambda line: line.contracts.PurchaseFlavour, request, request.request_id)

    async def cancel_contract(
        self, request: contract_service_pb2.CancelContractRequest
    ) -> contract_service_pb2.CancelContractResponse:
        """End a contract."""
        return await self._change(lambda line: line.contracts.CancelContract, request, request.request_id)

    async def revoke_contract(
        self, request: contract_service_pb2.RevokeContractRequest
    ) -> contract_service_pb2.RevokeContractResponse:
        """End a contract for its seller."""
        return await self._change(lambda line: line.contracts.RevokeContract, request, request.request_id)

    async def get_contract(
        self, request: contract_service_pb2.GetContractRequest
    ) -> contract_service_pb2.GetContractResponse:
        """One contract."""
        return await self._call(lambda line: line.contracts.GetContract, request)

    async def list_contracts(
        self, request: contract_service_pb2.ListContractsRequest
    ) -> contract_service_pb2.ListContractsResponse:
        """One page of contracts."""
        return await self._call(lambda line: line.contracts.ListContracts, request)

    async def contracts(
        self, request: contract_service_pb2.ListContractsRequest
    ) -> AsyncIterator[contract_pb2.Contract]:
        """The contracts of all pages, from that of `request` on."""
        page = contract_service_pb2.ListContractsRequest()
        page.CopyFrom(request)
        while True:
            response = await self.list_contracts(page)
            for contract in response.contracts:
                yield contract
            if not response.next_page_token:
                return
            page.page_token = response.next_page_token

    async def request_resources(
        self, request: fabric_service_pb2.RequestResourcesRequest
    ) -> fabric_service_pb2.RequestResourcesResponse:
        """The resources of a contract. The answer has a credential: do not log it."""
        return await self._call(lambda line: line.fabric.RequestResources, request)

    async def events(
        self, request: audit_service_pb2.ReadEventsRequest
    ) -> AsyncGenerator[audit_service_pb2.RecordedEvent, None]:
        """The events that `request` asks for, each once.

        A stream that breaks goes on after the last event that was seen.
        """
        rest = audit_service_pb2.ReadEventsRequest()
        rest.CopyFrom(request)
        async with aclosing(self._stream(lambda line: line.audit.ReadEvents, rest)) as responses:
            async for response in responses:
                for event in response.events:
                    yield event
                    rest.after_position, rest.last = event.position, 0
                    if rest.limit:
                        rest.limit -= 1
                        if not rest.limit:
                            return

    async def watch_contracts(
        self, request: contract_service_pb2.WatchContractsRequest
    ) -> AsyncGenerator[contract_service_pb2.WatchContractsResponse, None]:
        """What there is to say of the contracts that `request` asks for, for as long as it is asked.

        A stream that breaks, or of which nothing was heard for `SILENCE` seconds, goes on after the last position that
        was seen, and begins with RESUMED or RESET again.
        """
        rest = contract_service_pb2.WatchContractsRequest()
        rest.CopyFrom(request)
        async with aclosing(self._stream(lambda line: line.contracts.WatchContracts, rest, SILENCE)) as responses:
            async for response in responses:
                yield response
                rest.after_position = response.position

    def contract_id(self, provider_id: str, request_id: str) -> str:
        """The id of the contract that a reservation with `request_id` leads to at this provider."""
        return contract_id(provider_id, self.caller or anonymous_caller(provider_id), request_id)

    def _check(self, request: contract_service_pb2.ReserveFlavourRequest, contract: contract_pb2.Contract) -> None:
        if request.validate_only:
            return
        if request.provider_id and contract.provider_id != request.provider_id:
            raise UntrueAnswer(f"asked provider {request.provider_id}, but {contract.provider_id or 'nobody'} answered")
        expected = self.contract_id(contract.provider_id, request.request_id)
        if contract.contract_id != expected:
            raise UntrueAnswer(
                f"the provider answered with contract {contract.contract_id or '(none)'}, "
                f"but this request leads to {expected}"
            )


def anonymous_caller(provider_id: str) -> str:
    """Who a caller without TLS is to the provider `spiffe://<domain>/<role>/<service>`."""
    domain = provider_id.removeprefix("spiffe://").partition("/")[0]
    return f"spiffe://{domain}/local/anonymous"
