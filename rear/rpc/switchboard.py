"""Which handlers calls reach: those of the writer's services while there is one, else a refusal.

The server outlives what answers on it: a process may become its ledger's writer, lose that, and become it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc

from rear.domain.refusals import Refusal
from rear.rpc.answering import Context, refuse

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: its full name, and what adds its handlers to a server."""

    name: str
    add_to: Callable[[grpc.aio.Server], None]


class Switchboard(grpc.GenericRpcHandler):
    """The handlers of a server, which may change while it runs. `why_not` makes the refusal while there are none."""

    def __init__(self, names: Iterable[str], why_not: Callable[[], Refusal]) -> None:
        self._prefixes = tuple(f"/{name}/" for name in names)
        self._handlers: Mapping[str, Handler] | None = None
        self._refusing: Handler = grpc.unary_unary_rpc_method_handler(self._refuse)
        self._why_not = why_not

    def connect(self, services: Sequence[Service], wrap: Callable[[grpc.aio.Server], grpc.aio.Server]) -> None:
        """From now on calls reach these services. `wrap` gives what stands between them and the server."""
        collected = _Collected()
        for service in services:
            service.add_to(wrap(cast(grpc.aio.Server, collected)))
        self._handlers = collected.handlers

    def disconnect(self) -> None:
        """From now on calls are refused. Those that have reached a service are its own."""
        self._handlers = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a call; None where no service here has such a method."""
        if self._handlers is not None:
            return self._handlers.get(handler_call_details.method)
        if handler_call_details.method.startswith(self._prefixes):
            return self._refusing
        return None

    async def _refuse(self, request: bytes, context: Context) -> bytes:
        await refuse(context, self._why_not())


class _Collected:
    """What services take for a server."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Takes nothing: the same handlers come by their names as well."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes a service's handlers."""
        self.handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}
