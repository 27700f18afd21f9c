"""What is asked of peers, and what is made of their answers, whatever they say."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rear.domain import refusals
from rear.domain.candidate import Candidate, Route, expected_window
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.flavour import Flavour, FlavourType
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.selector import LocationFilter, NumberFilter, Selector, SetFilter, TextFilter, Vicinity
from rear.domain.units import UnitRequest
from rear.domain.window import DAY, HOUR, SECOND, AskedWindow, Duration, Instant, Window
from rear.managers.consumer.peers import Unanswered
from rear.rpc.errors import status_of, trailers
from rear.rpc.heard import in_domain
from rear.rpc.refused import Refused, Unreachable, UntrueAnswer, Violation, WrongService, failure_of
from rear.v1 import contract_pb2, flavour_pb2, selector_pb2
from rear.wire.contracts import counter_offer_to_proto
from rear.wire.flavours import direct_route, listed_flavour_to_proto
from rear.wire.heard import Unusable, candidate_from, counter_offer_from
from rear.wire.questions import write_selector
from rear.wire.selectors import selector_from
from tests.examples import FIRST, GPUS, HOUR_FROM_NOW, NOW, PARTITION, POOL, SOURCE, TERMS

ENDPOINT = "10.0.0.7:7000"

texts = st.builds(TextFilter, st.none() | st.text(max_size=5), st.frozensets(st.text(max_size=5), max_size=2))
amounts = st.integers(0, 2**62)
numbers = st.builds(
    NumberFilter,
    st.none() | amounts,
    st.integers(0, 9) | st.none(),
    st.integers(9, 99) | st.none(),
    st.frozensets(amounts),
)
moments = st.integers(0, 10**19).map(Instant)
selectors = st.builds(
    Selector,
    types=st.frozensets(st.sampled_from(FlavourType)),
    quantities=st.dictionaries(st.sampled_from(["cpu_millicores", "pods", "fpga"]), numbers).map(
        lambda asked: tuple(sorted(asked.items()))
    ),
    partition=st.none()
    | st.builds(
        Demand,
        st.dictionaries(
            st.sampled_from(["cpu_millicores", "memory_bytes", "x/y"]), st.integers(1, 2**62), min_size=1
        ).map(Quantities),
        st.lists(st.builds(UnitRequest, st.just("gpu"), st.integers(1, 9), st.integers(1, 1000)), max_size=2).map(
            tuple
        ),
    ),
    window=st.builds(
        AskedWindow, st.none() | moments, st.none() | moments, st.none() | st.integers(-(10**18), 10**18).map(Duration)
    ),
    architecture=st.none() | texts,
    gpu_model=st.none() | texts,
    location=st.none()
    | st.builds(
        LocationFilter,
        st.none() | texts,
        st.none() | texts,
        st.none() | st.builds(Vicinity, st.tuples(st.floats(-90, 90), st.floats(-180, 180)), st.integers(0, 10**9)),
    ),
    max_price=st.none() | st.builds(Money, st.just("EUR"), amounts),
    max_latency=st.none() | st.integers(0, 10**15).map(Duration),
    security_standards=st.none()
    | st.builds(SetFilter, st.frozensets(st.text(max_size=3)), st.frozensets(st.text(max_size=3))),
    carbon_grams_per_hour=st.none() | numbers,
    tags=st.dictionaries(st.text(max_size=4), texts, max_size=2).map(lambda tags: tuple(sorted(tags.items()))),
    owner_domain=st.none() | texts,
    pool_ids=st.frozensets(st.text(max_size=4), max_size=2),
    provider_ids=st.frozensets(st.text(max_size=4), max_size=2),
)


@given(selectors)
def test_a_provider_reads_the_selector_that_was_meant(selector: Selector) -> None:
    message = selector_pb2.Selector()
    write_selector(message, selector)

    assert selector_from(selector_pb2.Selector.FromString(message.SerializeToString())) == selector


def listed(flavour: Flavour | None = None) -> flavour_pb2.ListedFlavour:
    return listed_flavour_to_proto(
        flavour or Flavour(FIRST, TERMS, POOL, GPUS),
        SOURCE,
        FIRST.quantities,
        FIRST.units,
        NOW,
        routes=[direct_route(SOURCE, "127.0.0.1:1", TERMS.price)],
    )


def read(message: flavour_pb2.ListedFlavour) -> Candidate:
    return candidate_from(
        flavour_pb2.ListedFlavour.FromString(message.SerializeToString()), HOUR_FROM_NOW, NOW, ENDPOINT
    )


def test_an_offer_is_a_candidate_with_everything_that_was_said() -> None:
    candidate = read(listed())

    assert candidate == Candidate(
        SOURCE,
        Flavour(FIRST, TERMS, POOL, GPUS),
        (Route(SOURCE, ENDPOINT, TERMS.price),),
        FIRST.quantities,
        FIRST.units,
        HOUR_FROM_NOW,
        NOW,
        NOW,
    )
    kept = candidate_from(flavour_pb2.ListedFlavour.FromString(candidate.message), HOUR_FROM_NOW, NOW)
    assert kept == candidate


def test_what_this_version_does_not_know_of_an_offer_is_kept() -> None:
    unknown = b"\xfa\x3e\x03new"  # field 1007
    message = flavour_pb2.ListedFlavour.FromString(listed().SerializeToString() + unknown)

    assert unknown in read(message).message


SPOILT: dict[str, Callable[[flavour_pb2.ListedFlavour], object]] = {
    "unknown type": lambda m: setattr(m.flavour, "type", 99),
    "no type": lambda m: m.flavour.ClearField("type"),
    "no flavour": lambda m: m.ClearField("flavour"),
    "no flavour id": lambda m: setattr(m.flavour, "flavour_id", "nonsense"),
    "another pool": lambda m: setattr(m.flavour, "pool_id", "other"),
    "long pool": lambda m: m.flavour.MergeFrom(flavour_pb2.Flavour(pool_id="a" * 65, flavour_id="a" * 65 + "-1")),
    "no provider": lambda m: m.flavour.ClearField("provider_id"),
    "provider with a line break": lambda m: setattr(m.flavour, "provider_id", SOURCE + "\n"),
    "negative amount": lambda m: setattr(m.available, "cpu_millicores", -1),
    "absurd amount": lambda m: setattr(m.available, "cpu_millicores", 2**63 - 1),
    "negative offer": lambda m: setattr(m.flavour.quantities, "memory_bytes", -1),
    "kind with a field of its own": lambda m: m.available.extended.update({"pods": 1}),
    "kind that is none": lambda m: m.available.extended.update({"a b": 1}),
    "many kinds": lambda m: m.available.extended.update({f"k{i}": 1 for i in range(100)}),
    "device twice": lambda m: m.flavour.units.append(m.flavour.units[0]),
    "device without a name": lambda m: m.flavour.units[0].unit.ClearField("name"),
    "half a device and more": lambda m: setattr(m.available_units[0], "millis", 1_001),
    "negative millis": lambda m: setattr(m.flavour.units[0], "millis", -1),
    "negative price": lambda m: setattr(m.routes[0].price.components[0].amount, "units", -5),
    "price per nothing": lambda m: setattr(m.flavour.price.components[1], "per_amount", 0),
    "price for no time": lambda m: m.routes[0].price.components[1].per_duration.Clear(),
    "two currencies": lambda m: setattr(m.routes[0].price.components[0].amount, "currency_code", "USD"),
    "no route": lambda m: m.ClearField("routes"),
    "many routes": lambda m: m.routes.extend([m.routes[0]] * 20),
    "negative hops": lambda m: setattr(m.routes[0], "hops", -1),
    "no age": lambda m: m.routes[0].ClearField("age"),
    "age before its birth": lambda m: setattr(m.routes[0].age, "seconds", -1),
    "ancient": lambda m: setattr(m.routes[0].age, "seconds", 10**9),
    "negative latency": lambda m: setattr(m.flavour.properties.latency, "nanos", -1),
    "absurd latency": lambda m: setattr(m.flavour.properties.latency, "seconds", 2**62),
    "off the earth": lambda m: setattr(m.flavour.properties.location.coordinates, "latitude", float("nan")),
    "negative carbon": lambda m: setattr(m.flavour.properties, "carbon_grams_per_hour", -1),
    "absurd time": lambda m: setattr(m.as_of, "seconds", 2**62),
    "negative step": lambda m: setattr(m.flavour.policies.partitionability.step, "cpu_millicores", -1),
    "step of many devices": lambda m: m.flavour.policies.partitionability.unit_step_millis.update({"gpu": 5_000}),
    "endless": lambda m: setattr(m.flavour.owner, "contact", "x" * 300_000),
}


@pytest.mark.parametrize("what", SPOILT)
def test_an_offer_that_makes_no_sense_is_named_and_not_used(what: str) -> None:
    message = listed()
    SPOILT[what](message)
    with pytest.raises(Unusable):
        read(message)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_bring_the_reader_down(noise: bytes, at: int) -> None:
    whole = listed().SerializeToString()
    try:
        message = flavour_pb2.ListedFlavour.FromString(whole[:at] + noise + whole[at + len(noise) :])
    except Exception:  # no message at all: gRPC does not hand it on
        return
    with contextlib.suppress(Unusable):
        read(message)


def test_the_shortest_route_comes_first() -> None:
    message = listed()
    far = message.routes.add()
    far.CopyFrom(message.routes[0])
    far.hops = 2
    message.routes.reverse()

    assert [route.hops for route in read(message).routes] == [0, 2]


def test_age_counts_from_the_origin_by_our_own_clock() -> None:
    message = listed()
    message.routes[0].age.seconds = 7

    candidate = read(message)

    assert candidate.age(Instant(NOW + 3 * SECOND)) == 10 * SECOND
    assert candidate.age(Instant(NOW - SECOND)) == 7 * SECOND


def test_a_window_is_expected_as_a_provider_would_resolve_it() -> None:
    later = Instant(NOW + HOUR)
    assert expected_window(AskedWindow(), NOW) == Window(NOW, Instant(NOW + DAY))
    assert expected_window(AskedWindow(later, duration=HOUR), NOW) == Window(later, Instant(NOW + 2 * HOUR))
    assert expected_window(AskedWindow(end=later), NOW) == Window(NOW, later)


# Refusals on their way back

COUNTER_OFFER = CounterOffer(f"{POOL}-3", PARTITION, HOUR_FROM_NOW, Window(NOW, Instant(NOW + 5)), True, NOW)

REFUSALS = [
    refusals.InvalidField("partition.units", "is too much"),
    refusals.FlavourNotFound("gone", {"flavour_id": "p-1"}),
    refusals.FlavourChanged("changed", {"current_flavour_id": "p-2"}),
    refusals.CapacityExceeded("does not fit", COUNTER_OFFER),
    refusals.CapacityExceeded("does not fit"),
    refusals.ContractNotFound("no such"),
    refusals.ServiceRequestNotFound("no such"),
    refusals.OperationNotFound("no such", {"name": "operations/x"}),
    refusals.WrongState("is over", {"state": "EXPIRED"}),
    refusals.TtpPassed("too late"),
    refusals.RevisionMismatch("another", {"revision": "3"}),
    refusals.RequestIdReused("used"),
    refusals.PriceAboveMaximum("dear", {"price": "3"}),
    refusals.WrongProvider("not me"),
    refusals.NotServed("group", "later"),
    refusals.NotAuthenticated("who"),
    refusals.PermissionDenied("no", {"caller": "x"}),
]


def arrived(refusal: refusals.Refusal) -> Refused | Unreachable:
    """As a client sees it."""
    status = status_of(refusal)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return failure_of(
        grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers(status)), status.message)
    )


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
def test_a_refusal_comes_back_as_what_it_was(refusal: refusals.Refusal) -> None:
    back = in_domain(arrived(refusal))

    assert type(back) is type(refusal)
    assert isinstance(back, refusals.Refusal)
    assert (back.reason, back.message, back.metadata) == (refusal.reason, refusal.message, refusal.metadata)
    if isinstance(refusal, refusals.CapacityExceeded):
        assert isinstance(back, refusals.CapacityExceeded)
        assert back.counter_offer == refusal.counter_offer


LONG = "\N{GRINNING FACE}" * 10_000
WORDY = [
    refusals.InvalidField(LONG, LONG),
    refusals.ServiceRequestNotFound(LONG, {"service_request_id": LONG}),
    refusals.NotServed(LONG, LONG),
    refusals.NotReady(LONG, SECOND, because=LONG),
]


@pytest.mark.parametrize("refusal", WORDY, ids=lambda refusal: type(refusal).__name__)
def test_a_refusal_of_whatever_letters_fits_into_the_trailers(refusal: refusals.Refusal) -> None:
    status = status_of(refusal)
    ((_, details),) = trailers(status)

    assert len(b64encode(details)) + len(quote(status.message)) < 6_000  # of 8 KiB, from which on they may be lost
    assert status.details[0].TypeName() == "google.rpc.ErrorInfo"


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED])
@pytest.mark.parametrize("reason", ["", "NEVER_HEARD_OF" + "X" * 10_000, "WRONG_STATE", "INVALID_FIELD"])
def test_no_more_is_taken_of_what_a_peer_says_than_we_would_say(code: grpc.StatusCode, reason: str) -> None:
    kind = Unreachable if code is grpc.StatusCode.UNAVAILABLE else Refused
    facts = {f"fact {n}": LONG for n in range(100)}

    back = in_domain(kind(code, LONG, reason=reason, metadata=facts, violations=(Violation(LONG, LONG),)))

    said = [back.message, back.reason, *getattr(back, "metadata", {}).values()]
    assert sum(len(text.encode()) for text in said) < 6_000


def test_a_peer_that_is_not_ready_has_not_refused() -> None:
    back = in_domain(arrived(refusals.NotReady("starting", SECOND)))

    assert isinstance(back, Unanswered)
    assert (back.reason, back.code) == ("NOT_READY", grpc.StatusCode.UNAVAILABLE.value[0])


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.RESOURCE_EXHAUSTED]
)
def test_a_fault_of_a_peer_is_no_answer(code: grpc.StatusCode) -> None:
    assert isinstance(in_domain(Refused(code, "oops")), Unanswered)


def test_a_reason_of_tomorrow_is_a_refusal_all_the_same() -> None:
    back = in_domain(Refused(grpc.StatusCode.FAILED_PRECONDITION, "because", reason="MOON_IS_FULL"))

    assert isinstance(back, refusals.RefusedElsewhere)
    assert back.metadata["reason"] == "MOON_IS_FULL"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UntrueAnswer("another contract"), "UNTRUE_ANSWER"),
        (WrongService(grpc.StatusCode.UNAUTHENTICATED, "another service"), "WRONG_SERVICE"),
    ],
)
def test_a_peer_that_is_another_has_not_answered(error: UntrueAnswer | WrongService, reason: str) -> None:
    back = in_domain(error)

    assert isinstance(back, Unanswered)
    assert back.reason == reason


def test_a_counter_offer_that_makes_no_sense_is_left_out() -> None:
    message = counter_offer_to_proto(replace(COUNTER_OFFER, asked_window=Window(NOW, NOW)))
    with pytest.raises(Unusable):
        counter_offer_from(message)

    back = in_domain(
        Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "full",
            reason="CAPACITY_EXCEEDED",
            counter_offer=contract_pb2.CounterOffer(),
        )
    )

    assert isinstance(back, refusals.CapacityExceeded)
    assert back.counter_offer is None
