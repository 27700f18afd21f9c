"""A client of one service: deadlines, retries that have one effect, and typed failures.

Every read may be sent again, and so may every change, because it carries a `request_id`: the same request
with the same id has the effect of one. So a call outlives a restart of the service for as long as its caller
has patience.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import grpc
from google.protobuf.message import Message

from rear import tracing
from rear.domain.contract import contract_id
from rear.domain.window import SECOND
from rear.rpc.handshake import explain
from rear.rpc.line import CONNECT_MS, Line
from rear.rpc.refused import CallFailed, Refused, Unreachable, UntrueAnswer, failure_of
from rear.rpc.route import Route, read_endpoints
from rear.rpc.tls_files import TlsFiles
from rear.v1 import (
    audit_service_pb2,
    contract_pb2,
    contract_service_pb2,
    discovery_service_pb2,
    fabric_service_pb2,
)

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0

SILENCE: Final = 20.0
"""Seconds without a word after which a watch is as good as broken: a service says something every few seconds."""

Answer = TypeVar("Answer")

Method = Callable[[Line], Callable[..., Awaitable[Answer]]]
"""Gives what calls a method on a line."""

StreamMethod = Callable[[Line], Callable[..., grpc.aio.UnaryStreamCall[Any, Answer]]]
"""The same for a method that is answered by a stream."""


class Client:
    """Calls one service. Use it as an asynchronous context manager, or `close` it.

    `endpoint` may be several, separated by commas: where one gives no answer the next is asked. Where a service says
    that another process writes its ledger, the same request goes to that one.

    `timeout` is the deadline of each attempt in seconds, `patience` the seconds within which an attempt that
    got no answer is repeated (0: never). `caller` is the identity that the service knows this client by;
    without one it is the principal of a connection without TLS, and with `tls` that of the certificate. The files
    of `tls` are read again when they change. `provider_id` is who the service must prove to be (with `tls` only),
    or `anybody_of` its domain; without it, its certificate must be for the host of the endpoint. Methods raise
    `Refused`, `Unreachable` and `UntrueAnswer`; making a client raises `TlsError`.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout: float = 10.0,
        patience: float = 2.0,
        caller: str | None = None,
        tls: TlsFiles | None = None,
        provider_id: str | None = None,
    ) -> None:
        self.timeout = timeout
        self.patience = patience
        self._tls = tls
        self._provider_id = provider_id
        self._route = Route(read_endpoints(endpoint))
        self._lines: dict[str, Line] = {}
        link = self._line().link
        self.caller = caller if link is None else link.identity

    @property
    def endpoint(self) -> str:
        """The endpoint that is asked next."""
        return self._route.endpoint

    @property
    def proved(self) -> str:
        """Who the service that is asked next has proved to be; empty where nobody was expected, or not asked yet."""
        link = self._line().link
        return "" if link is None else link.proved

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await asyncio.gather(*(line.close() for line in self._lines.values()))

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

    async def _stream(
        self, method: StreamMethod[Answer], rest: Any, silence: float | None = None
    ) -> AsyncGenerator[Answer, None]:
        """What a stream answers. One that breaks is asked for again, with `rest` as it is by then.

        `silence` is the seconds without a message after which it is as good as broken.
        """
        clock = asyncio.get_running_loop().time
        give_up, pause = None, FIRST_PAUSE
        while True:
            began = clock()
            call: grpc.aio.UnaryStreamCall[Any, Answer] | None = None
            line = self._line()
            try:
                await line.prepare()
                call = method(line)(rest)
                while (response := await _next(call, silence)) is not None:
                    give_up, pause = None, FIRST_PAUSE
                    self._route.answered()
                    yield response
                return
            except (grpc.aio.AioRpcError, CallFailed) as error:
                now = clock()
                # One that lasted longer than connecting can take was a stream, if a silent one.
                if give_up is None or now - began > 2 * CONNECT_MS / 1_000:
                    give_up, pause = now + self.patience, FIRST_PAUSE
                pause = await self._wait(line, error, pause, give_up - now)
            finally:
                if call is not None:
                    call.cancel()

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

    async def _change(self, method: Method[Answer], request: Message, request_id: str) -> Answer:
        # Without an id a repeated change would be a second one.
        return await self._call(method, request, patience=self.patience if request_id else 0.0)

    async def _call(self, method: Method[Answer], request: Any, *, patience: float | None = None) -> Answer:
        clock = asyncio.get_running_loop().time
        give_up = clock() + (self.patience if patience is None else patience)
        pause = FIRST_PAUSE
        while True:
            line = self._line()
            try:
                await line.prepare()
                with tracing.span(request.DESCRIPTOR.full_name.removesuffix("Request"), "CLIENT"):
                    answer = await method(line)(request, timeout=self.timeout, metadata=tracing.outgoing())
                self._route.answered()
                return answer
            except (grpc.aio.AioRpcError, CallFailed) as error:
                pause = await self._wait(line, error, pause, give_up - clock())

    def _line(self) -> Line:
        """The line to the endpoint that is to be asked now."""
        line = self._lines.get(self.endpoint)
        if line is None:
            line = self._lines[self.endpoint] = Line(self.endpoint, self._tls, self._provider_id)
        return line

    async def _wait(self, line: Line, error: grpc.aio.AioRpcError | CallFailed, pause: float, left: float) -> float:
        """Wait before the next attempt, as `_pause`. A failure to connect is explained where it can be."""
        failure = error if isinstance(error, CallFailed) else failure_of(error)
        nobody = isinstance(failure, Unreachable) and not failure.reason
        if nobody:
            line.doubt()
        if self._route.move(line.endpoint, failure):
            return pause
        try:
            return await _pause(failure, pause, left)
        except Unreachable:
            if nobody and failure.code is grpc.StatusCode.UNAVAILABLE:
                failure.message = await explain(line.endpoint, self._tls) or failure.message
            raise


def anonymous_caller(provider_id: str) -> str:
    """Who a caller without TLS is to the provider `spiffe://<domain>/<role>/<service>`."""
    domain = provider_id.removeprefix("spiffe://").partition("/")[0]
    return f"spiffe://{domain}/local/anonymous"


async def _next(call: grpc.aio.UnaryStreamCall[Any, Answer], silence: float | None) -> Answer | None:
    """The next message of a stream; None at its end. Raises Unreachable where nothing comes for too long."""
    try:
        async with asyncio.timeout(silence):
            message = await call.read()
    except TimeoutError:
        why = f"nothing was heard from it for {silence:g} s"
        raise Unreachable(grpc.StatusCode.DEADLINE_EXCEEDED, why) from None
    return None if message is grpc.aio.EOF else cast(Answer, message)


async def _pause(failure: CallFailed, pause: float, left: float) -> float:
    """Wait before the next attempt and give the pause after it; raise `failure` where there is none to be."""
    wanted = pause * random.uniform(0.5, 1.0)
    if failure.retry_after is not None:
        wanted = max(wanted, failure.retry_after / SECOND)
    if isinstance(failure, Refused) or wanted >= left:
        raise failure from None
    await asyncio.sleep(wanted)
    return min(2 * pause, LONGEST_PAUSE)
