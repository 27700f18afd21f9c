"""One event of each class, as a node would write it. Their bytes are kept: `unit/golden_events.txt`."""

from __future__ import annotations

from typing import Final

from rear.domain.answers import HeardRefusal, ProviderAnswer
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
)
from rear.domain.hold import Hold, HoldKind
from rear.domain.intent import Component, Constraints, Intent, Port, Workload
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.link import ContractCopy, LinkVerb, Order
from rear.domain.link_events import LinkObserved, LinkRequested, LinkUndone
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import Quantities
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
from rear.domain.selector import LocationFilter, TextFilter
from rear.domain.source import VirtualNodeSource
from rear.domain.units import Unit, UnitRequest, UnitShare
from rear.domain.window import HOUR, MILLISECOND, MINUTE, AskedWindow, Duration, Instant, Window, after

SOURCE: Final = "spiffe://campus.example/node/n1"
BUYER: Final = "spiffe://edge.example/node/n2"
POOL: Final = "machine-17"
CONTRACT: Final = "6f1d2a0e-4b7c-5a52-9c7e-3a8f0f6c1d2b"
ALLOCATION: Final = f"{CONTRACT}-provider"
REQUEST: Final = "9a3e6c58-0d6f-4f2c-8a55-1b7c9d3e2f41"
FINGERPRINT: Final = bytes(range(32))

NOW: Final = Instant(1_767_225_600_123_456_789)
LATER: Final = Instant(NOW + 1_000_000_001)
HOUR_FROM_NOW: Final = Window(NOW, after(NOW, HOUR))

ASKED: Final = Cause(NOW, NOW, BUYER, REQUEST)
BY_ITSELF: Final = Cause(NOW, LATER)

CAPACITY: Final = Quantities(
    {
        "cpu_millicores": 64_000,
        "memory_bytes": 2**38,
        "storage_bytes": 0,
        "pods": 110,
        "fpga.example/slots": 4,
    }
)
GPUS: Final = (Unit("gpu", "gpu-0", (("model", "T4"), ("vendor", "nvidia"))), Unit("gpu", "gpu-1"))
TERMS: Final = PoolTerms(
    FlavourType.K8SLICE,
    Characteristics("amd64", K8SliceFacts("1.33", "containerd")),
    Properties(
        latency=Duration(5 * MILLISECOND),
        security_standards=("iso27001", "bsi-c5"),
        carbon_grams_per_hour=120,
        tags=(("rack", "r7"), ("tier", "gold")),
        location=Location("DE", "Leipzig", (51.34, 12.375)),
    ),
    Policies(
        Partitionability(
            Quantities({"cpu_millicores": 500, "memory_bytes": 2**28}),
            Quantities({"cpu_millicores": 250}),
            Quantities({"gpu": 100}),
            Quantities({"gpu": 50}),
        ),
        Aggregatability(1, 3),
    ),
    Price(
        (
            PriceComponent("", Money("EUR", 1_500_000_000)),
            PriceComponent("cpu_millicores", Money("EUR", 20_000_000), 1_000, HOUR),
        )
    ),
    Owner("campus.example", "Campus computing", "ops@campus.example"),
)
SENSOR_TERMS: Final = PoolTerms(FlavourType.SENSOR, Characteristics("", SensorFacts("temperature", "Cel", MINUTE)))
FIRST: Final = Offer(
    f"{POOL}-1", "", CAPACITY, (UnitShare("gpu", "gpu-0", 1_000), UnitShare("gpu", "gpu-1", 1_000)), NOW
)
SECOND: Final = Offer(
    f"{POOL}-2",
    f"{POOL}-1",
    Quantities({**CAPACITY, "cpu_millicores": 60_000, "memory_bytes": 2**38 - 2**33}),
    (UnitShare("gpu", "gpu-0", 500), UnitShare("gpu", "gpu-1", 1_000)),
    LATER,
)
PARTITION: Final = Demand(
    Quantities({"cpu_millicores": 4_000, "memory_bytes": 2**33}),
    (UnitRequest("gpu", 1, 500, (("model", "T4"),)),),
)
HALF_GPU: Final = (UnitShare("gpu", "gpu-0", 500),)

SERVICE_REQUEST: Final = "0c5c2f7e-94b1-5a0e-8f3b-6d2e7a1c9b40"
WORKLOAD: Final = Workload(("/bin/shop", "--serve"), (("MODE", "fast"),), (Port("http", 8_080),))
WEB: Final = Component("web", Demand(Quantities({"cpu_millicores": 2_000, "memory_bytes": 2**32})), WORKLOAD)
STORE: Final = Component(
    "store",
    PARTITION,
    WORKLOAD,
    minimum=Quantities({"cpu_millicores": 2_000}),
    constraints=Constraints(
        architectures=("amd64",),
        location=LocationFilter(country=TextFilter(exact="DE")),
        max_price=Money("EUR", 2_500_000_000),
        max_latency=Duration(20 * MILLISECOND),
        tags=(("tier", "gold"),),
    ),
    window=AskedWindow(NOW, duration=HOUR),
    latest_start=after(NOW, HOUR),
    depends_on=("web",),
)
INTENT: Final = Intent("shop", (WEB, STORE), priority=3)
COUNTER_OFFER: Final = CounterOffer(
    f"{POOL}-2",
    Demand(Quantities({"cpu_millicores": 3_000, "memory_bytes": 2**33})),
    HOUR_FROM_NOW,
    Window(after(NOW, HOUR), after(NOW, Duration(2 * HOUR))),
    True,
    LATER,
)


ORDER: Final = Order(
    SOURCE,
    "10.0.0.7:7000",
    f"{POOL}-1",
    PARTITION,
    AskedWindow(NOW, None, HOUR),
    Duration(10 * MINUTE),
    False,
    Money("EUR", 2_000_000_000),
    -2,
)
COPY: Final = ContractCopy(
    CONTRACT,
    SOURCE,
    BUYER,
    f"{POOL}-1",
    POOL,
    PARTITION,
    HALF_GPU,
    HOUR_FROM_NOW,
    ContractState.CANCELLED,
    2,
    Money("EUR", 1_580_000_000),
    -2,
    NOW,
    LATER,
    None,
    Ending(BUYER, "no longer needed"),
    ALLOCATION,
    "chain-1",
)


def expired(contract_id: str, reason: str = "it was not purchased in time") -> ContractExpired:
    return ContractExpired(contract_id, 2, BY_ITSELF, reason)


EVENTS: Final[tuple[AnyEvent, ...]] = (
    PoolRegistered(POOL, 1, Cause(NOW, NOW, SOURCE, REQUEST), TERMS, CAPACITY, GPUS, FIRST),
    PoolTermsChanged(POOL, 2, ASKED, SENSOR_TERMS, SECOND),
    CapacityChanged(POOL, 3, ASKED, CAPACITY, GPUS, None),
    PoolReserved(
        POOL,
        4,
        ASKED,
        Hold(CONTRACT, HoldKind.CONTRACT, HOUR_FROM_NOW, PARTITION.quantities, HALF_GPU),
        SECOND,
    ),
    HoldReleased(POOL, 5, BY_ITSELF, CONTRACT, SECOND),
    PoolRetired(POOL, 6, ASKED, "moved to another rack", f"{POOL}-2"),
    ContractReserved(
        CONTRACT,
        1,
        ASKED,
        ContractState.RESERVED,
        BUYER,
        f"{POOL}-1",
        POOL,
        PARTITION,
        HALF_GPU,
        HOUR_FROM_NOW,
        after(NOW, 10 * MINUTE),
        Money("EUR", 1_580_000_000),
        -2,
        FINGERPRINT,
        ALLOCATION,
        "chain-1",
    ),
    ContractPurchased(CONTRACT, 2, ASKED, FINGERPRINT),
    ContractActivated(CONTRACT, 3, BY_ITSELF),
    ContractCancelled(CONTRACT, 4, ASKED, BUYER, "no longer needed", FINGERPRINT),
    expired(CONTRACT),
    ContractCompleted(CONTRACT, 4, BY_ITSELF, "its window ended"),
    ContractRevoked(CONTRACT, 4, ASKED, SOURCE, "the machine is broken", FINGERPRINT),
    AllocationCreated(
        ALLOCATION,
        1,
        ASKED,
        CONTRACT,
        AllocationSide.PROVIDER,
        POOL,
        HOUR_FROM_NOW,
        PARTITION.quantities,
        HALF_GPU,
    ),
    AllocationReleased(ALLOCATION, 2, BY_ITSELF, "its contract ended"),
    AllocationPeered(ALLOCATION, 2, ASKED, BUYER, "embedded", "10.0.0.7:7000"),
    AllocationActivated(ALLOCATION, 3, BY_ITSELF),
    AllocationFailed(ALLOCATION, 4, BY_ITSELF, "the provider speaks no fabric that is known here"),
    LedgerOpened("n1", 1, BY_ITSELF, "f4c7a5f0-5d3e-4f0e-9a43-2f6f2c8b7e10"),
    WriterChanged("n1", 2, BY_ITSELF, 7, "10.0.0.7:7000"),
    LossAccepted("n1", 3, ASKED, 4_711, "ab" * 32, 4_700, "the disk was replaced"),
    IntentAccepted(SERVICE_REQUEST, 1, ASKED, INTENT, FINGERPRINT),
    ComponentPlanned(
        SERVICE_REQUEST,
        2,
        BY_ITSELF,
        "web",
        VirtualNodeSource(f"{CONTRACT}-consumer", HALF_GPU),
        HOUR_FROM_NOW,
    ),
    ProvidersAsked(
        SERVICE_REQUEST,
        4,
        BY_ITSELF,
        "store",
        (
            ProviderAnswer(SOURCE, "10.0.0.7:7000", 0, "", Duration(3 * MILLISECOND), 2),
            ProviderAnswer("", "10.0.0.8:7000", 4, "no answer within 2 s", Duration(2_000 * MILLISECOND)),
        ),
    ),
    CandidateChosen(
        SERVICE_REQUEST, 5, BY_ITSELF, "store", CONTRACT, SOURCE, f"{POOL}-1", 2, "the cheapest of 2 offers"
    ),
    CandidateRefused(
        SERVICE_REQUEST,
        6,
        BY_ITSELF,
        "store",
        CONTRACT,
        HeardRefusal(SOURCE, f"{POOL}-1", "CAPACITY_EXCEEDED", "pool machine-17 has not that much", COUNTER_OFFER),
    ),
    PurchaseDecided(SERVICE_REQUEST, 7, BY_ITSELF),
    ComponentReady(SERVICE_REQUEST, 8, BY_ITSELF, "web"),
    ComponentEnded(SERVICE_REQUEST, 9, BY_ITSELF, "web", "its window ended"),
    RequestReady(SERVICE_REQUEST, 10, BY_ITSELF),
    RequestFailed(SERVICE_REQUEST, 11, BY_ITSELF, "NOTHING_FITS", "nobody has what store needs"),
    RequestCancelled(SERVICE_REQUEST, 11, ASKED, BUYER, "no longer needed", FINGERPRINT),
    RequestCompleted(SERVICE_REQUEST, 11, BY_ITSELF),
    OperationDeleted(SERVICE_REQUEST, 12, ASKED),
    LinkRequested(CONTRACT, 1, ASKED, LinkVerb.RESERVE, REQUEST, ORDER, "9e107d9d-372b-5b6c-8f3d-0c2a4f3e6a11", "web"),
    LinkObserved(CONTRACT, 2, BY_ITSELF, COPY, Duration(12 * MILLISECOND)),
    LinkUndone(
        CONTRACT,
        2,
        BY_ITSELF,
        "CAPACITY_EXCEEDED",
        "it does not fit",
        CounterOffer(f"{POOL}-2", PARTITION, HOUR_FROM_NOW, None, True, LATER),
        Duration(12 * MILLISECOND),
    ),
)
