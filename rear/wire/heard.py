"""What peers answer. They are not trusted: all that is used of it is checked, and what is wrong is named.

Readers raise `Unusable`. What a peer says of itself beyond that is for whoever knows whom it asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from rear.domain.candidate import Candidate, Route
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.flavour import Flavour, Offer, Properties, parse_flavour_id
from rear.domain.lifecycle import Ending
from rear.domain.link import ContractCopy
from rear.domain.partition import MAX_AMOUNT, MAX_UNITS, check_well_formed
from rear.domain.price import Price
from rear.domain.quantities import Quantities
from rear.domain.refusals import InvalidField
from rear.domain.units import MILLIS_PER_UNIT, Unit, UnitShare
from rear.domain.window import HOUR, Duration, Instant, Window
from rear.v1 import contract_pb2, flavour_pb2, quantities_pb2, window_pb2
from rear.wire.contracts import CONTRACT_STATES, read_copy
from rear.wire.requests import check_extended_kinds, duration_from, instant_from, money_from, shown
from rear.wire.terms import FLAVOUR_TYPES, read_price, read_terms
from rear.wire.values import read_partition, read_quantities, read_unit

MOST_BYTES: Final = 256 * 1024
"""Of one offer. One of a thousand devices has some 100 KiB."""

MOST_KINDS: Final = 64
MOST_COMPONENTS: Final = 64
MOST_ROUTES: Final = 16
MOST_HOPS: Final = 64
LONGEST_ID: Final = 512
LONGEST_REASON: Final = 1_024
"""Characters that are kept of what a seller says of why it ended a contract."""
OLDEST: Final = Duration(24 * HOUR)
"""An offer whose age is more than this is no offer."""

_IDENTITY: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}/[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


class Unusable(ValueError):
    """Something that a peer said cannot be used; the message says what, and why."""


def candidate_from(
    message: flavour_pb2.ListedFlavour, window: Window, heard_at: Instant, endpoint: str = ""
) -> Candidate:
    """An offer that was heard, with what was free over `window`. Raises Unusable.

    `endpoint` is where the peer that sells it was asked: what it says of its own endpoint may hold for others, but that
    one has just been reached. Without one the offer's own is kept.
    """
    if message.ByteSize() > MOST_BYTES:
        raise Unusable(f"an offer of {message.ByteSize()} bytes, more than {MOST_BYTES}")
    said = message.flavour
    try:
        parsed = parse_flavour_id(said.flavour_id)
        if parsed is None or parsed[0] != said.pool_id:
            raise Unusable(f"its flavour id {shown(said.flavour_id)!r} is not of its pool {shown(said.pool_id)!r}")
        provider_id = identity(said.provider_id)
        if endpoint:
            for route in message.routes:
                route.endpoint = endpoint
        return Candidate(
            provider_id,
            _flavour(said),
            _routes(message.routes),
            _quantities(message.available, "available"),
            tuple(_shares(message.available_units, "available_units")),
            window,
            instant_from(message.as_of, "as_of"),
            heard_at,
            message.SerializeToString(),
        )
    except InvalidField as wrong:
        raise Unusable(f"offer {shown(said.flavour_id)}: {wrong}") from wrong


def counter_offer_from(message: contract_pb2.CounterOffer) -> CounterOffer:
    """What would have fitted. Raises Unusable."""
    try:
        if parse_flavour_id(message.flavour_id) is None:
            raise Unusable(f"{shown(message.flavour_id)!r} is not a flavour's id")
        return CounterOffer(
            message.flavour_id,
            _partition(message.most_in_window, "most_in_window") if message.HasField("most_in_window") else None,
            _window(message.asked_window, "asked_window"),
            _window(message.earliest_window, "earliest_window") if message.HasField("earliest_window") else None,
            message.exhaustive,
            instant_from(message.as_of, "as_of"),
        )
    except InvalidField as wrong:
        raise Unusable(f"the counter-offer: {wrong}") from wrong


def contract_from(message: contract_pb2.Contract) -> ContractCopy:
    """A contract as its seller shows it. Raises Unusable. Whether it is the one that was asked for is not looked at."""
    if message.ByteSize() > MOST_BYTES:
        raise Unusable(f"a contract of {message.ByteSize()} bytes, more than {MOST_BYTES}")
    try:
        if message.state not in CONTRACT_STATES:
            raise InvalidField("state", f"is {message.state}, which is not known here")
        if message.revision < 1:
            raise InvalidField("revision", f"is {message.revision}; the first one is 1")
        _partition(message.partition, "partition")
        _window(message.window, "window")
        money_from(message.price if message.HasField("price") else None, "price")
        for instant in ("created_at", "updated_at", "purchase_before"):
            instant_from(getattr(message, instant), instant)
        if len(message.assigned_units) > MAX_UNITS:
            raise InvalidField("assigned_units", f"are {len(message.assigned_units)}")
        for at, share in enumerate(message.assigned_units):
            if not 1 <= share.millis <= MILLIS_PER_UNIT:
                raise InvalidField(f"assigned_units[{at}].millis", f"is {share.millis}")
            _check_length(share.unit_class, f"assigned_units[{at}].unit_class")
            _check_length(share.name, f"assigned_units[{at}].name")
        for name in ("contract_id", "provider_id", "buyer_id", "flavour_id", "pool_id", "allocation_id", "chain_id"):
            _check_length(getattr(message, name), name)
        copy = read_copy(message)
        if copy.ending is None:
            return copy
        return replace(copy, ending=Ending(copy.ending.actor[:LONGEST_ID], copy.ending.reason[:LONGEST_REASON]))
    except InvalidField as wrong:
        raise Unusable(f"contract {shown(message.contract_id)}: {wrong}") from wrong


def _check_length(text: str, field: str) -> None:
    if len(text) > LONGEST_ID:
        raise InvalidField(field, f"has {len(text)} characters; {LONGEST_ID} at most")


def identity(uri: str) -> str:
    """A service's identity. Raises Unusable."""
    if len(uri) > LONGEST_ID or _IDENTITY.fullmatch(uri) is None:
        raise Unusable(f"{shown(uri)!r} is nobody's identity: spiffe://<domain>/<role>/<service>")
    return uri


def _flavour(said: flavour_pb2.Flavour) -> Flavour:
    if said.type not in FLAVOUR_TYPES:
        raise Unusable(f"offer {shown(said.flavour_id)} is of type {said.type}, which is not known here")
    _check_price(said.price, "flavour.price")
    _check_facts(said)
    terms = read_terms(said)
    _check_properties(terms.properties)
    units = tuple(_units(said.units))
    shares = tuple(_shares(said.units, "flavour.units"))
    advertised_at = instant_from(said.advertised_at, "flavour.advertised_at")
    quantities = _quantities(said.quantities, "flavour.quantities")
    offer = Offer(said.flavour_id, shown(said.parent_id), quantities, shares, advertised_at)
    return Flavour(offer, terms, said.pool_id, units)


def _check_facts(said: flavour_pb2.Flavour) -> None:
    bounds = said.policies.partitionability
    for amounts, field in ((bounds.minimum, "minimum"), (bounds.step, "step")):
        _quantities(amounts, f"policies.partitionability.{field}")
    for millis in (bounds.unit_minimum_millis, bounds.unit_step_millis):
        if len(millis) > MOST_KINDS or any(not 0 <= amount <= MILLIS_PER_UNIT for amount in millis.values()):
            raise InvalidField("policies.partitionability", "has bounds on millis that no device can have")
    if said.properties.HasField("latency"):
        duration_from(said.properties.latency, "properties.latency")


def _check_properties(facts: Properties) -> None:
    if facts.latency is not None and facts.latency < 0:
        raise InvalidField("properties.latency", "is negative")
    if facts.carbon_grams_per_hour is not None and not 0 <= facts.carbon_grams_per_hour <= MAX_AMOUNT:
        raise InvalidField("properties.carbon_grams_per_hour", f"is {facts.carbon_grams_per_hour}")
    if facts.location is not None and facts.location.coordinates is not None:
        latitude, longitude = facts.location.coordinates
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise InvalidField("properties.location.coordinates", "are not on the earth")


def _routes(messages: Iterable[flavour_pb2.Route]) -> tuple[Route, ...]:
    """The shortest first, and of these the youngest."""
    routes = [_route(message, f"routes[{at}]") for at, message in enumerate(messages)]
    if not 1 <= len(routes) <= MOST_ROUTES:
        raise InvalidField("routes", f"are {len(routes)}; there must be 1 to {MOST_ROUTES}")
    return tuple(sorted(routes, key=lambda route: (route.hops, route.age, route.seller_id)))


def _route(message: flavour_pb2.Route, parent: str) -> Route:
    if not 0 <= message.hops <= MOST_HOPS:
        raise InvalidField(f"{parent}.hops", f"is {message.hops}")
    age = duration_from(message.age if message.HasField("age") else None, f"{parent}.age")
    if age is None or not 0 <= age <= OLDEST:
        raise InvalidField(f"{parent}.age", "is not said, negative, or more than a day")
    if not 1 <= len(message.endpoint) <= LONGEST_ID:
        raise InvalidField(f"{parent}.endpoint", "is no host:port")
    _check_price(message.price, f"{parent}.price")
    return Route(identity(message.seller_id), message.endpoint, read_price(message.price), message.hops, age)


def _check_price(message: flavour_pb2.Price, parent: str) -> Price:
    if len(message.components) > MOST_COMPONENTS:
        raise InvalidField(parent, f"has {len(message.components)} components")
    for at, part in enumerate(message.components):
        money_from(part.amount, f"{parent}.components[{at}].amount")
        if part.HasField("per_amount") and not 1 <= part.per_amount <= MAX_AMOUNT:
            raise InvalidField(f"{parent}.components[{at}].per_amount", f"is {part.per_amount}")
        per = duration_from(part.per_duration if part.HasField("per_duration") else None, f"{parent}.per_duration")
        if per is not None and per <= 0:
            raise InvalidField(f"{parent}.components[{at}].per_duration", "is not longer than nothing")
    price = read_price(message)
    if len({component.amount.currency for component in price.components}) > 1:
        raise InvalidField(parent, "has more than one currency")
    return price


def _quantities(message: quantities_pb2.Quantities, parent: str) -> Quantities:
    check_extended_kinds(message.extended, parent)
    amounts = read_quantities(message)
    if len(amounts) > MOST_KINDS:
        raise InvalidField(parent, f"has {len(amounts)} kinds; {MOST_KINDS} at most")
    for kind, amount in amounts.items():
        if not 0 <= amount <= MAX_AMOUNT:
            raise InvalidField(f"{parent}.{kind}", f"is {amount}")
    return amounts


def _units(messages: Iterable[quantities_pb2.OfferedUnit]) -> Iterator[Unit]:
    seen: set[tuple[str, str]] = set()
    for message in messages:
        unit = read_unit(message.unit)
        key = (unit.unit_class, unit.name)
        if not all(1 <= len(name) <= LONGEST_ID for name in key) or key in seen or len(seen) == MAX_UNITS:
            raise InvalidField(
                "flavour.units", f"has a device too many, or without a name of its own: {shown(unit.name)!r}"
            )
        seen.add(key)
        yield unit


def _shares(messages: Iterable[quantities_pb2.OfferedUnit], parent: str) -> Iterator[UnitShare]:
    for at, message in enumerate(messages):
        if at == MAX_UNITS or not 0 <= message.millis <= MILLIS_PER_UNIT:
            raise InvalidField(f"{parent}[{at}].millis", f"is {message.millis}, of one device too many or of none")
        yield UnitShare(message.unit.unit_class, message.unit.name, message.millis)


def _partition(message: quantities_pb2.Partition, parent: str) -> Demand:
    check_extended_kinds(message.quantities.extended, f"{parent}.quantities")
    for at, request in enumerate(message.units):
        _check_length(request.unit_class, f"{parent}.units[{at}].unit_class")
    demand = read_partition(message)
    check_well_formed(demand, parent)
    return demand


def _window(message: window_pb2.Window, parent: str) -> Window:
    window = Window(instant_from(message.start, f"{parent}.start"), instant_from(message.end, f"{parent}.end"))
    if window.end <= window.start:
        raise InvalidField(parent, "is empty or turned round")
    return window
