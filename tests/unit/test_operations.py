"""What an operator sees of a service: its calls and commits as numbers, and its endpoint."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection, HTTPException
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from rear.domain import purchase as purchases
from rear.domain import service_request as service_requests
from rear.domain.event import Cause
from rear.domain.link_events import LinkUndone
from rear.domain.refusals import TryAgain
from rear.domain.request_events import IntentAccepted, RequestReady
from rear.domain.state import Step
from rear.domain.window import MILLISECOND, SECOND, Duration, Instant
from rear.ledger.commit import Committed
from rear.operations.endpoint import MOST, OperationsEndpoint
from rear.operations.metrics import Metrics, buckets
from rear.operations.tallies import Calls, Commits, Distribution
from rear.operations.watching import OperationsPortTaken
from rear.readiness import Readiness, Role
from tests.examples import CONTRACT, EVENTS, NOW, ORDER

RPC = "rear.v1.ContractService/ReserveFlavour"


# -- what is counted ---------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 20)), st.lists(st.floats(0.001, 10), min_size=1, unique=True).map(sorted))
def test_a_bucket_counts_what_is_not_above_its_bound(values: list[float], bounds: list[float]) -> None:
    distribution = Distribution(bounds)
    for value in values:
        distribution.add(value)
    found, total = buckets(distribution)
    assert [(float(bound), count) for bound, count in found] == [
        *((bound, sum(value <= bound for value in values)) for bound in bounds),
        (float("inf"), len(values)),
    ]
    assert total == pytest.approx(sum(values))


def test_answers_of_other_providers_are_timed_by_what_was_asked() -> None:
    commits = Commits()
    asked = purchases.request_reserve(None, CONTRACT, "r", ORDER, "request", "web", Cause(NOW, NOW))
    assert asked is not None
    waiting = purchases.evolve(None, asked)
    refused = LinkUndone(CONTRACT, 2, Cause(NOW, NOW), "CAPACITY_EXCEEDED", "no room", None, Duration(3 * MILLISECOND))
    after = purchases.evolve(waiting, refused)
    commits.committed([Committed(1, "", b"", Step(asked, None, waiting, NOW))])
    commits.committed([Committed(2, "", b"", Step(refused, waiting, after, NOW))])
    assert {verb: (sum(each.counts), each.sum) for verb, each in commits.links.items()} == {"RESERVE": (1, 0.003)}


def test_a_service_request_is_timed_until_it_is_ready() -> None:
    commits = Commits()
    accepted = next(event for event in EVENTS if isinstance(event, IntentAccepted))
    request = service_requests.evolve(None, accepted)
    later = Instant(accepted.cause.recorded_at + 80 * MILLISECOND)
    ready = RequestReady(request.id, 2, Cause(later, later))
    commits.committed([Committed(2, "", b"", Step(ready, request, request, NOW))])
    assert (sum(commits.ready.counts), commits.ready.sum) == (1, 0.08)


def context(code: Any = None) -> Any:
    return SimpleNamespace(code=lambda: code)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE.value[0]])
async def test_a_refusal_is_counted_by_its_code_and_reason(code: Any) -> None:
    calls = Calls()

    async def refuse(*_: object) -> None:
        raise grpc.aio.AbortError from TryAgain("not now", SECOND)

    with pytest.raises(grpc.aio.AbortError):
        await calls.unary(RPC, refuse)(None, context(code))
    tally = calls.by_rpc[RPC]
    assert tally.codes == {"UNAVAILABLE": 1}
    assert tally.reasons == {TryAgain("", SECOND).reason: 1}
    assert sum(tally.seconds.counts) == 1


async def test_a_call_is_open_until_it_ends_and_one_that_is_cut_off_is_cancelled() -> None:
    calls = Calls()
    begun = asyncio.Event()

    async def wait(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(calls.unary(RPC, wait)(None, context()))
    await begun.wait()
    assert calls.by_rpc[RPC].open == 1
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert calls.by_rpc[RPC].open == 0
    assert calls.by_rpc[RPC].codes == {"CANCELLED": 1}


async def test_a_stream_is_passed_on_and_counted_when_it_ends() -> None:
    calls = Calls()

    async def count(*_: object) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    assert [number async for number in calls.stream(RPC, count)(None, context())] == [0, 1, 2]
    assert calls.by_rpc[RPC].codes == {"OK": 1}
    assert calls.by_rpc[RPC].open == 0


# -- the endpoint ------------------------------------------------------------------------------------------


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def endpoint(readiness: Readiness) -> Iterator[OperationsEndpoint]:
    with OperationsEndpoint("127.0.0.1", 0, "spiffe://a/node/n", readiness, Metrics(readiness), late=0.2) as endpoint:
        yield endpoint


def get(endpoint: OperationsEndpoint, path: str, accept: str = "") -> tuple[int, str, str]:
    """Status, content type and body. It blocks the loop of the test, which is the service's."""
    request = Request(f"http://{endpoint.address}/{path}", headers={"Accept": accept} if accept else {})
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def readyz(endpoint: OperationsEndpoint) -> tuple[int, dict[str, Any]]:
    status, _, body = get(endpoint, "readyz")
    return status, json.loads(body)


async def test_a_service_that_starts_is_alive_and_not_ready(endpoint: OperationsEndpoint) -> None:
    assert get(endpoint, "livez")[0] == 200
    status, document = readyz(endpoint)
    assert status == 503
    assert document["role"] == "starting"
    assert document["reasons"][0]["why"] == "it is starting"


async def test_a_writer_is_ready_and_says_where_it_stands(endpoint: OperationsEndpoint, readiness: Readiness) -> None:
    readiness.become(Role.WRITER)
    readiness.tell("position", lambda: "log.1.7")
    readiness.warn("scrub", lambda: "the event at 3 does not hash")
    readiness.look()
    status, document = readyz(endpoint)
    assert status == 200
    assert document == {
        "ready": True,
        "role": "writer",
        "provider_id": "spiffe://a/node/n",
        "position": "log.1.7",
        "reasons": [],
        "warnings": document["warnings"],
    }
    assert document["warnings"][0]["what"] == "scrub"


async def test_it_says_that_the_loop_stands_still(endpoint: OperationsEndpoint, readiness: Readiness) -> None:
    readiness.become(Role.WRITER)
    readiness.look()
    assert readyz(endpoint)[0] == 200
    time.sleep(0.3)  # noqa: ASYNC251
    status, document = readyz(endpoint)
    assert status == 503
    assert document["reasons"][0]["what"] == "event loop"
    assert "stood still for 0." in document["reasons"][0]["why"]


async def test_metrics_are_there_before_the_ledger_is(endpoint: OperationsEndpoint) -> None:
    status, content_type, body = get(endpoint, "metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    samples = {sample.name: sample for family in text_string_to_metric_families(body) for sample in family.samples}
    assert samples["rear_ready"].value == 0
    assert samples["process_resident_memory_bytes"].value > 0
    assert "rear_ledger_position" not in samples


async def test_whoever_asks_for_openmetrics_gets_it(endpoint: OperationsEndpoint) -> None:
    _, content_type, body = get(endpoint, "metrics", "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


async def test_another_path_is_not_found(endpoint: OperationsEndpoint) -> None:
    assert get(endpoint, "reserve")[0] == 404


async def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(endpoint: OperationsEndpoint) -> None:
    with closing(HTTPConnection("127.0.0.1", endpoint.port)) as connection:
        began = time.perf_counter()
        for _ in range(10):
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b"ok\n"
        assert time.perf_counter() - began < 0.3, "40 ms each with Nagle's algorithm and delayed acknowledgements"


async def test_connections_that_say_nothing_leave_room_for_others(endpoint: OperationsEndpoint) -> None:
    began = time.monotonic()
    with ExitStack() as idle:
        for _ in range(2 * MOST):
            idle.enter_context(socket.create_connection(("127.0.0.1", endpoint.port), 5))
        assert get(endpoint, "livez")[0] == 200
        assert sum(thread.name.endswith("(process_request_thread)") for thread in threading.enumerate()) <= MOST + 5
    assert time.monotonic() - began < 5, "with a short queue each few connections cost a second"


async def test_once_stopped_it_answers_no_more(endpoint: OperationsEndpoint) -> None:
    with closing(HTTPConnection("127.0.0.1", endpoint.port)) as connection:
        connection.request("GET", "/livez")
        connection.getresponse().read()
        endpoint.stop()
        with suppress(ConnectionError):
            connection.request("GET", "/livez")
        with pytest.raises((ConnectionError, HTTPException)):
            connection.getresponse()


def test_a_port_that_is_taken_is_named(readiness: Readiness) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        endpoint = OperationsEndpoint("127.0.0.1", port, "spiffe://a/node/n", readiness, Metrics(readiness))
        with pytest.raises(OperationsPortTaken, match=f"127.0.0.1:{port}: Address already in use"):
            endpoint.start()
