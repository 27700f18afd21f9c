"""What is sent to sellers, and what of their contracts is believed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given

from rear.domain.link import Order
from rear.domain.window import FOREVER, SECOND
from rear.rpc.sellers import reserve_request
from rear.v1 import contract_pb2
from rear.wire.contracts import write_copy
from rear.wire.heard import MOST_BYTES, Unusable, contract_from
from rear.wire.values import _partition, read_asked_window, read_duration, read_money, read_partition
from tests.examples import COPY, REQUEST
from tests.strategies import orders


@given(order=orders)
def test_a_request_says_all_that_the_order_says(order: Order) -> None:
    request = reserve_request(order, REQUEST)

    said = Order(
        request.provider_id,
        order.endpoint,
        request.flavour_id,
        read_partition(request.partition),
        read_asked_window(request.window),
        read_duration(request.ttp) if request.HasField("ttp") else None,
        request.confirm,
        read_money(request.max_price) if request.HasField("max_price") else None,
        request.priority,
    )
    assert said == order
    assert request.request_id == REQUEST
    assert reserve_request(order, REQUEST).SerializeToString(deterministic=True) == request.SerializeToString(
        deterministic=True
    )  # so that a seller takes it for the same one


def shown() -> contract_pb2.Contract:
    message = contract_pb2.Contract()
    write_copy(message, COPY)
    return message


def test_a_contract_is_read_as_it_is_shown() -> None:
    assert contract_from(shown()) == COPY


def turn_round(message: contract_pb2.Contract) -> None:
    message.window.start.seconds = message.window.end.seconds


WRONG: dict[str, Callable[[contract_pb2.Contract], object]] = {
    "state": lambda message: setattr(message, "state", 99),
    "no state": lambda message: message.ClearField("state"),
    "revision": lambda message: setattr(message, "revision", 0),
    "no window": lambda message: message.ClearField("window"),
    "window": turn_round,
    "instant": lambda message: setattr(message.updated_at, "seconds", FOREVER // SECOND + 1),
    "negative amount": lambda message: setattr(message.partition.quantities, "cpu_millicores", -1),
    "price": lambda message: setattr(message.price, "units", -1),
    "share": lambda message: setattr(message.assigned_units[0], "millis", 1_001),
    "length": lambda message: setattr(message, "chain_id", "x" * MOST_BYTES),
    "id": lambda message: setattr(message, "pool_id", "x" * 10_000),
    "device": lambda message: setattr(message.assigned_units[0], "name", "x" * 10_000),
    "class": lambda message: setattr(message.partition.units[0], "unit_class", "x" * 10_000),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_contract_that_cannot_be_is_not_used(wrong: str) -> None:
    message = shown()
    WRONG[wrong](message)

    with pytest.raises(Unusable):
        contract_from(message)


def test_a_long_reason_is_kept_short() -> None:
    message = shown()
    message.ending.reason = "x" * 100_000

    ending = contract_from(message).ending

    assert ending is not None
    assert len(ending.reason) < 2_000


def test_what_a_seller_says_is_not_kept_to_be_shared() -> None:
    """Or one that says something else each time would fill the memory of its buyers."""
    _partition.cache_clear()
    message = shown()
    for number in range(100):
        message.partition.units[0].attributes["model"] = f"{number:0500}"
        contract_from(message)

    assert _partition.cache_info().currsize == 0
