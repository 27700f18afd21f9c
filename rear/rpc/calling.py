"""How one service is called: deadlines, attempts that are repeated, streams that go on, and typed failures.

Every read may be sent again, and so may every change, because it carries a `request_id`: the same request
with the same id has the effect of one. So a call outlives a restart of the service for as long as its caller
has patience.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import grpc
from google.protobuf.message import Message

from rear import tracing
from rear.domain.window import SECOND
from rear.rpc.handshake import explain
from rear.rpc.line import CONNECT_MS, Line
from rear.rpc.refused import CallFailed, Refused, Unreachable, failure_of
from rear.rpc.route import Route, read_endpoints
from rear.rpc.tls_files import TlsFiles

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0

MOST_SENT_ON: Final = 4
"""Connections that are kept beside those to the endpoints that were named: a service may send its callers anywhere."""

Answer = TypeVar("Answer")

Method = Callable[[Line], Callable[..., Awaitable[Answer]]]
"""Gives what calls a method on a line."""

StreamMethod = Callable[[Line], Callable[..., grpc.aio.UnaryStreamCall[Any, Answer]]]
"""The same for a method that is answered by a stream."""


class Caller:
    """What calls one service. Use it as an asynchronous context manager, or `close` it.

    `endpoint` may be several, separated by commas: where one gives no answer the next is asked. Where a service says
    that another process writes its ledger, the same request goes to that one.

    `timeout` is the deadline of each attempt in seconds, `patience` the seconds within which an attempt that
    got no answer is repeated (0: never). `caller` is the identity that the service knows this client by;
    without one it is the principal of a connection without TLS, and with `tls` that of the certificate. The files
    of `tls` are read again when they change. `provider_id` is who the service must prove to be (with `tls` only),
    or `anybody_of` its domain; without it, its certificate must be for the host of the endpoint. Calls raise
    `Refused` and `Unreachable`; making one raises `TlsError`.
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
        self._closing: set[asyncio.Task[None]] = set()
        self._under_way = 0
        link = self._line().link
        self.caller = caller if link is None else link.identity

    @property
    def endpoint(self) -> str:
        """The endpoint that is asked next."""
        return self._route.endpoint

    def add_endpoint(self, endpoint: str) -> None:
        """The service was heard at `endpoint`, too: it is asked there where it gives no answer."""
        self._route.add(endpoint)

    @property
    def proved(self) -> str:
        """Who the service that is asked next has proved to be; empty where nobody was expected, or not asked yet."""
        link = self._line().link
        return "" if link is None else link.proved

    @property
    def idle(self) -> bool:
        """Whether no call is under way, and no stream open."""
        return not self._under_way

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await asyncio.gather(*(line.close() for line in self._lines.values()), *self._closing)

    async def _change(self, method: Method[Answer], request: Message, request_id: str) -> Answer:
        # Without an id a repeated change would be a second one.
        return await self._call(method, request, patience=self.patience if request_id else 0.0)

    async def _call(self, method: Method[Answer], request: Any, *, patience: float | None = None) -> Answer:
        clock = asyncio.get_running_loop().time
        give_up = clock() + (self.patience if patience is None else patience)
        pause = FIRST_PAUSE
        with self._busy():
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

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _line(self) -> Line:
        """The line to the endpoint that is to be asked now."""
        line = self._lines.get(self.endpoint)
        if line is None:
            self._leave_others()
            line = self._lines[self.endpoint] = Line(self.endpoint, self._tls, self._provider_id)
        return line

    def _leave_others(self) -> None:
        """Closes the oldest connections to where a service has sent this caller on."""
        others = [endpoint for endpoint in self._lines if not self._route.named(endpoint)]
        for endpoint in others[: max(0, len(others) - MOST_SENT_ON + 1)]:
            task = asyncio.get_running_loop().create_task(self._lines.pop(endpoint).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

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

    async def _stream(
        self, method: StreamMethod[Answer], rest: Any, silence: float | None = None
    ) -> AsyncGenerator[Answer, None]:
        """What a stream answers. One that breaks is asked for again, with `rest` as it is by then.

        `silence` is the seconds without a message after which it is as good as broken.
        """
        clock = asyncio.get_running_loop().time
        give_up, pause = None, FIRST_PAUSE
        with self._busy():
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
