"""Reservations spread over all pools, beside a bare echo and a bare batch on the ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import grpc

from benchmarks.echo_server import METHOD, SERVICE
from benchmarks.figures import Figure, at_least, at_most, rates, ratios
from benchmarks.load import DEADLINE, Round, drive
from benchmarks.market import Buyer, machines
from benchmarks.plan import Plan
from benchmarks.processes import Running, running_echo
from benchmarks.session import Session, new_node, warm_up
from rear.ledger.chain import GENESIS, link
from rear.ledger.connection import Connection
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.stream import EventStream, Outgoing

TARGETS: Final = {64: at_least(0.45)}
"""Of reserve beside echo, by how many calls are in flight."""

BATCHES: Final = at_most(1.5)
EVENTS: Final = 3
"""Events of one reservation."""


async def measure(plan: Plan, directory: Path) -> list[Figure]:
    """Echo and reserve in turns, at each number in flight."""
    pools = machines(plan.pools)
    buyer = Buyer(pools)
    figures: list[Figure] = []
    async with new_node(directory / "reserve", pools) as session:
        answers = await warm_up(session, buyer)
        size = round(median(answer.ByteSize() for answer in answers))
        events = (await session.last_events(EVENTS))[-EVENTS:]
        async with (
            running_echo(directory, size) as server,
            _calls(server) as echo,
            _bare_ledger(directory / "bare", events) as append,
        ):
            for in_flight, calls in plan.calls:
                if in_flight == 1:
                    figures += await _one_by_one(plan, calls, session, buyer, echo, append)
                else:
                    figures += await _side_by_side(plan, in_flight, calls, session, buyer, server, echo)
    requests = buyer.reservations(1_000)
    return [
        Figure("request_bytes", "request, mean", sum(r.ByteSize() for r in requests) / len(requests), "bytes"),
        Figure("response_bytes", "response, median", size, "bytes"),
        *figures,
    ]


Echo = Callable[[bytes], Awaitable[bytes]]
Append = Callable[[], Awaitable[None]]


async def _side_by_side(
    plan: Plan, in_flight: int, calls: int, session: Session, buyer: Buyer, server: Running, echo: Echo
) -> list[Figure]:
    echoed, reserved, server_worked, node_worked = [], [], [], []
    for _ in range(plan.pairs):
        requests = buyer.reservations(calls)
        before = server.worked
        echoed.append(await drive(echo, [request.SerializeToString() for request in requests], in_flight))
        server_worked.append(server.worked - before)
        before = session.node.worked
        reserved.append(await session.reserve(requests, in_flight))
        node_worked.append(session.node.worked - before)
    key, label = f"{in_flight}_in_flight", f"{in_flight} in flight"
    return [
        *rates(f"echo_{key}", f"echo, {label}", echoed),
        _worked(f"echo_{key}", "echo server, processor time of each", server_worked, calls),
        *rates(f"reserve_{key}", f"reserve, {label}", reserved),
        _worked(f"reserve_{key}", "node, processor time of each", node_worked, calls),
        *ratios(f"ratio_{key}", f"reserve / echo, {label}", reserved, echoed, TARGETS.get(in_flight)),
    ]


def _worked(key: str, label: str, seconds: Sequence[float], calls: int) -> Figure:
    """What one call cost a server: unlike rates, comparable from one hour to the next on a machine that is shared."""
    return Figure(f"{key}_processor_us", label, median(seconds) / calls * 1e6, "µs")


async def _one_by_one(
    plan: Plan, calls: int, session: Session, buyer: Buyer, echo: Echo, append: Append
) -> list[Figure]:
    echoed, batched, reserved = [], [], []
    for _ in range(plan.pairs):
        requests = buyer.reservations(calls)
        echoed.append(await drive(echo, [request.SerializeToString() for request in requests], 1))
        batched.append(await _repeat(append, calls))
        reserved.append(await session.reserve(requests, 1))
    above = [
        (reserve.percentile(50) - one.percentile(50)) / batch.percentile(50)
        for one, batch, reserve in zip(echoed, batched, reserved, strict=True)
    ]
    return [
        *rates("echo_1_in_flight", "echo, 1 in flight", echoed),
        *rates("batch_of_three", "bare atomic batch of three events", batched),
        *rates("reserve_1_in_flight", "reserve, 1 in flight", reserved),
        *ratios("ratio_1_in_flight", "reserve / echo, 1 in flight", reserved, echoed),
        Figure("batches_above_echo", "p50 of reserve above echo's, in batches", median(above), "batches", BATCHES),
    ]


async def _repeat(append: Append, times: int) -> Round:
    latencies = []
    begun = time.perf_counter()
    for _ in range(times):
        before = time.perf_counter()
        await append()
        latencies.append(time.perf_counter() - before)
    return Round(time.perf_counter() - begun, tuple(sorted(latencies)))


@contextlib.asynccontextmanager
async def _calls(server: Running) -> AsyncIterator[Echo]:
    async with grpc.aio.insecure_channel(server.endpoint) as channel:
        echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{METHOD}")
        call = partial(echo, timeout=DEADLINE)
        await drive(call, [b"warm"] * 100, 16)
        yield call


@contextlib.asynccontextmanager
async def _bare_ledger(directory: Path, events: list[tuple[str, bytes]]) -> AsyncIterator[Append]:
    """Appends what a reservation appends, to a ledger like a node's that nobody else uses."""
    async with EmbeddedServer(directory) as server:
        connection = Connection(lambda: server.endpoint, name="bare")
        stream = EventStream(connection, "REAR_BARE_LEDGER", ["rear.log.>"])
        await connection.open(20.0)
        await stream.ensure()
        tip, head = 0, GENESIS

        async def append() -> None:
            nonlocal tip, head
            batch = []
            for subject, payload in events:
                own = f"{subject}-{tip}"
                head = link(head, own, payload)
                batch.append(Outgoing(own, payload, head))
            tip = await stream.append(batch, tip, timeout=10.0)

        for _ in range(20):
            await append()
        try:
            yield append
        finally:
            await connection.close()
