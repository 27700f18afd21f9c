"""ContractService: RESERVE_FLAVOUR, PURCHASE_FLAVOUR and what belongs to them, at the edge."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeVar

from google.protobuf.message import Message

from rear.domain.contract import VerbCommand, contract_id
from rear.domain.lifecycle import ContractState
from rear.domain.refusals import InvalidField, NotServed
from rear.domain.reservation import ReserveCommand
from rear.domain.window import Duration
from rear.managers.provider.contract_watching import ContractWatching
from rear.managers.provider.contracts import Answered, ContractManager
from rear.managers.provider.provider import Provider
from rear.rpc.answering import Context, Gate, answered, streamed
from rear.rpc.changing import LONGEST_REASON, check_request_id, fingerprint, text_from
from rear.rpc.contract_watch import ContractWatch
from rear.rpc.discovery_service import check_position
from rear.rpc.identity import Callers
from rear.rpc.paging import after_from, filters_of, page_size_from, page_token
from rear.rpc.policy import ADMINISTRATORS
from rear.v1 import contract_service_pb2 as pb
from rear.v1 import contract_service_pb2_grpc
from rear.wire.contracts import contract_to_proto, write_contract
from rear.wire.requests import duration_from, money_from, partition_from, states_from, window_from
from rear.wire.values import write_duration, write_instant

LONGEST_CHAIN_ID: Final = 64

R = TypeVar(
    "R",
    pb.ReserveFlavourResponse,
    pb.PurchaseFlavourResponse,
    pb.CancelContractResponse,
    pb.RevokeContractResponse,
    pb.GetContractResponse,
)

Verb = pb.PurchaseFlavourRequest | pb.CancelContractRequest | pb.RevokeContractRequest


class ContractServicer(contract_service_pb2_grpc.ContractServiceServicer):
    """Answers for this service's own contracts."""

    def __init__(
        self, manager: ContractManager, watching: ContractWatching, provider: Provider, callers: Callers, gate: Gate
    ) -> None:
        self.gate = gate
        self._manager = manager
        self._watch = ContractWatch(watching, provider, callers, gate)
        self._provider = provider
        self._callers = callers

    @answered
    async def ReserveFlavour(self, request: pb.ReserveFlavourRequest, context: Context) -> pb.ReserveFlavourResponse:
        """Holds a partition of a flavour for a window."""
        self._provider.check_meant(request.provider_id)
        check_request_id(request.request_id)
        self._check_served(request)
        caller = self._callers.identity_of(context)
        has = request.HasField
        command = ReserveCommand(
            contract_id=contract_id(self._provider.provider_id, caller, request.request_id),
            flavour_id=request.flavour_id,
            partition=partition_from(request.partition if has("partition") else None, "partition"),
            window=window_from(request.window if has("window") else None, "window"),
            ttp=duration_from(request.ttp if has("ttp") else None, "ttp"),
            confirm=request.confirm,
            max_price=money_from(request.max_price if has("max_price") else None, "max_price"),
            priority=request.priority,
            fingerprint=fingerprint(request),
            chain_id=text_from(request.chain_id, "chain_id", LONGEST_CHAIN_ID),
        )
        answer = await self._manager.reserve(
            command, caller=caller, request_id=request.request_id, validate_only=request.validate_only
        )
        response = self._filled(pb.ReserveFlavourResponse(), answer)
        _write_ttp(response, answer)
        return response

    @answered
    async def PurchaseFlavour(self, request: pb.PurchaseFlavourRequest, context: Context) -> pb.PurchaseFlavourResponse:
        """Buys what was reserved."""
        command = self._verb(request)
        answer = await self._manager.purchase(
            request.contract_id,
            command,
            caller=self._callers.identity_of(context),
            validate_only=request.validate_only,
        )
        return self._filled(pb.PurchaseFlavourResponse(), answer)

    @answered
    async def CancelContract(self, request: pb.CancelContractRequest, context: Context) -> pb.CancelContractResponse:
        """Ends a contract for its buyer, or by an administrator, who is recorded as the one who did."""
        command = self._verb(request)
        caller = self._callers.identity_of(context)
        answer = await self._manager.cancel(
            request.contract_id,
            command,
            text_from(request.reason, "reason", LONGEST_REASON),
            caller=caller,
            owner=self._owner(caller),
            validate_only=request.validate_only,
        )
        return self._filled(pb.CancelContractResponse(), answer)

    @answered
    async def RevokeContract(self, request: pb.RevokeContractRequest, context: Context) -> pb.RevokeContractResponse:
        """Ends a contract for its seller."""
        command = self._verb(request)
        if not request.reason:
            raise InvalidField("reason", "is required: what the buyer is told")
        caller = self._callers.identity_of(context)
        answer = await self._manager.revoke(
            request.contract_id,
            command,
            text_from(request.reason, "reason", LONGEST_REASON),
            caller=caller,
            owner=self._owner(caller),
            validate_only=request.validate_only,
        )
        return self._filled(pb.RevokeContractResponse(), answer)

    @answered
    async def GetContract(self, request: pb.GetContractRequest, context: Context) -> pb.GetContractResponse:
        """Gets one contract of the caller's; an administrator gets anybody's."""
        self._provider.check_meant(request.provider_id)
        owner = self._owner(self._callers.identity_of(context))
        answer = await self._manager.get(request.contract_id, owner=owner)
        response = self._filled(pb.GetContractResponse(), answer)
        _write_ttp(response, answer)
        return response

    @answered
    async def ListContracts(self, request: pb.ListContractsRequest, context: Context) -> pb.ListContractsResponse:
        """Lists the caller's contracts in pages."""
        size = page_size_from(request.page_size)
        check_position(self._provider, request.at_least_position, "at_least_position")
        caller = self._callers.identity_of(context)
        states = sorted(states_from(request.states, "states"), key=lambda state: state.value)
        filters = filters_of(caller, ",".join(state.value for state in states), request.pool_id)
        page = await self._manager.page(
            caller=caller,
            states=states,
            pool_id=request.pool_id,
            after=after_from(request.page_token, filters),
            limit=size,
        )
        response = pb.ListContractsResponse(
            contracts=[contract_to_proto(found, self._provider.provider_id) for found in page.contracts],
            next_page_token=page_token(page.next_after, filters),
            position=page.position,
        )
        write_instant(response.server_time, page.at)
        return response

    @streamed
    async def WatchContracts(
        self, request: pb.WatchContractsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchContractsResponse, None]:
        """Tells of the caller's contracts; an administrator may ask for everybody's."""
        async with aclosing(self._watch.answer(request, self._callers.identity_of(context))) as responses:
            async for response in responses:
                yield response

    def subject_of(self, request: Message, context: Context) -> dict[str, str]:
        """The contract that a request is about, for an answer that its outcome is open."""
        if isinstance(request, pb.ReserveFlavourRequest):
            caller = self._callers.identity_of(context)
            return {"contract_id": contract_id(self._provider.provider_id, caller, request.request_id)}
        return {"contract_id": str(getattr(request, "contract_id", ""))}

    def _filled(self, response: R, answer: Answered) -> R:
        """The response with the contract, the instant and the position of an answer."""
        response.position = answer.position
        write_contract(response.contract, answer.contract, self._provider.provider_id)
        write_instant(response.server_time, answer.at)
        return response

    def _owner(self, caller: str) -> str | None:
        """Whose contracts the caller may read and cancel; None: anybody's."""
        return None if self._callers.allows(caller, ADMINISTRATORS) else caller

    def _verb(self, request: Verb) -> VerbCommand:
        self._provider.check_meant(request.provider_id)
        check_request_id(request.request_id)
        revision = request.revision if request.HasField("revision") else None
        return VerbCommand(request.request_id, fingerprint(request), revision)

    def _check_served(self, request: pb.ReserveFlavourRequest) -> None:
        if request.HasField("group"):
            raise NotServed("group", "this service does not serve groups; reserve each member by itself")
        if request.HasField("route"):
            seller = request.route.route.seller_id
            if seller and seller != self._provider.provider_id:
                raise NotServed("route", f"this service sells its own flavours only, not those of {seller}")


def _write_ttp(response: pb.ReserveFlavourResponse | pb.GetContractResponse, answer: Answered) -> None:
    contract = answer.contract
    if contract.state is ContractState.RESERVED and contract.purchase_before is not None:
        remaining = max(0, contract.purchase_before - answer.at)
        write_duration(response.ttp_remaining, Duration(remaining))
        response.ttp_remaining.SetInParent()
