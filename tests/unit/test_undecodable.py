"""Requests that are not read, because they are no messages or too long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from rear.domain.refusals import InvalidField
from rear.rpc.undecodable import LARGEST_REQUEST, LenientServer, check_decoded
from rear.v1 import contract_service_pb2 as pb


class _Server:
    """Keeps the handlers that it is given."""

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        pass

    def add_registered_method_handlers(self, _: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self.handlers = handlers


def read(data: bytes) -> Any:
    server: Any = _Server()
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, _: request, pb.ReserveFlavourRequest.FromString, pb.ReserveFlavourResponse.SerializeToString
    )
    LenientServer(server).add_registered_method_handlers("rear.v1.ContractService", {"ReserveFlavour": handler})
    return server.handlers["ReserveFlavour"].request_deserializer(data)


def test_a_request_is_read() -> None:
    request = pb.ReserveFlavourRequest(chain_id="c")
    assert read(request.SerializeToString()) == request


def test_what_is_too_long_is_not_even_read() -> None:
    too_long = pb.ReserveFlavourRequest(chain_id="c" * LARGEST_REQUEST).SerializeToString()
    found = read(too_long)
    assert not isinstance(found, pb.ReserveFlavourRequest)
    with pytest.raises(InvalidField, match=f"is {len(too_long)} bytes; {LARGEST_REQUEST} at most"):
        check_decoded(found)


def test_what_is_no_message_is_refused_like_a_bad_field() -> None:
    with pytest.raises(InvalidField, match="is not a message of the type"):
        check_decoded(read(b"\xff"))
