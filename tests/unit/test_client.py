"""The client against a provider of the test's own: retries, restarts, and what failures say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from rear.domain.contract import contract_id
from rear.rpc.calling import MOST_SENT_ON
from rear.rpc.client import Client, anonymous_caller
from rear.rpc.link import _certificate_of
from rear.rpc.refused import DETAILS_KEY, Refused, Unreachable, UntrueAnswer, Violation
from rear.rpc.tls_files import TlsFiles
from rear.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    contract_pb2,
    contract_service_pb2,
    contract_service_pb2_grpc,
)

PROVIDER = "spiffe://campus.example/node/a"
BUYER = "spiffe://campus.example/local/anonymous"

Context = grpc.aio.ServicerContext[Message, Message]


def _details(code: grpc.StatusCode, *details: Message) -> tuple[tuple[str, bytes], ...]:
    status = status_pb2.Status(code=code.value[0], message="no")
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return ((DETAILS_KEY, status.SerializeToString()),)


class Contracts(contract_service_pb2_grpc.ContractServiceServicer):
    """Answers every reservation, after whatever `before` does with it."""

    def __init__(self) -> None:
        self.seen: list[contract_service_pb2.ReserveFlavourRequest] = []
        self.contract_id = ""
        self.before: Callable[[Context, int], Awaitable[None]] | None = None

    async def ReserveFlavour(
        self, request: contract_service_pb2.ReserveFlavourRequest, context: Context
    ) -> contract_service_pb2.ReserveFlavourResponse:
        self.seen.append(request)
        if self.before is not None:
            await self.before(context, len(self.seen))
        identity = self.contract_id or contract_id(PROVIDER, BUYER, request.request_id)
        return contract_service_pb2.ReserveFlavourResponse(
            contract=contract_pb2.Contract(contract_id=identity, provider_id=PROVIDER)
        )

    async def ListContracts(
        self, request: contract_service_pb2.ListContractsRequest, context: Context
    ) -> contract_service_pb2.ListContractsResponse:
        first = int(request.page_token or 0)
        return contract_service_pb2.ListContractsResponse(
            contracts=[contract_pb2.Contract(contract_id=str(n)) for n in range(first, first + 2)],
            next_page_token=str(first + 2) if first < 4 else "",
        )

    async def WatchContracts(
        self, request: contract_service_pb2.WatchContractsRequest, context: Context
    ) -> AsyncIterator[contract_service_pb2.WatchContractsResponse]:
        """Two messages, and then not a word more: first it hangs, then it breaks off, and so on."""
        first = int(request.after_position or 0) + 1
        for number in (first, first + 1):
            yield contract_service_pb2.WatchContractsResponse(position=str(number))
        if first % 4 == 1:
            await asyncio.Event().wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")


class Audit(audit_service_pb2_grpc.AuditServiceServicer):
    """A ledger of five events that breaks off after every second one."""

    async def ReadEvents(
        self, request: audit_service_pb2.ReadEventsRequest, context: Context
    ) -> AsyncIterator[audit_service_pb2.ReadEventsResponse]:
        first = int(request.after_position or 0) + 1
        if request.last:
            first = 6 - request.last
        for number in range(first, min(first + 2, 6)):
            event = audit_service_pb2.RecordedEvent(position=str(number), sequence=number)
            yield audit_service_pb2.ReadEventsResponse(events=[event])
        if first + 2 < 6:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")


class Fake:
    """A provider on a port of its own that can be stopped and started again."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"127.0.0.1:{port}"
        self.contracts = Contracts()  # type: ignore[abstract]
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        contract_service_pb2_grpc.add_ContractServiceServicer_to_server(self.contracts, self._server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(Audit(), self._server)
        self._server.add_insecure_port(self.endpoint)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    provider = Fake(port)
    await provider.start()
    yield provider
    await provider.stop()


def _reserve(**more: str | bool) -> contract_service_pb2.ReserveFlavourRequest:
    request = contract_service_pb2.ReserveFlavourRequest(flavour_id="a-1", request_id="r-1")
    for name, value in more.items():
        setattr(request, name, value)
    return request


async def test_a_refusal_carries_every_detail(fake: Fake) -> None:
    async def refuse(context: Context, attempt: int) -> None:
        violation = error_details_pb2.BadRequest.FieldViolation(field="partition.pods", description="is odd")
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        details = _details(
            code,
            error_details_pb2.ErrorInfo(reason="CAPACITY_EXCEEDED", domain="rear.v1", metadata={"pool": "a"}),
            error_details_pb2.BadRequest(field_violations=[violation]),
            error_details_pb2.Help(),
            contract_pb2.CounterOffer(flavour_id="a-2"),
        )
        await context.abort(code, "no", trailing_metadata=details)

    fake.contracts.before = refuse
    async with Client(fake.endpoint) as client:
        with pytest.raises(Refused) as caught:
            await client.reserve_flavour(_reserve())
    refused = caught.value
    assert (refused.code, refused.reason, refused.message) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "CAPACITY_EXCEEDED",
        "no",
    )
    assert refused.metadata == {"pool": "a"}
    assert refused.violations == (Violation("partition.pods", "is odd"),)
    assert refused.counter_offer == contract_pb2.CounterOffer(flavour_id="a-2")
    assert len(fake.contracts.seen) == 1


async def test_details_that_cannot_be_read_leave_code_and_message(fake: Fake) -> None:
    async def refuse(context: Context, attempt: int) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no", trailing_metadata=((DETAILS_KEY, b"\xff\xff"),))

    fake.contracts.before = refuse
    async with Client(fake.endpoint) as client:
        with pytest.raises(Refused) as caught:
            await client.reserve_flavour(_reserve())
    assert (caught.value.code, caught.value.message, caught.value.reason) == (
        grpc.StatusCode.NOT_FOUND,
        "no",
        "",
    )


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED]
)
async def test_the_same_request_is_sent_again_while_there_is_no_answer(fake: Fake, code: grpc.StatusCode) -> None:
    async def fail_twice(context: Context, attempt: int) -> None:
        if attempt <= 2:
            await context.abort(code, "wait")

    fake.contracts.before = fail_twice
    async with Client(fake.endpoint, patience=20) as client:
        await client.reserve_flavour(_reserve())
    assert fake.contracts.seen == [_reserve()] * 3


async def test_a_change_without_request_id_is_sent_once(fake: Fake) -> None:
    async def fail(context: Context, attempt: int) -> None:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "wait")

    fake.contracts.before = fail
    async with Client(fake.endpoint, patience=20) as client:
        with pytest.raises(Unreachable):
            await client.reserve_flavour(_reserve(request_id=""))
    assert len(fake.contracts.seen) == 1


async def test_the_providers_delay_is_kept(fake: Fake) -> None:
    async def ask_for_patience(context: Context, attempt: int) -> None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(60_000)
        code = grpc.StatusCode.UNAVAILABLE
        await context.abort(code, "no", trailing_metadata=_details(code, retry))

    fake.contracts.before = ask_for_patience
    async with Client(fake.endpoint, patience=10) as client:
        # It would be over the patience, so there is no use in waiting.
        with pytest.raises(Unreachable) as caught:
            await asyncio.wait_for(client.reserve_flavour(_reserve()), 5)
    assert caught.value.retry_after == 60_000_000_000
    assert len(fake.contracts.seen) == 1


async def test_a_call_outlives_a_restart(fake: Fake) -> None:
    arrived = asyncio.Event()

    async def hang_once(context: Context, attempt: int) -> None:
        if attempt == 1:
            arrived.set()
            await asyncio.Event().wait()

    fake.contracts.before = hang_once
    async with Client(fake.endpoint, timeout=30, patience=30) as client:
        call = asyncio.create_task(client.reserve_flavour(_reserve()))
        await arrived.wait()
        await fake.stop()
        await fake.start()
        response = await call
    assert response.contract.contract_id == contract_id(PROVIDER, BUYER, "r-1")
    assert fake.contracts.seen == [_reserve()] * 2


async def test_one_that_sends_its_callers_anywhere_takes_up_a_few_connections_only(fake: Fake) -> None:
    async def send_on(context: Context, attempt: int) -> None:
        code = grpc.StatusCode.UNAVAILABLE
        info = error_details_pb2.ErrorInfo(reason="NOT_WRITER", metadata={"endpoint": f"127.0.0.1:{attempt}"})
        await context.abort(code, "not I", trailing_metadata=_details(code, info))

    fake.contracts.before = send_on
    async with Client(fake.endpoint, patience=0.05) as client:
        for _ in range(20):
            with pytest.raises(Unreachable):
                await client.reserve_flavour(_reserve())
        assert len(fake.contracts.seen) > 10
        assert len(client._lines) <= 1 + MOST_SENT_ON


async def test_what_is_no_endpoint_is_unreachable_with_tls_as_without() -> None:
    with pytest.raises(Unreachable):
        await _certificate_of("nowhere", TlsFiles(Path("cert"), Path("key"), Path("ca")))


async def test_a_provider_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        async with Client(f"127.0.0.1:{probe.getsockname()[1]}", patience=0.2) as client:
            with pytest.raises(Unreachable) as nobody:
                await client.reserve_flavour(_reserve())
    assert nobody.value.message == "cannot connect: Connection refused"


async def test_what_listens_but_does_not_speak_grpc_is_told_so() -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 400 Bad request\r\n\r\n")
        await writer.drain()

    server = await asyncio.start_server(speak_http, "127.0.0.1", 0)
    async with server, Client(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", patience=0.2) as client:
        with pytest.raises(Unreachable) as no_service:
            await client.reserve_flavour(_reserve())
    assert no_service.value.message == "cannot connect: it does not speak gRPC"


async def test_another_contract_than_the_one_asked_for_is_not_believed(fake: Fake) -> None:
    fake.contracts.contract_id = contract_id(PROVIDER, BUYER, "somebody else's")
    async with Client(fake.endpoint) as client:
        with pytest.raises(UntrueAnswer, match="this request leads to"):
            await client.reserve_flavour(_reserve())


async def test_another_provider_than_the_one_asked_is_not_believed(fake: Fake) -> None:
    async with Client(fake.endpoint) as client:
        await client.reserve_flavour(_reserve(provider_id=PROVIDER))
        with pytest.raises(UntrueAnswer, match="node/b"):
            await client.reserve_flavour(_reserve(provider_id="spiffe://campus.example/node/b"))


async def test_contracts_of_all_pages_are_read(fake: Fake) -> None:
    async with Client(fake.endpoint) as client:
        found = [one.contract_id async for one in client.contracts(contract_service_pb2.ListContractsRequest())]
    assert found == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("request_", "numbers"),
    [
        (audit_service_pb2.ReadEventsRequest(), [1, 2, 3, 4, 5]),
        (audit_service_pb2.ReadEventsRequest(limit=4), [1, 2, 3, 4]),
        (audit_service_pb2.ReadEventsRequest(last=4), [2, 3, 4, 5]),
        (audit_service_pb2.ReadEventsRequest(after_position="3"), [4, 5]),
    ],
)
async def test_a_broken_stream_of_events_goes_on_where_it_broke(
    fake: Fake, request_: audit_service_pb2.ReadEventsRequest, numbers: list[int]
) -> None:
    async with Client(fake.endpoint, patience=20) as client:
        assert [event.sequence async for event in client.events(request_)] == numbers


async def test_a_watch_that_breaks_or_falls_silent_goes_on_where_it_was(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rear.rpc.client.SILENCE", 0.2)
    seen: list[str] = []
    request = contract_service_pb2.WatchContractsRequest()
    async with Client(fake.endpoint, patience=20) as client, aclosing(client.watch_contracts(request)) as messages:
        while len(seen) < 7:
            seen.append((await anext(messages)).position)
    assert seen == ["1", "2", "3", "4", "5", "6", "7"]


async def test_a_watch_of_a_service_that_stays_silent_fails_once_patience_is_over(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rear.rpc.client.SILENCE", 0.2)
    request = contract_service_pb2.WatchContractsRequest()
    async with Client(fake.endpoint, patience=0) as client, aclosing(client.watch_contracts(request)) as messages:
        assert [(await anext(messages)).position for _ in range(2)] == ["1", "2"]
        with pytest.raises(Unreachable, match="nothing was heard"):
            await anext(messages)


def test_the_anonymous_caller_is_of_the_providers_domain() -> None:
    assert anonymous_caller(PROVIDER) == BUYER
