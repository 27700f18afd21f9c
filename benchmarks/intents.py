"""From an intent to active resources on both sides: two nodes on loopback, with what each phase has of it.

Each intent asks one core of the neighbour, because the consumer has none; contracts stay until the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import grpc
from google.longrunning import operations_pb2 as operations_pb
from google.longrunning import operations_pb2_grpc

from benchmarks.figures import Figure, at_most, rates
from benchmarks.load import DEADLINE, Round, drive
from benchmarks.plan import Plan
from benchmarks.processes import Running, running_node
from benchmarks.session import WrongAnswer
from rear.event.v1.envelope_pb2 import Envelope
from rear.v1.audit_service_pb2 import ReadEventsRequest
from rear.v1.audit_service_pb2_grpc import AuditServiceStub
from rear.v1.contract_service_pb2 import ReserveFlavourRequest
from rear.v1.contract_service_pb2_grpc import ContractServiceStub
from rear.v1.intent_pb2 import Component, Intent
from rear.v1.intent_service_pb2 import SubmitIntentRequest
from rear.v1.intent_service_pb2_grpc import IntentServiceStub
from rear.v1.service_request_pb2 import ServiceRequest, ServiceRequestState

if TYPE_CHECKING:
    from rear.v1.audit_service_pb2_grpc import AuditServiceAsyncStub
    from rear.v1.contract_service_pb2_grpc import ContractServiceAsyncStub
    from rear.v1.intent_service_pb2_grpc import IntentServiceAsyncStub

TARGET: Final = at_most(100)
"""Milliseconds from SubmitIntent to active allocations on both sides."""

AT_ONCE: Final = 8
WARM_UP: Final = 5
CORE: Final = 1_000

PHASES: Final = (
    ("accept", "submitted"),
    ("look", "intent_accepted"),
    ("ask", "component_planned"),
    ("reserve", "candidate_chosen"),
    ("record", "contract_reserved"),
    ("purchase", "reserved_seen"),
    ("peer", "agreed_seen"),
    ("activate", "peered_there"),
    ("tell", "request_ready"),
)
"""Each phase, and the moment at which it begins. It lasts until the next one that there is begins."""


@dataclass(slots=True)
class Asked:
    """One intent: when it was handed in and when it was told to be ready, in seconds of the machine's clock."""

    service_request_id: str
    submitted: float
    told: float


class Owner:
    """Hands in intents and waits for them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._intents: IntentServiceAsyncStub = IntentServiceStub(channel)
        self._operations = operations_pb2_grpc.OperationsStub(channel)
        self.asked: list[Asked] = []

    async def ask(self, name: str) -> None:
        """One intent, until its resources are active. Raises WrongAnswer where they do not become so."""
        request = SubmitIntentRequest(intent=intent(name), request_id=name)
        begun = time.time()
        operation = await self._intents.SubmitIntent(request, timeout=DEADLINE)
        while not operation.done:
            wait = operations_pb.WaitOperationRequest(name=operation.name)
            wait.timeout.FromSeconds(10)
            operation = await self._operations.WaitOperation(wait, timeout=DEADLINE)
        reached = ServiceRequest()
        if not operation.response.Unpack(reached):
            raise WrongAnswer(f"an intent was not fulfilled: {operation.error.message}")
        if reached.state != ServiceRequestState.SERVICE_REQUEST_STATE_READY:
            raise WrongAnswer(f"an intent is done and not ready: {ServiceRequestState.Name(reached.state)}")
        self.asked.append(Asked(reached.service_request_id, begun, time.time()))


def intent(name: str) -> Intent:
    """One component of one core."""
    component = Component(name="web")
    component.partition.quantities.cpu_millicores = CORE
    component.workload.command.append("/bin/serve")
    return Intent(name=name, components=[component])


async def measure(plan: Plan, directory: Path) -> list[Figure]:
    """One intent after the other, then several at once, and reservations at the provider beside them."""
    async with _neighbours(plan, directory) as (consumer, provider):
        async with grpc.aio.insecure_channel(consumer.endpoint) as channel:
            owner = Owner(channel)
            await drive(owner.ask, _names("warm", WARM_UP), 1)
            owner.asked.clear()
            before = consumer.worked, provider.worked
            alone = await drive(owner.ask, _names("alone", plan.intents), 1)
            worked = consumer.worked - before[0], provider.worked - before[1]
            asked = list(owner.asked)
            together = await drive(owner.ask, _names("together", plan.intents), AT_ONCE)
        reserved = await _reservations(provider, plan.intents)
        moments = await _moments(consumer, provider, asked)
    return [
        *rates("alone", "intents, 1 in flight", [alone]),
        Figure("alone_target_ms", "p50 against its target", 1_000 * alone.percentile(50), "ms", TARGET),
        *_phases(moments),
        Figure("consumer_worked_ms", "consumer, processor time of each", 1_000 * worked[0] / plan.intents, "ms"),
        Figure("provider_worked_ms", "provider, processor time of each", 1_000 * worked[1] / plan.intents, "ms"),
        *rates("together", f"intents, {AT_ONCE} in flight", [together]),
        *rates("reserve", "reserve at the provider, 1 in flight", [reserved]),
        Figure("in_reserves", "p50 of an intent in reserves", alone.percentile(50) / reserved.percentile(50), "×"),
    ]


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(count)]


@contextlib.asynccontextmanager
async def _neighbours(plan: Plan, directory: Path) -> AsyncIterator[tuple[Running, Running]]:
    """A consumer that has next to nothing, and a provider with room for everything."""
    stock = {"consumer": "500m", "provider": str(4 * plan.intents + 100)}
    for name, cpu in stock.items():
        policies = "policies: {partitionability: {minimum: {cpu: 100m}, step: {cpu: 100m}}}"
        entry = f"{{id: {name}-pool, type: k8slice, quantities: {{cpu: {cpu}}}, {policies}}}"
        (directory / f"{name}.yaml").write_text(f"pools: [{entry}]\n")

    def node(name: str, *options: str) -> contextlib.AbstractAsyncContextManager[Running]:
        return running_node(directory / name, directory / f"{name}.yaml", ("--name", name, *options))

    async with node("provider") as provider, node("consumer", "--neighbour", provider.endpoint) as consumer:
        yield consumer, provider


async def _reservations(provider: Running, count: int) -> Round:
    """As many reservations of a core at the provider, one after the other."""
    async with grpc.aio.insecure_channel(provider.endpoint) as channel:
        contracts: ContractServiceAsyncStub = ContractServiceStub(channel)
        requests = [ReserveFlavourRequest(flavour_id="provider-pool-1", request_id=name) for name in _names("r", count)]
        for request in requests:
            request.partition.quantities.cpu_millicores = CORE
        return await drive(partial(contracts.ReserveFlavour, timeout=DEADLINE), requests, 1)


# -- phases ------------------------------------------------------------------------------------------------


async def _moments(consumer: Running, provider: Running, asked: Iterable[Asked]) -> list[dict[str, float]]:
    """When each intent came how far, by the events of both ledgers: seconds of the machine's clock."""
    ours, theirs = await asyncio.gather(_events(consumer), _events(provider))
    by_request: dict[str, dict[str, float]] = defaultdict(dict)
    links: dict[str, str] = {}
    for envelope in (*ours, *theirs):
        _, kind, key = envelope.subject.rsplit(".", 2)
        body, at = str(envelope.WhichOneof("body")), envelope.recorded_time.ToNanoseconds() / 1e9
        match kind, body:
            case "request", _:
                by_request[key].setdefault(body, at)
            case "purchase", "link_requested":
                links.setdefault(key, getattr(envelope, body).service_request_id)
            case "purchase", "link_observed":
                found = by_request[links[key]]
                found.setdefault("agreed_seen" if "reserved_seen" in found else "reserved_seen", at)
    for envelope in theirs:
        _, kind, key = envelope.subject.rsplit(".", 2)
        body, at = str(envelope.WhichOneof("body")), envelope.recorded_time.ToNanoseconds() / 1e9
        request = links.get(key.removesuffix("-provider"))
        if request is not None and body in ("contract_reserved", "contract_purchased"):
            by_request[request].setdefault(body, at)
        elif request is not None and body == "allocation_peered":
            by_request[request].setdefault("peered_there", at)
    return [{**by_request[one.service_request_id], "submitted": one.submitted, "told": one.told} for one in asked]


async def _events(node: Running) -> list[Envelope]:
    async with grpc.aio.insecure_channel(node.endpoint) as channel:
        audit: AuditServiceAsyncStub = AuditServiceStub(channel)
        pages = audit.ReadEvents(ReadEventsRequest())
        return [Envelope.FromString(event.payload) async for page in pages for event in page.events]


def _phases(moments: Sequence[Mapping[str, float]]) -> list[Figure]:
    """The median of each phase."""
    lasted: dict[str, list[float]] = defaultdict(list)
    for reached in moments:
        begun = [(phase, reached[moment]) for phase, moment in PHASES if moment in reached]
        for (phase, at), (_, until) in zip(begun, [*begun[1:], ("", reached["told"])], strict=True):
            lasted[phase].append(until - at)
    return [
        Figure(f"phase_{phase}_ms", f"of it: {phase}", 1_000 * median(lasted[phase]), "ms")
        for phase, _ in PHASES
        if phase in lasted
    ]
