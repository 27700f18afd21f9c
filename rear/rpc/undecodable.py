"""Bytes that are no message: they reach the handler, so that they are refused like every other bad request.

Otherwise gRPC itself would answer them with UNKNOWN and the name of a Python exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from rear.domain.refusals import InvalidField
from rear.rpc.surrounding import Around

NOT_A_MESSAGE: Final = "is not a message of the type that this method takes"


class Undecodable:
    """Stands for a request that could not be read."""


def check_decoded(request: Message | Undecodable) -> None:
    """Refuses a request that could not be read."""
    if isinstance(request, Undecodable):
        raise InvalidField("request", NOT_A_MESSAGE)


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
        try:
            return read(data)
        except DecodeError:
            return Undecodable()

    return lenient
