"""The checker finds bugs that were planted, and names the calls and the events; without them it finds nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest

from rear.rpc.refused import CallFailed
from rear.v1.contract_service_pb2 import ListContractsRequest
from rear.v1.discovery_service_pb2 import ListFlavoursRequest
from tests.checker import Call, RecordingClient, Unexplained, check
from tests.system.asking import cancel, get, in_seconds, purchase, reserve
from tests.system.evidence import Ledger
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, pool

LANDING: Final = 0.5
"""Seconds that a batch takes to land where a node is killed meanwhile."""

Scenario = Callable[[NodeProcess, RecordingClient], Awaitable[None]]


def planted(new_node: NewNode, *plants: str) -> NodeProcess:
    node = new_node(*(pool(name, cpu=10) for name in "abc"), name="planted")
    if plants:
        node.launcher = (sys.executable, "-m", "tests.planted", ",".join(plants))
    return node


async def judge(node: NodeProcess, scenario: Scenario) -> None:
    calls: list[Call] = []
    node.start()
    async with RecordingClient(node.endpoint, calls, name="buyer", timeout=5, patience=0) as client:
        await scenario(node, client)
    async with RecordingClient(node.endpoint, calls, name="auditor", patience=10) as client:
        ledger = await Ledger.read(client)
    print(check(calls, ledger.recorded))


async def kill_while_it_lands(
    node: NodeProcess, client: RecordingClient, *asking: Callable[[], Awaitable[object]]
) -> None:
    """Asks, and kills the node before the first request has landed, answered or not; then starts it again."""
    await client.list_flavours(ListFlavoursRequest())
    tasks = []
    for request in asking:
        task = asyncio.ensure_future(request())
        tasks.append(task)
        await asyncio.wait({task}, timeout=LANDING / 3)
    node.kill()
    for task in tasks:
        with suppress(CallFailed):
            await task
    await node.restart()


async def killed_after_an_answer(node: NodeProcess, client: RecordingClient) -> None:
    await kill_while_it_lands(node, client, lambda: client.reserve_flavour(reserve("a-1", request_id="lost")))


async def refused_for_what_never_came_to_be(node: NodeProcess, client: RecordingClient) -> None:
    made = (await client.reserve_flavour(reserve("a-1", request_id="held"))).contract
    await kill_while_it_lands(
        node,
        client,
        lambda: client.purchase_flavour(purchase(made, request_id="never")),
        lambda: client.purchase_flavour(purchase(made, request_id="too-late")),
    )


async def a_window_that_runs_into_another(node: NodeProcess, client: RecordingClient) -> None:
    first = reserve("b-1", cores=10, start=in_seconds(200), end=in_seconds(300), request_id="later")
    await client.reserve_flavour(first)
    with suppress(CallFailed):
        into = reserve("b-1", cores=10, start=in_seconds(100), end=in_seconds(250), request_id="into-it")
        await client.reserve_flavour(into)


async def room_that_is_given_back(node: NodeProcess, client: RecordingClient) -> None:
    end = in_seconds(300)
    kept = reserve("c-1", cores=6, end=end, request_id="kept")
    await client.reserve_flavour(kept)
    gone = (await client.reserve_flavour(reserve("c-1", cores=4, end=end, request_id="gone"))).contract
    await client.cancel_contract(cancel(gone, request_id="give-back"))
    with suppress(CallFailed):
        await client.reserve_flavour(reserve("c-1", cores=8, end=end, request_id="too-much"))


async def a_look_right_after_a_change(node: NodeProcess, client: RecordingClient) -> None:
    made = (await client.reserve_flavour(reserve("a-1", request_id="looked-at"))).contract
    await client.list_contracts(ListContractsRequest())  # the tables have it now
    await client.purchase_flavour(purchase(made, request_id="bought"))
    await client.get_contract(get(made))


async def a_purchase_that_is_repeated(node: NodeProcess, client: RecordingClient) -> None:
    made = (await client.reserve_flavour(reserve("a-1", request_id="bought-once"))).contract
    request = purchase(made, request_id="again")
    for _ in range(2):
        with suppress(CallFailed):
            await client.purchase_flavour(request)


SLOW: Final = f"slow={LANDING}"

CASES: Final = [
    pytest.param(
        "answers_before_durable", SLOW, killed_after_an_answer, r"ReserveFlavour\(lost\).*OK at", id="durable"
    ),
    pytest.param(
        "refuses_at_once",
        SLOW,
        refused_for_what_never_came_to_be,
        r"PurchaseFlavour\(too-late\).*REVISION_MISMATCH is true at no point",
        id="refusal",
    ),
    pytest.param(
        "looks_at_the_start_only",
        "",
        a_window_that_runs_into_another,
        r"event \d+ \(pool_reserved of b\) oversells b .*held there: event \d+ .*, event \d+",
        id="peak",
    ),
    pytest.param(
        "gives_back_twice", "", room_that_is_given_back, r"event \d+ \(pool_reserved of c.* oversells c", id="twice"
    ),
    pytest.param(
        "reads_stale_tables",
        "",
        a_look_right_after_a_change,
        r"GetContract\(.*state 1, not 3",
        id="stale",
    ),
    pytest.param(
        "forgets_requests",
        "",
        a_purchase_that_is_repeated,
        r"PurchaseFlavour\(again\).*(WRONG_STATE|REVISION_MISMATCH) is true at no point",
        id="retry",
    ),
]


@pytest.mark.parametrize(("bug", "fault", "scenario", "finding"), CASES)
async def test_a_planted_bug_is_found(
    new_node: NewNode, bug: str, fault: str, scenario: Scenario, finding: str
) -> None:
    with pytest.raises(Unexplained, match=finding):
        await judge(planted(new_node, *filter(None, (bug, fault))), scenario)


@pytest.mark.parametrize("scenario", [killed_after_an_answer, refused_for_what_never_came_to_be])
async def test_nothing_is_found_without_it_where_the_node_is_killed(new_node: NewNode, scenario: Scenario) -> None:
    await judge(planted(new_node, SLOW), scenario)


async def test_nothing_is_found_without_it(new_node: NewNode) -> None:
    async def all_of_them(node: NodeProcess, client: RecordingClient) -> None:
        await a_look_right_after_a_change(node, client)
        await a_purchase_that_is_repeated(node, client)
        await a_window_that_runs_into_another(node, client)
        await room_that_is_given_back(node, client)

    await judge(planted(new_node), all_of_them)
