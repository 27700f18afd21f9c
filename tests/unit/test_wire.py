"""Values as messages and back, and what callers get to see of flavours and contracts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.duration_pb2 import Duration as DurationMessage
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from hypothesis import given

from rear.domain import contract as contracts
from rear.domain.contract import Contract
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.events import ContractReserved
from rear.domain.flavour import Flavour, Offer, PoolTerms
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.selector import (
    FlavourOrder,
)
from rear.domain.units import UnitShare
from rear.domain.window import SECOND, Duration, Instant, Window
from rear.event.v1 import pool_pb2
from rear.v1 import contract_pb2, discovery_service_pb2, flavour_pb2, quantities_pb2, window_pb2
from rear.wire import values
from rear.wire.contracts import CONTRACT_STATES, contract_to_proto, counter_offer_to_proto
from rear.wire.flavours import (
    direct_route,
    listed_flavour_to_proto,
    read_offer,
    write_offer,
)
from rear.wire.holds import HOLD_KINDS
from rear.wire.selectors import FLAVOUR_ORDERS
from rear.wire.terms import FLAVOUR_TYPES, read_terms, write_terms
from tests import strategies
from tests.examples import (
    BUYER,
    CONTRACT,
    EVENTS,
    FIRST,
    GPUS,
    HALF_GPU,
    HOUR_FROM_NOW,
    NOW,
    PARTITION,
    POOL,
    SOURCE,
    TERMS,
)

# Values


@given(instant=strategies.instants)
def test_an_instant_keeps_every_nanosecond(instant: Instant) -> None:
    message = Timestamp()
    values.write_instant(message, instant)

    assert 0 <= message.nanos < SECOND
    assert values.read_instant(message) == instant == message.ToNanoseconds()


@given(duration=strategies.durations)
def test_a_duration_keeps_every_nanosecond_and_one_sign(duration: Duration) -> None:
    message = DurationMessage()
    values.write_duration(message, duration)

    assert message.seconds * message.nanos >= 0
    assert abs(message.nanos) < SECOND
    assert values.read_duration(message) == duration


@given(money=strategies.moneys)
def test_money_keeps_every_nano_and_one_sign(money: Money) -> None:
    message = MoneyMessage()
    values.write_money(message, money)

    assert message.units * message.nanos >= 0
    assert abs(message.nanos) < 10**9
    assert values.read_money(message) == money


@given(quantities=strategies.quantities)
def test_quantities_keep_absent_apart_from_zero(quantities: Quantities) -> None:
    message = quantities_pb2.Quantities()
    values.write_quantities(message, quantities)

    assert message.HasField("pods") == ("pods" in quantities)
    assert values.read_quantities(message) == quantities


@given(demand=strategies.demands)
def test_a_partition_comes_back_as_it_was(demand: Demand) -> None:
    message = quantities_pb2.Partition()
    values.write_partition(message, demand)

    assert values.read_partition(message) == demand


@given(window=strategies.windows)
def test_a_window_comes_back_as_it_was(window: Window) -> None:
    message = window_pb2.Window()
    values.write_window(message, window)

    assert values.read_window(message) == window


@given(terms=strategies.terms)
def test_terms_come_back_as_they_were(terms: PoolTerms) -> None:
    message = pool_pb2.PoolTerms()
    write_terms(message, terms)

    assert read_terms(message) == terms


@given(offer=strategies.offers)
def test_an_offer_comes_back_as_it_was(offer: Offer) -> None:
    message = pool_pb2.Offer()
    write_offer(message, offer)

    assert read_offer(message) == offer


@pytest.mark.parametrize(
    ("table", "enum"),
    [
        (CONTRACT_STATES, contract_pb2.ContractState),
        (FLAVOUR_TYPES, flavour_pb2.FlavourType),
        (HOLD_KINDS, pool_pb2.HoldKind),
    ],
)
def test_every_number_of_an_enum_but_the_first_stands_for_its_namesake(
    table: dict[int, ContractState], enum: type[contract_pb2.ContractState]
) -> None:
    prefix = enum.keys()[0].removesuffix("UNSPECIFIED")
    names = {number: name.removeprefix(prefix) for name, number in enum.items() if number}
    assert {number: value.value for number, value in table.items()} == names


def test_every_order_of_the_api_is_known() -> None:
    assert set(FLAVOUR_ORDERS) == set(discovery_service_pb2.FlavourOrder.values())
    assert set(FLAVOUR_ORDERS.values()) == set(FlavourOrder)


# Flavours


def _listed(terms: PoolTerms) -> flavour_pb2.ListedFlavour:
    flavour = Flavour(FIRST, terms, POOL, GPUS)
    return listed_flavour_to_proto(flavour, SOURCE, FIRST.quantities, (), FIRST.advertised_at)


def test_a_flavour_shows_its_devices_with_their_attributes() -> None:
    message = _listed(TERMS).flavour

    assert (message.flavour_id, message.parent_id) == (f"{POOL}-1", "")
    assert (message.pool_id, message.provider_id) == (POOL, SOURCE)
    assert message.type == flavour_pb2.FLAVOUR_TYPE_K8SLICE
    assert values.read_quantities(message.quantities) == FIRST.quantities
    assert [(each.unit.name, each.millis) for each in message.units] == [("gpu-0", 1_000), ("gpu-1", 1_000)]
    assert message.units[0].unit.attributes["model"] == "T4"
    assert message.properties.location.coordinates.latitude == 51.34
    assert values.read_instant(message.advertised_at) == FIRST.advertised_at


@given(terms=strategies.terms)
def test_a_flavour_has_the_terms_of_its_pool(terms: PoolTerms) -> None:
    message = pool_pb2.PoolTerms()
    write_terms(message, terms)

    shown = _listed(terms).flavour

    for part in message.DESCRIPTOR.fields:
        assert getattr(shown, part.name) == getattr(message, part.name)


def test_a_listed_flavour_says_what_is_free_beside_what_was_offered() -> None:
    free = Quantities({"cpu_millicores": 1_000})
    gone = UnitShare("gpu", "gpu-9", 1_000)
    route = direct_route(SOURCE, "10.0.0.7:7000", TERMS.price)

    message = listed_flavour_to_proto(
        Flavour(FIRST, TERMS, POOL, GPUS), SOURCE, free, (*HALF_GPU, gone), NOW, Money("EUR", 5), [route]
    )

    assert message.flavour.flavour_id == FIRST.flavour_id
    assert values.read_quantities(message.available) == free
    assert [(each.unit.name, each.millis) for each in message.available_units] == [("gpu-0", 500)]
    assert values.read_instant(message.as_of) == NOW
    assert values.read_money(message.total_price) == Money("EUR", 5)
    assert list(message.routes) == [route]
    assert (route.hops, route.HasField("age"), values.read_duration(route.age)) == (0, True, 0)


def test_a_flavour_of_which_nothing_is_left_says_so() -> None:
    nothing = replace(FIRST, quantities=Quantities(), units=())

    message = listed_flavour_to_proto(Flavour(nothing, TERMS, POOL, ()), SOURCE, Quantities(), (), NOW)

    assert message.HasField("available")
    assert message.flavour.HasField("quantities")
    assert not message.HasField("total_price")


# Contracts


def a_contract(**changes: object) -> Contract:
    reserved = next(event for event in EVENTS if isinstance(event, ContractReserved))
    return replace(contracts.evolve(None, reserved), **changes)  # type: ignore[arg-type]


def test_a_contract_shows_what_was_agreed() -> None:
    contract = a_contract()

    message = contract_to_proto(contract, SOURCE)

    assert (message.contract_id, message.provider_id, message.buyer_id) == (CONTRACT, SOURCE, BUYER)
    assert (message.flavour_id, message.pool_id) == (f"{POOL}-1", POOL)
    assert values.read_partition(message.partition) == PARTITION
    assert values.read_shares(message.assigned_units) == HALF_GPU
    assert values.read_window(message.window) == HOUR_FROM_NOW
    assert message.state == contract_pb2.CONTRACT_STATE_RESERVED
    assert message.revision == 1
    assert values.read_money(message.price) == contract.price
    assert message.priority == -2
    assert values.read_instant(message.created_at) == NOW
    assert values.read_instant(message.updated_at) == NOW
    assert values.read_instant(message.purchase_before) == contract.purchase_before
    assert message.allocation_id == contract.allocation_id
    assert message.chain_id == "chain-1"
    assert not message.HasField("ending")


def test_the_time_to_purchase_shows_only_while_it_runs() -> None:
    message = contract_to_proto(a_contract(state=ContractState.CONFIRMED), SOURCE)

    assert not message.HasField("purchase_before")


@pytest.mark.parametrize(("actor", "shown"), [(BUYER, BUYER), ("", SOURCE)])
def test_what_time_ended_was_ended_by_the_seller(actor: str, shown: str) -> None:
    ended = a_contract(state=ContractState.EXPIRED, ending=Ending(actor, "why"))

    message = contract_to_proto(ended, SOURCE)

    assert (message.ending.actor, message.ending.reason) == (shown, "why")


@given(offer=strategies.counter_offers)
def test_a_counter_offer_leaves_out_what_was_not_found(offer: CounterOffer) -> None:
    message = counter_offer_to_proto(offer)

    most = values.read_partition(message.most_in_window) if message.HasField("most_in_window") else None
    earliest = values.read_window(message.earliest_window) if message.HasField("earliest_window") else None
    assert most == offer.most_in_window
    assert earliest == offer.earliest_window
    assert values.read_window(message.asked_window) == offer.asked_window
    assert message.flavour_id == offer.flavour_id
    assert message.exhaustive == offer.exhaustive
    assert values.read_instant(message.as_of) == offer.as_of
