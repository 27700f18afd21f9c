"""WatchContracts at the edge."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final
from uuid import uuid4

from rear.domain.refusals import InvalidField, PermissionDenied
from rear.ledger.position import Position, parse_position
from rear.managers.provider.contract_watches import Watched
from rear.managers.provider.contract_watching import ContractWatching, Kind, Told
from rear.managers.provider.provider import Provider
from rear.rpc.answering import Gate
from rear.rpc.identity import Callers
from rear.rpc.open_watches import OpenWatches
from rear.rpc.policy import ADMINISTRATORS, Permission
from rear.v1 import contract_pb2, watch_pb2
from rear.v1 import contract_service_pb2 as pb
from rear.wire.contracts import contract_to_proto
from rear.wire.values import write_instant

MOST_NAMED: Final = 1_000
LARGEST_RESPONSE: Final = 1024 * 1024
"""Bytes of contracts in one message of the stream: clients take 4 MiB by default."""

KINDS: Final[Mapping[Kind, watch_pb2.WatchKind.ValueType]] = {
    Kind.BEGUN: watch_pb2.WATCH_KIND_BEGUN,
    Kind.RESUMED: watch_pb2.WATCH_KIND_RESUMED,
    Kind.RESET: watch_pb2.WATCH_KIND_RESET,
    Kind.UPDATE: watch_pb2.WATCH_KIND_UPDATE,
    Kind.SYNCED: watch_pb2.WATCH_KIND_SYNCED,
    Kind.KEEP_ALIVE: watch_pb2.WATCH_KIND_KEEP_ALIVE,
}


class ContractWatch:
    """Answers those who watch contracts."""

    def __init__(self, watching: ContractWatching, provider: Provider, callers: Callers, gate: Gate) -> None:
        self._watching = watching
        self._provider = provider
        self._callers = callers
        self._gate = gate
        self._open = OpenWatches()

    async def answer(
        self, request: pb.WatchContractsRequest, caller: str
    ) -> AsyncGenerator[pb.WatchContractsResponse, None]:
        """What the caller is told. Raises Refusal and LedgerError."""
        with self._open.counted(caller):
            async with aclosing(self._answer(request, caller)) as responses:
                async for response in responses:
                    yield response

    async def _answer(
        self, request: pb.WatchContractsRequest, caller: str
    ) -> AsyncGenerator[pb.WatchContractsResponse, None]:
        self._provider.check_meant(request.provider_id)
        after = _position(request.after_position)
        watched = Watched(None if request.all_buyers else caller, _named(request.contract_ids))

        def check() -> None:
            self._gate.check()
            if request.all_buyers and not self._callers.allows(caller, ADMINISTRATORS):
                raise PermissionDenied(
                    f"{caller} lacks the permission `administer`, which all_buyers needs",
                    {"caller": caller, "permission": Permission.ADMINISTER},
                )

        check()
        subscription_id, told, own = str(uuid4()), "", self._provider.writer.position
        async with aclosing(self._watching.watch(watched, after, check)) as telling:
            async for one in telling:
                position = str(replace(own, sequence=one.sequence))
                for response in self._responses(one, told, position):
                    check()
                    response.subscription_id, subscription_id = subscription_id, ""
                    yield response
                told = position

    def _responses(self, told: Told, before: str, position: str) -> Iterator[pb.WatchContractsResponse]:
        """What is told, in messages that are not too long. Until the last of them, `before` is where to go on."""
        if told.kind is not Kind.UPDATE:
            yield self._response(told.kind, (), position)
            return
        part, size = list[contract_pb2.Contract](), 0
        for contract in told.contracts:
            message = contract_to_proto(contract, self._provider.provider_id)
            if part and size + message.ByteSize() > LARGEST_RESPONSE:
                yield self._response(told.kind, part, before)
                part, size = [], 0
            part.append(message)
            size += message.ByteSize()
        if part:
            yield self._response(told.kind, part, position)

    def _response(
        self, kind: Kind, contracts: Sequence[contract_pb2.Contract], position: str
    ) -> pb.WatchContractsResponse:
        response = pb.WatchContractsResponse(kind=KINDS[kind], contracts=contracts, position=position)
        write_instant(response.server_time, self._provider.writer.now())
        return response


def _position(text: str) -> Position | None:
    """Any position will do: where it cannot be gone on from, the watch begins anew."""
    position = parse_position(text) if text else None
    if text and position is None:
        raise InvalidField("after_position", "is not a position")
    return position


def _named(contract_ids: Sequence[str]) -> frozenset[str]:
    if len(contract_ids) > MOST_NAMED:
        raise InvalidField("contract_ids", f"has {len(contract_ids)}; {MOST_NAMED:,} at most")
    if "" in contract_ids:
        raise InvalidField("contract_ids", "has one that is empty")
    return frozenset(contract_ids)
