"""The one place that lets calls in: by who calls, and what the policy grants them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import grpc
import structlog

from rear.domain.refusals import PermissionDenied, Refusal
from rear.rpc.answering import Context, refuse
from rear.rpc.identity import Callers
from rear.rpc.policy import REQUIRED, Permission

log = structlog.get_logger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

MOST_TOLD: Final = 10_000
"""Refusals that are remembered, so that they are not logged again."""

REFUSED_TO_ALL: Final = "this service has no rule for {method}, and so it is refused to everybody"


class Guard(grpc.aio.ServerInterceptor):
    """Asks before every call of every service on the server whether its caller may make it."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._guarded: dict[str, tuple[Handler, Handler]] = {}
        self._told: set[tuple[str, str]] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of the call, behind the question; None where there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        known = self._guarded.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        guarded = _guarded(handler, _Door(method, self._callers, self._told))
        if method in REQUIRED:  # others are whatever a caller makes up, and would be kept for ever
            self._guarded[method] = handler, guarded
        return guarded


class _Door:
    """What one method asks of its callers."""

    def __init__(self, method: str, callers: Callers, told: set[tuple[str, str]]) -> None:
        """`told` has the refusals that were logged, at all doors."""
        self._method = method
        self._callers = callers
        self._required = REQUIRED.get(method)
        self._told = told

    def check(self, context: Context) -> None:
        """Raises NotAuthenticated or PermissionDenied."""
        caller = self._callers.identity_of(context)
        if self._required is None:
            raise PermissionDenied(REFUSED_TO_ALL.format(method=self._method), {"caller": caller})
        if not self._callers.allows(caller, self._required):
            raise _denied(caller, self._required, self._method)

    async def enter(self, context: Context) -> None:
        """Ends the call with its refusal where the caller may not make it."""
        try:
            self.check(context)
        except Refusal as refusal:
            self._tell(refusal)
            await refuse(context, refusal)

    def _tell(self, refusal: Refusal) -> None:
        """Logs it, once for each caller and RPC: one that does not stop asking must not fill the disk."""
        rpc = self._method if self._required is not None else ""
        telling = rpc, refusal.metadata.get("caller", refusal.message)
        if telling in self._told:
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told.add(telling)
        log.warning("refused", method=self._method, reason=refusal.reason, because=refusal.message)


_SHAPES: Final[Mapping[tuple[bool, bool], tuple[str, Callable[..., Any]]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}
"""By whether requests and responses are streams: the attribute of a handler, and what makes one."""


def _denied(caller: str, required: frozenset[Permission], method: str) -> PermissionDenied:
    wanted = " or ".join(sorted(required))
    return PermissionDenied(
        f"{caller} lacks the permission `{wanted}`, which {method.rpartition('/')[2]} needs; "
        "the provider's operator can grant it in the policy file",
        {"caller": caller, "permission": wanted},
    )


def _guarded(handler: Handler, door: _Door) -> Handler:
    inner: Any = handler
    name, make = _SHAPES[bool(handler.request_streaming), bool(handler.response_streaming)]
    behind = (_stream if handler.response_streaming else _single)(getattr(inner, name), door)
    guarded: Handler = make(behind, handler.request_deserializer, handler.response_serializer)
    return guarded


def _single(answer: Callable[[Any, Context], Awaitable[Any]], door: _Door) -> Callable[[Any, Context], Awaitable[Any]]:
    async def behind(request: Any, context: Context) -> Any:
        await door.enter(context)
        return await answer(request, context)

    return behind


def _stream(answer: Callable[[Any, Context], Any], door: _Door) -> Callable[[Any, Context], Any]:
    """A stream asks again before every message: what was granted at its beginning may have been taken away."""
    if inspect.isasyncgenfunction(answer):

        async def behind(request: Any, context: Context) -> AsyncIterator[Any]:
            await door.enter(context)
            async with aclosing(answer(request, context)) as responses:
                async for response in responses:
                    await door.enter(context)
                    yield response

        return behind

    async def before(request: Any, context: Context) -> None:
        await door.enter(context)
        await answer(request, context)

    return before
