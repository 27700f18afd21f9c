"""Bytes that are no message, or too many: they reach the handler, so that they are refused like every bad request.

Otherwise gRPC itself would answer what is no message with UNKNOWN and the name of a Python exception. What is too long
is not read at all: in memory a message can take fifty times its bytes, and is there before anybody asks who sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from rear.domain.refusals import InvalidField
from rear.rpc.surrounding import Around

NOT_A_MESSAGE: Final = "is not a message of the type that this method takes"

LARGEST_REQUEST: Final = 256 * 1024
"""Bytes of a request that are looked at."""

LARGEST_RECEIVED: Final = 1024 * 1024
"""Bytes of a message that the transport takes; a larger one never reaches a handler."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Stands for a request that was not read, and says why."""

    because: str


def check_decoded(request: Message | Undecodable) -> None:
    """Refuses a request that was not read."""
    if isinstance(request, Undecodable):
        raise InvalidField("request", request.because)


class LenientServer:
    """What a generated `add_..._to_server` is given in place of the server."""

    def __init__(self, server: grpc.aio.Server, around: Sequence[Around] = ()) -> None:
        self._server = server
        self._around = around

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Takes nothing: the same handlers come by their names as well."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Registers the handlers of a service."""
        lenient = {name: _lenient(handler, f"{service}/{name}", self._around) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, lenient),))
        self._server.add_registered_method_handlers(service, lenient)  # type: ignore[attr-defined, unused-ignore]


def _lenient(handler: Any, rpc: str, around: Sequence[Around]) -> grpc.RpcMethodHandler[Any, Any]:
    if handler.request_streaming:
        raise ValueError("a method that takes a stream of requests reads them itself")
    read = _reader(handler.request_deserializer)
    if handler.response_streaming:
        stream = handler.unary_stream
        for one in around:
            stream = one.stream(rpc, stream)
        return grpc.unary_stream_rpc_method_handler(stream, read, handler.response_serializer)
    unary = handler.unary_unary
    for one in around:
        unary = one.unary(rpc, unary)
    return grpc.unary_unary_rpc_method_handler(unary, read, handler.response_serializer)


def _reader(read: Callable[[bytes], Message]) -> Callable[[bytes], Message | Undecodable]:
    def lenient(data: bytes) -> Message | Undecodable:
        if len(data) > LARGEST_REQUEST:
            return Undecodable(f"is {len(data)} bytes; {LARGEST_REQUEST} at most")
        try:
            return read(data)
        except DecodeError:
            return Undecodable(NOT_A_MESSAGE)

    return lenient
