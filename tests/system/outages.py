"""What every fault from outside has in common: said clearly, not ready, nothing wrong answered, whole afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rear.rpc.client import Client
from rear.rpc.refused import CallFailed
from tests.checker import RecordingClient
from tests.checker.history import Refusal, Unknown
from tests.system.asking import reserve
from tests.system.evidence import agreeing, digests
from tests.system.load import History
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually

POOLS: Final = (pool("a", cpu=20), pool("b", cpu=20), pool("spare", cpu=100))
FLAVOURS: Final = {"a-1": False, "b-1": False}
"""What is bought while a fault lasts: pools that fill up, and one in reserve."""
LASTING: Final = float(os.environ.get("REAR_OUTAGE", "4"))
"""Seconds that a fault lasts; `make soak` asks for a minute."""
LONG: Final = LASTING > 30
"""Whether there is time for every variant of a fault."""
OPEN_ENDED: Final = {"OUTCOME_PENDING", "LEDGER_UNAVAILABLE", "NOT_READY", "NOT_WRITER", ""}
"""What a caller may be told while nothing can be written; nothing at all where no answer comes."""


async def serving(node: NodeProcess) -> bool:
    """What grpc.health.v1 says of the node; False where it does not answer."""
    async with grpc.aio.insecure_channel(node.endpoint) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        with suppress(grpc.aio.AioRpcError):
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False


async def until_serving(node: NodeProcess, wanted: bool, within: float) -> float:
    """Waits until health says so; returns after how many seconds."""
    began = time.monotonic()
    while await serving(node) is not wanted:
        assert time.monotonic() - began < within, f"health is not {wanted} within {within} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def answers_in_time(endpoint: str, history: History, deadline: float = 1.0) -> str:
    """Asks for a change while nothing can be written; returns the reason of an answer that comes by the deadline."""
    began = time.monotonic()
    probe = RecordingClient(endpoint, history.calls, name="probe", timeout=deadline, patience=0)
    async with probe as client:
        with pytest.raises(CallFailed) as failed:
            await client.reserve_flavour(reserve("spare-1", cores=0.5))
    took, failure = time.monotonic() - began, failed.value
    assert took < deadline + 1.0, f"an answer took {took:.1f} s with a deadline of {deadline} s"
    assert failure.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), str(failure)
    assert failure.reason in OPEN_ENDED, str(failure)
    return failure.reason or failure.code.name


def operations(node: NodeProcess) -> str:
    """Gives the node an operations endpoint from its next start on; returns where."""
    where = f"127.0.0.1:{fixed_port()}"
    node.options = [*node.options, "--ops", where]
    return where


async def readyz(where: str) -> tuple[int, list[str]]:
    """What the operations endpoint says of being ready: the status, and why not."""

    def ask() -> tuple[int, list[str]]:
        try:
            with urllib.request.urlopen(f"http://{where}/readyz", timeout=5) as answer:
                status, body = answer.status, answer.read()
        except HTTPError as error:
            with error:
                status, body = error.code, error.read()
        return status, [reason["why"] for reason in json.loads(body).get("reasons", [])]

    return await asyncio.to_thread(ask)


async def answers_more(history: History, count: int = 40, within: float = 60.0) -> None:
    """Returns once the buyers have that many more OKs."""
    goal = len(history.granted) + count
    await eventually(lambda: len(history.granted) >= goal, within)


def check_stands_still(history: History, since: int) -> None:
    """What was answered OK since a moment is of what had been before: the ledger has not moved on.

    A repeated request gets its outcome also while nothing can be written.
    """
    positions = {
        getattr(call.outcome, "position", "")
        for call in history.calls
        if call.writes and call.began > since and not isinstance(call.outcome, Refusal | Unknown)
    }
    assert len(positions) <= 1, f"the ledger moved on, though nothing can be written: {positions}"


async def whole_again(node: NodeProcess, history: History, scratch: Path, *, skew: float = 0.0) -> None:
    """Every answer is explained, and the tables are what the ledger says. Ends the node."""
    async with Client(node.endpoint, patience=20) as client:
        ledger, listed = await agreeing(client)
    history.check(ledger, listed, skew=skew)
    assert node.terminate() == 0
    kept, rebuilt = await digests(node.state, scratch)
    assert kept == rebuilt


def logged(node: NodeProcess, event: str) -> list[dict[str, Any]]:
    """The node's log entries of one event."""
    found = []
    for line in node.log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if entry.get("event") == event:
                found.append(entry)
    return found
