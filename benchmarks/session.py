"""A node under test and a client of it, on the generated stubs as any user has them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from benchmarks.load import DEADLINE, Round, drive
from benchmarks.market import Buyer, Machine, write_inventory
from benchmarks.processes import Running, running_node
from rear.event.v1.envelope_pb2 import Envelope
from rear.v1.audit_service_pb2 import ReadEventsRequest
from rear.v1.audit_service_pb2_grpc import AuditServiceStub
from rear.v1.contract_pb2 import CONTRACT_STATE_RESERVED
from rear.v1.contract_service_pb2 import CancelContractRequest, ReserveFlavourRequest, ReserveFlavourResponse
from rear.v1.contract_service_pb2_grpc import ContractServiceStub
from rear.v1.discovery_service_pb2_grpc import DiscoveryServiceStub

if TYPE_CHECKING:
    from rear.v1.audit_service_pb2_grpc import AuditServiceAsyncStub
    from rear.v1.contract_service_pb2_grpc import ContractServiceAsyncStub
    from rear.v1.discovery_service_pb2_grpc import DiscoveryServiceAsyncStub

WARM_UP = 100
"""Calls before anything is measured."""


class WrongAnswer(Exception):
    """The node answered what it must not, so that its figures mean nothing."""


class Session:
    """Calls one node, and keeps account of what it said OK to."""

    def __init__(self, node: Running, channel: grpc.aio.Channel) -> None:
        self.node = node
        self.contracts: ContractServiceAsyncStub = ContractServiceStub(channel)
        self.discovery: DiscoveryServiceAsyncStub = DiscoveryServiceStub(channel)
        self._audit: AuditServiceAsyncStub = AuditServiceStub(channel)
        self._sold: set[str] = set()

    @property
    def sold(self) -> int:
        """How many reservations were answered OK so far."""
        return len(self._sold)

    async def reserve(
        self,
        requests: Sequence[ReserveFlavourRequest],
        in_flight: int,
        answers: list[ReserveFlavourResponse] | None = None,
    ) -> Round:
        """Reserves all of it. Raises where one answer is not a reservation."""
        found: list[ReserveFlavourResponse] = [] if answers is None else answers
        call = partial(self.contracts.ReserveFlavour, timeout=DEADLINE)
        took = await drive(call, requests, in_flight, found)
        if any(answer.contract.state != CONTRACT_STATE_RESERVED for answer in found):
            raise WrongAnswer("a reservation was answered OK but is not RESERVED")
        self._sold.update(request.request_id for request in requests)
        return took

    async def cancel(self, answers: Sequence[ReserveFlavourResponse]) -> None:
        """Ends these contracts."""
        requests = [
            CancelContractRequest(
                contract_id=answer.contract.contract_id, request_id=f"cancel-{answer.contract.contract_id}"
            )
            for answer in answers
        ]
        await drive(partial(self.contracts.CancelContract, timeout=DEADLINE), requests, 64)

    async def last_events(self, count: int) -> list[tuple[str, bytes]]:
        """Subjects and payloads of the newest events."""
        pages = self._audit.ReadEvents(ReadEventsRequest(last=count))
        return [(event.subject, event.payload) async for page in pages for event in page.events]

    async def prove(self) -> None:
        """Holds the ledger against what was answered: each OK must be there exactly once."""
        pages = self._audit.ReadEvents(ReadEventsRequest(aggregate_type="contract"))
        begun: list[str] = []
        async for page in pages:
            for event in page.events:
                envelope = Envelope.FromString(event.payload)
                if envelope.HasField("contract_reserved"):
                    begun.append(envelope.request_id)
        if len(begun) != len(self._sold) or set(begun) != self._sold:
            raise WrongAnswer(f"{len(self._sold)} reservations were answered OK, the ledger has {len(begun)}")


@contextlib.asynccontextmanager
async def new_node(directory: Path, pools: list[Machine]) -> AsyncIterator[Session]:
    """A node with an empty ledger and these pools, in `directory`; proves its ledger at the end."""
    async with running_node(directory / "state", write_inventory(directory, pools)) as node, connected(node) as session:
        yield session
        await session.prove()


@contextlib.asynccontextmanager
async def connected(node: Running) -> AsyncIterator[Session]:
    """A client of a running node."""
    async with grpc.aio.insecure_channel(node.endpoint) as channel:
        yield Session(node, channel)


async def warm_up(session: Session, buyer: Buyer) -> list[ReserveFlavourResponse]:
    """A few reservations that are not measured."""
    answers: list[ReserveFlavourResponse] = []
    await session.reserve(buyer.reservations(WARM_UP), 16, answers)
    return answers
