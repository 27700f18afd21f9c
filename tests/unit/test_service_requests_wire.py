"""Service requests as the API shows them."""

from __future__ import annotations

from itertools import product

import pytest
from google.rpc import error_details_pb2

from rear.domain.allocation import Allocation
from rear.domain.component_state import ComponentState, component_state
from rear.domain.lifecycle import ContractState
from rear.domain.purchase import Purchase
from rear.domain.service_request import REQUEST_LIFECYCLE, RequestState, RequestTrigger
from rear.v1 import contract_pb2
from rear.v1 import service_request_pb2 as messages
from rear.wire.service_requests import service_request_to_proto
from tests.fulfilling import World, candidate, component
from tests.unit.test_fulfilment import ready


def shown(world: World) -> messages.ServiceRequest:
    return service_request_to_proto(world.request, world.tables.purchases.get, world.state.allocations.get)


def states(world: World) -> list[str]:
    return [messages.ComponentState.Name(one.state).removeprefix("COMPONENT_STATE_") for one in shown(world).components]


def test_each_state_of_a_component_is_shown_on_its_way() -> None:
    world = World()
    world.submit(component("web", 3_000), component("big", 40_000))
    assert states(world) == ["SEARCHING", "SEARCHING"]
    world.go_on()
    assert states(world) == ["HELD", "SEARCHING"]
    world.found(candidate("far"))
    assert states(world) == ["HELD", "RESERVING"]
    world.see(world.purchases[0], ContractState.RESERVED)
    assert states(world) == ["HELD", "HELD"]
    world.go_on()
    world.see(world.purchases[0], ContractState.CONFIRMED)
    assert states(world) == ["READY", "AGREED"]
    world.peer(world.purchases[0])
    assert states(world) == ["READY", "PEERED"]
    world.see(world.purchases[0], ContractState.ACTIVE)
    world.go_on()
    assert states(world) == ["READY", "READY"]
    world.cancel()
    assert states(world) == ["ENDING", "ENDING"]
    world.go_on()
    world.see(world.purchases[0], ContractState.CANCELLED)
    world.go_on()
    assert states(world) == ["ENDED", "ENDED"]


def test_where_components_are_is_shown() -> None:
    world = ready()
    web, big = shown(world).components

    assert (web.local.pool_id, big.attempts) == ("a", 1)
    purchase = world.purchases[0]
    assert (big.remote.provider_id, big.remote.contract_id) == (purchase.order.provider_id, purchase.id)
    assert big.remote.allocation_id == f"{purchase.id}-consumer"
    assert big.remote.contract_state == contract_pb2.CONTRACT_STATE_ACTIVE
    assert big.window.HasField("end")
    assert [answer.flavours for answer in big.answers] == [1]


def test_a_failure_is_shown_with_its_stable_reason_and_what_was_heard() -> None:
    world = World()
    world.submit(component("big", 40_000))
    world.found(candidate("far"))
    world.refuse(world.purchases[0], reason="PRICE_ABOVE_MAXIMUM")
    world.found()

    message = shown(world)

    info = error_details_pb2.ErrorInfo()
    assert message.error.details[0].Unpack(info)
    assert info.reason == "NOTHING_FITS"
    assert "1 refused, the last of them" in message.error.message
    assert [refusal.reason for refusal in message.components[0].refusals] == ["PRICE_ABOVE_MAXIMUM"]
    assert message.components[0].state == messages.COMPONENT_STATE_ENDED


@pytest.mark.parametrize(("state", "trigger"), [*product(RequestState, RequestTrigger)])
def test_every_cell_of_the_lifecycle(state: RequestState, trigger: RequestTrigger) -> None:
    expected = {
        (RequestState.IN_PROGRESS, RequestTrigger.ALL_READY): RequestState.READY,
        (RequestState.IN_PROGRESS, RequestTrigger.FAIL): RequestState.FAILED,
        (RequestState.IN_PROGRESS, RequestTrigger.CANCEL): RequestState.CANCELLED,
        (RequestState.READY, RequestTrigger.FAIL): RequestState.FAILED,
        (RequestState.READY, RequestTrigger.CANCEL): RequestState.CANCELLED,
        (RequestState.READY, RequestTrigger.WINDOWS_ENDED): RequestState.COMPLETED,
    }
    assert REQUEST_LIFECYCLE.get((state, trigger)) is expected.get((state, trigger))


def test_what_has_no_purchase_any_more_is_searched_for() -> None:
    world = World()
    world.submit(component("big", 40_000))
    world.found(candidate("far"))
    nothing: tuple[Purchase | None, Allocation | None] = (None, None)
    run = world.request.components[0]
    assert component_state(world.request, run, *nothing) is ComponentState.SEARCHING
