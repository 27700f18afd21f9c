"""What callers send: read as it was meant, or refused by the path of the field that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from google.protobuf.duration_pb2 import Duration as DurationMessage
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.latlng_pb2 import LatLng
from google.type.money_pb2 import Money as MoneyMessage
from hypothesis import given

from rear.domain.demand import Demand
from rear.domain.flavour import FlavourType
from rear.domain.lifecycle import ContractState
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.refusals import InvalidField
from rear.domain.selector import (
    FlavourOrder,
    LocationFilter,
    NumberFilter,
    Selector,
    SetFilter,
    TextFilter,
    Vicinity,
)
from rear.domain.units import UnitRequest
from rear.domain.window import MILLISECOND, SECOND, AskedWindow, Duration, Instant
from rear.v1 import flavour_pb2, quantities_pb2, selector_pb2, window_pb2
from rear.wire import values
from rear.wire.requests import duration_from, money_from, partition_from, states_from, window_from
from rear.wire.selectors import order_from, selector_from
from tests import strategies
from tests.examples import (
    SOURCE,
)


def test_a_partition_is_read_as_it_was_asked_for() -> None:
    message = quantities_pb2.Partition(
        quantities=quantities_pb2.Quantities(cpu_millicores=0, extended={"fpga.example/slots-2": 1}),
        units=[
            quantities_pb2.UnitRequest(unit_class="gpu", count=2, attributes={"model": "T4", "a": "b"}),
            quantities_pb2.UnitRequest(unit_class="gpu", count=1, millis_each=0),
            quantities_pb2.UnitRequest(unit_class="gpu", count=1, millis_each=0),
        ],
    )

    demand = partition_from(message, "partition")

    assert demand == Demand(
        Quantities({"cpu_millicores": 0, "fpga.example/slots-2": 1}),
        (
            UnitRequest("gpu", 2, 1_000, (("a", "b"), ("model", "T4"))),
            UnitRequest("gpu", 1, 0),
            UnitRequest("gpu", 1, 0),
        ),
    )


def test_what_is_absent_stays_absent() -> None:
    assert window_from(None, "window") == AskedWindow()
    assert window_from(window_pb2.Window(), "window") == AskedWindow()
    assert duration_from(None, "ttp") is None
    assert money_from(None, "max_price") is None
    assert selector_from(None) == Selector()
    assert selector_from(selector_pb2.Selector()) == Selector()


def test_each_end_of_a_window_may_be_absent() -> None:
    start = window_pb2.Window(start=Timestamp(seconds=-1, nanos=5))
    end = window_pb2.Window(end=Timestamp(seconds=253_402_300_799, nanos=999_999_999))

    assert window_from(start, "window") == AskedWindow(Instant(-SECOND + 5), None)
    assert window_from(end, "window") == AskedWindow(None, Instant(253_402_300_800 * SECOND - 1))


@given(money=strategies.moneys)
def test_money_is_read_as_it_was_written(money: Money) -> None:
    message = MoneyMessage()
    values.write_money(message, replace(money, nanos=abs(money.nanos)))

    assert money_from(message, "max_price") == Money(money.currency, abs(money.nanos))


@given(duration=strategies.durations)
def test_a_duration_is_read_as_it_was_written(duration: Duration) -> None:
    message = DurationMessage()
    values.write_duration(message, duration)

    assert duration_from(message, "ttp") == duration


def test_states_are_read_from_their_numbers() -> None:
    assert states_from([1, 3, 1], "states") == {ContractState.RESERVED, ContractState.ACTIVE}


def a_partition(**extended: int) -> quantities_pb2.Partition:
    return quantities_pb2.Partition(quantities=quantities_pb2.Quantities(extended=extended))


def a_window(start: tuple[int, int] | None = None, end: tuple[int, int] | None = None) -> window_pb2.Window:
    window = window_pb2.Window()
    for message, instant in ((window.start, start), (window.end, end)):
        if instant is not None:
            message.CopyFrom(Timestamp(seconds=instant[0], nanos=instant[1]))
    return window


def a_price(currency: str, units: int = 0, nanos: int = 0) -> MoneyMessage:
    return MoneyMessage(currency_code=currency, units=units, nanos=nanos)


LONG = "k" * 64
CUT = "k" * 63 + "…"

BAD_REQUESTS: list[tuple[str, Callable[[], object]]] = [
    ("partition", lambda: partition_from(None, "partition")),
    ("partition.quantities.extended[pods]", lambda: partition_from(a_partition(pods=1), "partition")),
    ("partition.quantities.extended[]", lambda: partition_from(a_partition(**{"": 1}), "partition")),
    ("partition.quantities.extended[a b]", lambda: partition_from(a_partition(**{"a b": 1}), "partition")),
    ("partition.quantities.extended[a\n]", lambda: partition_from(a_partition(**{"a\n": 1}), "partition")),
    (f"partition.quantities.extended[{CUT}]", lambda: partition_from(a_partition(**{LONG: 1}), "partition")),
    ("window.start.seconds", lambda: window_from(a_window(start=(-62_135_596_801, 0)), "window")),
    ("window.start.nanos", lambda: window_from(a_window(start=(0, -1)), "window")),
    ("window.end.seconds", lambda: window_from(a_window(end=(253_402_300_800, 0)), "window")),
    ("window.end.nanos", lambda: window_from(a_window(end=(0, 10**9)), "window")),
    ("ttp.seconds", lambda: duration_from(DurationMessage(seconds=315_576_000_001), "ttp")),
    ("ttp.nanos", lambda: duration_from(DurationMessage(nanos=10**9), "ttp")),
    ("ttp.nanos", lambda: duration_from(DurationMessage(seconds=1, nanos=-1), "ttp")),
    ("max_price.currency_code", lambda: money_from(a_price(""), "max_price")),
    ("max_price.currency_code", lambda: money_from(a_price("eur"), "max_price")),
    ("max_price.currency_code", lambda: money_from(a_price("EURO"), "max_price")),
    ("max_price.units", lambda: money_from(a_price("EUR", units=-1), "max_price")),
    ("max_price.nanos", lambda: money_from(a_price("EUR", nanos=-1), "max_price")),
    ("max_price.nanos", lambda: money_from(a_price("EUR", units=1, nanos=10**9), "max_price")),
    ("states[1]", lambda: states_from([1, 0], "states")),
    ("states[0]", lambda: states_from([8], "states")),
    ("order", lambda: order_from(9)),
]


@pytest.mark.parametrize(("field", "read"), BAD_REQUESTS, ids=range(len(BAD_REQUESTS)))
def test_a_wrong_field_is_named(field: str, read: Callable[[], object]) -> None:
    with pytest.raises(InvalidField) as refused:
        read()

    assert refused.value.field == field


# Selectors


def number(**bounds: int) -> selector_pb2.Int64Filter:
    return selector_pb2.Int64Filter(**bounds)  # type: ignore[arg-type]


def text(exact: str) -> selector_pb2.StringFilter:
    return selector_pb2.StringFilter(exact=exact)


def near(latitude: float, longitude: float, radius_metres: int = 1) -> selector_pb2.Selector:
    vicinity = selector_pb2.Vicinity(centre=LatLng(latitude=latitude, longitude=longitude), radius_metres=radius_metres)
    return selector_pb2.Selector(location=selector_pb2.LocationFilter(vicinity=vicinity))


def with_quantities(**filters: selector_pb2.Int64Filter) -> selector_pb2.Selector:
    return selector_pb2.Selector(quantities=selector_pb2.QuantityFilters(**filters))  # type: ignore[arg-type]


def with_extended(kind: str, **bounds: int) -> selector_pb2.Selector:
    filters = selector_pb2.QuantityFilters(extended={kind: number(**bounds)})
    return selector_pb2.Selector(quantities=filters)


def test_a_selector_is_read_whole() -> None:
    message = selector_pb2.Selector(
        types=[flavour_pb2.FLAVOUR_TYPE_VM, flavour_pb2.FLAVOUR_TYPE_K8SLICE],
        quantities=selector_pb2.QuantityFilters(
            cpu_millicores=number(min=0, max=0),
            memory_bytes=number(exact=5),
            storage_bytes=selector_pb2.Int64Filter(any_of=[1, 2]),
            pods=number(),
            extended={"x": number(min=-1)},
        ),
        partition=quantities_pb2.Partition(quantities=quantities_pb2.Quantities(pods=1)),
        window=a_window(start=(5, 6)),
        architecture=selector_pb2.StringFilter(any_of=["arm64", "amd64"]),
        gpu_model=text("T4"),
        location=selector_pb2.LocationFilter(
            country=text("DE"),
            city=text("Leipzig"),
            vicinity=near(-90, 180).location.vicinity,
        ),
        max_price=a_price("EUR", 1, 5),
        max_latency=DurationMessage(nanos=5_000_000),
        security_standards=selector_pb2.SetFilter(all_of=["a"], any_of=["b", "c"]),
        carbon_grams_per_hour=number(max=9),
        tags={"b": text(""), "a": text("1")},
        owner_domain=text("campus.example"),
        pool_ids=["p1", "p2"],
        provider_ids=[SOURCE],
    )

    assert selector_from(message) == Selector(
        types=frozenset({FlavourType.VM, FlavourType.K8SLICE}),
        quantities=(
            ("cpu_millicores", NumberFilter(min=0, max=0)),
            ("memory_bytes", NumberFilter(exact=5)),
            ("pods", NumberFilter()),
            ("storage_bytes", NumberFilter(any_of=frozenset({1, 2}))),
            ("x", NumberFilter(min=-1)),
        ),
        partition=Demand(Quantities({"pods": 1})),
        window=AskedWindow(Instant(5 * SECOND + 6), None),
        architecture=TextFilter(any_of=frozenset({"arm64", "amd64"})),
        gpu_model=TextFilter("T4"),
        location=LocationFilter(TextFilter("DE"), TextFilter("Leipzig"), Vicinity((-90.0, 180.0), 1)),
        max_price=Money("EUR", 1_000_000_005),
        max_latency=Duration(5 * MILLISECOND),
        security_standards=SetFilter(frozenset({"a"}), frozenset({"b", "c"})),
        carbon_grams_per_hour=NumberFilter(max=9),
        tags=(("a", TextFilter("1")), ("b", TextFilter(""))),
        owner_domain=TextFilter("campus.example"),
        pool_ids=frozenset({"p1", "p2"}),
        provider_ids=frozenset({SOURCE}),
    )


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("types[0]", selector_pb2.Selector(types=[flavour_pb2.FLAVOUR_TYPE_UNSPECIFIED])),
        ("types[1]", selector_pb2.Selector(types=[1, 99])),  # type: ignore[list-item]
        ("quantities.cpu_millicores.min", with_quantities(cpu_millicores=number(min=2, max=1))),
        ("quantities.memory_bytes.min", with_quantities(memory_bytes=number(min=0, max=-1))),
        ("quantities.storage_bytes.min", with_quantities(storage_bytes=number(min=2, max=1))),
        ("quantities.pods.min", with_quantities(pods=number(min=2, max=1))),
        ("quantities.extended[x].min", with_extended("x", min=2, max=1)),
        ("quantities.extended[pods]", with_extended("pods")),
        ("quantities.extended[a b]", with_extended("a b")),
        ("partition", selector_pb2.Selector(partition=quantities_pb2.Partition())),
        ("partition.quantities.extended[pods]", selector_pb2.Selector(partition=a_partition(pods=1))),
        ("partition.quantities.extended[x]", selector_pb2.Selector(partition=a_partition(x=-1))),
        ("window.end.nanos", selector_pb2.Selector(window=a_window(end=(0, -1)))),
        ("location.vicinity.centre.latitude", near(90.1, 0)),
        ("location.vicinity.centre.latitude", near(float("nan"), 0)),
        ("location.vicinity.centre.longitude", near(0, -180.1)),
        ("location.vicinity.radius_metres", near(0, 0, -1)),
        (
            "location.vicinity.centre",
            selector_pb2.Selector(location=selector_pb2.LocationFilter(vicinity=selector_pb2.Vicinity())),
        ),
        ("max_price.currency_code", selector_pb2.Selector(max_price=a_price(""))),
        ("max_price.units", selector_pb2.Selector(max_price=a_price("EUR", -1))),
        ("max_latency", selector_pb2.Selector(max_latency=DurationMessage(seconds=-1))),
        ("max_latency.nanos", selector_pb2.Selector(max_latency=DurationMessage(nanos=-(10**9)))),
        ("carbon_grams_per_hour.min", selector_pb2.Selector(carbon_grams_per_hour=number(min=2, max=1))),
    ],
)
def test_a_wrong_filter_is_named(field: str, message: selector_pb2.Selector) -> None:
    with pytest.raises(InvalidField) as refused:
        selector_from(message)

    assert refused.value.field == f"selector.{field}"


@pytest.mark.parametrize(
    ("number", "order"),
    [
        (0, FlavourOrder.TIGHTEST),
        (1, FlavourOrder.PRICE),
        (2, FlavourOrder.LATENCY),
        (3, FlavourOrder.CARBON),
    ],
)
def test_an_order_is_read_from_its_number(number: int, order: FlavourOrder) -> None:
    assert order_from(number) is order
