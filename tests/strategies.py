"""Hypothesis strategies for the domain's values: everything that it may hold, not only what makes sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from immutables import Map

from rear.domain.allocation import Allocation, AllocationState, Peering
from rear.domain.answers import HeardRefusal, ProviderAnswer
from rear.domain.contract import Contract, VerbRequest
from rear.domain.counter_offer import CounterOffer
from rear.domain.demand import Demand
from rear.domain.events import (
    AllocationActivated,
    AllocationCreated,
    AllocationFailed,
    AllocationPeered,
    AllocationReleased,
    AllocationSide,
    AnyEvent,
    CapacityChanged,
    Cause,
    ContractActivated,
    ContractCancelled,
    ContractCompleted,
    ContractExpired,
    ContractPurchased,
    ContractReserved,
    ContractRevoked,
    Event,
    HoldReleased,
    LedgerOpened,
    LossAccepted,
    PoolRegistered,
    PoolReserved,
    PoolRetired,
    PoolTermsChanged,
    WriterChanged,
)
from rear.domain.flavour import (
    Aggregatability,
    Characteristics,
    FlavourType,
    K8SliceFacts,
    Location,
    Offer,
    Owner,
    Partitionability,
    Policies,
    PoolTerms,
    Properties,
    SensorFacts,
    ServiceFacts,
    VmFacts,
)
from rear.domain.hold import Hold, HoldKind
from rear.domain.intent import Agreement, Component, Constraints, Intent, Objective, Port, Workload
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.link import ContractCopy, LinkVerb, Order
from rear.domain.link_events import LinkObserved, LinkRequested, LinkUndone
from rear.domain.pool import Pool
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import CORE_KINDS, Quantities
from rear.domain.request_events import (
    CandidateChosen,
    CandidateRefused,
    ComponentEnded,
    ComponentPlanned,
    ComponentReady,
    IntentAccepted,
    OperationDeleted,
    ProvidersAsked,
    PurchaseDecided,
    RequestCancelled,
    RequestCompleted,
    RequestFailed,
    RequestReady,
)
from rear.domain.selector import LocationFilter, TextFilter, Vicinity
from rear.domain.source import Elsewhere, LocalSource, VirtualNodeSource
from rear.domain.units import MILLIS_PER_UNIT, Unit, UnitRequest, UnitShare, attributes
from rear.domain.window import FOREVER, SECOND, AskedWindow, Duration, Instant, Window

INT32: Final = st.integers(-(2**31), 2**31 - 1)
INT64: Final = st.integers(-(2**63), 2**63 - 1)
COUNTS: Final = st.integers(1, 2**63 - 1)

texts: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tokens: Final = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_ABC:/", min_size=1, max_size=12)
"""What may be a token of a subject."""

hashes: Final = st.binary(max_size=32)

instants: Final = st.integers(-62_135_596_800 * SECOND, FOREVER + SECOND - 1).map(Instant)
durations: Final = st.integers(-(10**20), 10**20).map(Duration)
windows: Final = st.builds(Window, instants, instants)
moneys: Final = st.builds(
    Money, st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3), st.integers(-(10**27), 10**27)
)

kinds: Final = st.sampled_from(CORE_KINDS) | tokens
quantities: Final = st.builds(Quantities, st.dictionaries(kinds, INT64, max_size=6))
by_class: Final = st.builds(Quantities, st.dictionaries(tokens, st.integers(0, MILLIS_PER_UNIT), max_size=3))
descriptions: Final = st.dictionaries(texts, texts, max_size=3).map(attributes)

units: Final = st.builds(Unit, texts, texts, descriptions)
unit_tuples: Final = st.lists(units, max_size=4).map(tuple)
shares: Final = st.lists(st.builds(UnitShare, texts, texts, INT64), max_size=4).map(tuple)
unit_requests: Final = st.builds(UnitRequest, texts, INT64, INT64, descriptions)
demands: Final = st.builds(Demand, quantities, st.lists(unit_requests, max_size=3).map(tuple))

prices: Final = st.builds(
    Price,
    st.lists(st.builds(PriceComponent, texts, moneys, INT64, st.none() | durations), max_size=3).map(tuple),
)
type_facts: Final = st.one_of(
    st.builds(K8SliceFacts, texts, texts),
    st.builds(VmFacts, texts, st.lists(texts, max_size=3).map(tuple)),
    st.builds(ServiceFacts, texts, texts, texts),
    st.builds(SensorFacts, texts, texts, st.none() | durations),
)
coordinates: Final = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
properties: Final = st.builds(
    Properties,
    st.none() | durations,
    st.lists(texts, max_size=3).map(tuple),
    st.none() | INT64,
    descriptions,
    st.none() | st.builds(Location, texts, texts, st.none() | coordinates),
)
policies: Final = st.builds(
    Policies,
    st.none() | st.builds(Partitionability, quantities, quantities, by_class, by_class),
    st.none() | st.builds(Aggregatability, INT32, INT32),
)
terms: Final = st.builds(
    PoolTerms,
    st.sampled_from(FlavourType),
    st.builds(Characteristics, texts, st.none() | type_facts),
    properties,
    policies,
    prices,
    st.builds(Owner, texts, texts, texts),
)
offers: Final = st.builds(Offer, texts, texts, quantities, shares, instants)
holds: Final = st.builds(Hold, texts, st.sampled_from(HoldKind), windows, quantities, shares)

asked_windows: Final = st.builds(AskedWindow, st.none() | instants, st.none() | instants, st.none() | durations)
text_tuples: Final = st.lists(texts, max_size=2).map(tuple)
text_filters: Final = st.none() | st.builds(TextFilter, st.none() | texts, st.frozensets(texts, max_size=2))
constraints: Final = st.builds(
    Constraints,
    text_tuples,
    text_tuples,
    st.none()
    | st.builds(LocationFilter, text_filters, text_filters, st.none() | st.builds(Vicinity, coordinates, INT64)),
    st.none() | moneys,
    st.none() | durations,
    text_tuples,
    descriptions,
)
workloads: Final = st.builds(
    Workload, text_tuples, descriptions, st.lists(st.builds(Port, texts, INT32), max_size=2).map(tuple)
)
components: Final = st.builds(
    Component,
    name=texts,
    partition=demands,
    workload=workloads,
    minimum=quantities,
    constraints=constraints,
    window=asked_windows,
    latest_start=st.none() | instants,
    objective=st.sampled_from(Objective),
    depends_on=text_tuples,
)
intents: Final = st.builds(
    Intent, texts, st.lists(components, max_size=3).map(tuple), st.sampled_from(Agreement), INT32
)
counter_offers: Final = st.builds(
    CounterOffer,
    texts,
    st.none() | demands,
    windows,
    st.none() | windows,
    st.booleans(),
    instants,
)
orders: Final = st.builds(
    Order,
    texts,
    texts,
    texts,
    demands,
    asked_windows,
    st.none() | durations,
    st.booleans(),
    st.none() | moneys,
    INT32,
)
copies: Final = st.builds(
    ContractCopy,
    id=texts,
    provider_id=texts,
    buyer_id=texts,
    flavour_id=texts,
    pool_id=texts,
    partition=demands,
    assigned_units=shares,
    window=windows,
    state=st.sampled_from(ContractState),
    revision=INT64,
    price=st.none() | moneys,
    priority=INT32,
    created_at=instants,
    updated_at=instants,
    purchase_before=st.none() | instants,
    ending=st.none() | st.builds(Ending, texts, texts),
    allocation_id=texts,
    chain_id=texts,
)

provider_answers: Final = st.builds(ProviderAnswer, texts, texts, INT32, texts, durations, INT32)
heard_refusals: Final = st.builds(HeardRefusal, texts, texts, texts, texts, st.none() | counter_offers)
sources: Final = st.one_of(
    st.builds(LocalSource, texts, texts), st.builds(VirtualNodeSource, texts, shares), st.builds(Elsewhere)
)

causes: Final = st.builds(Cause, instants, instants, texts, texts)
every: Final = {"originator_id": tokens, "originator_version": COUNTS, "cause": causes}
"""What every event has."""

maybe_offers: Final = st.none() | offers

EVENTS: Final[Mapping[type[Event], SearchStrategy[AnyEvent]]] = {
    PoolRegistered: st.builds(
        PoolRegistered, **every, terms=terms, capacity=quantities, units=unit_tuples, offer=offers
    ),
    PoolTermsChanged: st.builds(PoolTermsChanged, **every, terms=terms, offer=offers),
    CapacityChanged: st.builds(CapacityChanged, **every, capacity=quantities, units=unit_tuples, offer=maybe_offers),
    PoolReserved: st.builds(PoolReserved, **every, hold=holds, offer=maybe_offers),
    HoldReleased: st.builds(HoldReleased, **every, hold_id=texts, offer=maybe_offers),
    PoolRetired: st.builds(PoolRetired, **every, reason=texts, retired_flavour_id=texts),
    ContractReserved: st.builds(
        ContractReserved,
        **every,
        state=st.sampled_from(ContractState),
        buyer_id=texts,
        flavour_id=texts,
        pool_id=texts,
        partition=demands,
        assigned_units=shares,
        window=windows,
        purchase_before=st.none() | instants,
        price=st.none() | moneys,
        priority=INT32,
        fingerprint=hashes,
        allocation_id=texts,
        chain_id=texts,
    ),
    ContractPurchased: st.builds(ContractPurchased, **every, fingerprint=hashes),
    ContractActivated: st.builds(ContractActivated, **every),
    ContractCancelled: st.builds(ContractCancelled, **every, actor=texts, reason=texts, fingerprint=hashes),
    ContractExpired: st.builds(ContractExpired, **every, reason=texts),
    ContractCompleted: st.builds(ContractCompleted, **every, reason=texts),
    ContractRevoked: st.builds(ContractRevoked, **every, actor=texts, reason=texts, fingerprint=hashes),
    AllocationCreated: st.builds(
        AllocationCreated,
        **every,
        contract_id=texts,
        side=st.sampled_from(AllocationSide),
        pool_id=texts,
        window=windows,
        quantities=quantities,
        units=shares,
    ),
    AllocationReleased: st.builds(AllocationReleased, **every, reason=texts),
    AllocationPeered: st.builds(AllocationPeered, **every, peer_id=texts, fabric=texts, endpoint=texts),
    AllocationActivated: st.builds(AllocationActivated, **every),
    AllocationFailed: st.builds(AllocationFailed, **every, reason=texts),
    LedgerOpened: st.builds(LedgerOpened, **every, log_id=texts),
    WriterChanged: st.builds(WriterChanged, **every, epoch=INT64, endpoint=texts),
    LossAccepted: st.builds(
        LossAccepted,
        **every,
        anchored_sequence=INT64,
        anchored_hash=texts,
        found_sequence=INT64,
        reason=texts,
    ),
    IntentAccepted: st.builds(IntentAccepted, **every, intent=intents, fingerprint=hashes),
    ComponentPlanned: st.builds(ComponentPlanned, **every, component=texts, source=sources, window=st.none() | windows),
    ProvidersAsked: st.builds(
        ProvidersAsked,
        **every,
        component=texts,
        answers=st.lists(provider_answers, max_size=3).map(tuple),
        known_before=st.booleans(),
    ),
    CandidateChosen: st.builds(
        CandidateChosen,
        **every,
        component=texts,
        contract_id=texts,
        provider_id=texts,
        flavour_id=texts,
        considered=INT32,
        reason=texts,
    ),
    CandidateRefused: st.builds(CandidateRefused, **every, component=texts, contract_id=texts, refusal=heard_refusals),
    PurchaseDecided: st.builds(PurchaseDecided, **every),
    ComponentReady: st.builds(ComponentReady, **every, component=texts),
    ComponentEnded: st.builds(ComponentEnded, **every, component=texts, reason=texts),
    RequestReady: st.builds(RequestReady, **every),
    RequestFailed: st.builds(RequestFailed, **every, reason=texts, message=texts),
    RequestCancelled: st.builds(RequestCancelled, **every, actor=texts, reason=texts, fingerprint=hashes),
    RequestCompleted: st.builds(RequestCompleted, **every),
    OperationDeleted: st.builds(OperationDeleted, **every),
    LinkRequested: st.builds(
        LinkRequested,
        **every,
        verb=st.sampled_from(LinkVerb),
        link_request_id=texts,
        order=st.none() | orders,
        service_request_id=texts,
        component=texts,
        reason=texts,
    ),
    LinkObserved: st.builds(LinkObserved, **every, contract=copies, elapsed=st.none() | durations),
    LinkUndone: st.builds(
        LinkUndone,
        **every,
        reason=texts,
        message=texts,
        counter_offer=st.none() | counter_offers,
        elapsed=st.none() | durations,
    ),
}
"""One strategy for each class of event."""

events: Final[SearchStrategy[AnyEvent]] = st.one_of(*EVENTS.values())

pools: Final = st.builds(
    Pool,
    id=tokens,
    version=COUNTS,
    terms=terms,
    capacity=quantities,
    units=unit_tuples,
    offer=maybe_offers,
    offers=COUNTS,
    terms_since_offer=COUNTS,
    holds=st.lists(holds, max_size=3).map(lambda held: Map({hold.id: hold for hold in held})),
)
contracts: Final = st.builds(
    Contract,
    id=tokens,
    version=COUNTS,
    buyer_id=texts,
    flavour_id=texts,
    pool_id=texts,
    partition=demands,
    assigned_units=shares,
    window=windows,
    state=st.sampled_from(ContractState),
    purchase_before=st.none() | instants,
    price=st.none() | moneys,
    priority=INT32,
    fingerprint=hashes,
    allocation_id=texts,
    chain_id=texts,
    request_id=texts,
    created_at=instants,
    updated_at=instants,
    ending=st.none() | st.builds(Ending, texts, texts),
    requests=st.lists(st.builds(VerbRequest, texts, texts, hashes), max_size=3).map(tuple),
)
allocations: Final = st.builds(
    Allocation,
    id=tokens,
    version=COUNTS,
    contract_id=texts,
    side=st.sampled_from(AllocationSide),
    pool_id=texts,
    window=windows,
    quantities=quantities,
    units=shares,
    state=st.sampled_from(AllocationState),
    updated_at=instants,
    peered=st.none() | st.builds(Peering, texts, texts, texts),
)
