"""Requests that are bad in one thing each, and how each is refused."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from rear.domain.reservation import Promises
from rear.domain.window import HOUR, SECOND, Instant
from rear.v1 import audit_service_pb2 as audit
from rear.v1 import audit_service_pb2_grpc, contract_service_pb2_grpc, discovery_service_pb2_grpc
from rear.v1 import contract_service_pb2 as contracts
from rear.v1 import discovery_service_pb2 as discovery
from rear.v1.contract_pb2 import Contract
from rear.wire.values import write_instant
from tests.system.asking import cancel, get, in_seconds, purchase, reserve, revoke

Code = grpc.StatusCode
PROMISES: Final = Promises()


@dataclass(frozen=True, slots=True)
class World:
    """A node with a contract in each state that the requests need."""

    provider_id: str
    reserved: Contract
    spent: str
    """The request id that reserved it."""
    bought: Contract
    expired: Contract
    token: str
    """A page token of the list without filters."""
    discovery: discovery_service_pb2_grpc.DiscoveryServiceStub
    contracts: contract_service_pb2_grpc.ContractServiceStub
    audit: audit_service_pb2_grpc.AuditServiceStub

    def position(self) -> str:
        """That of the last event."""
        (page,) = self.audit.ReadEvents(audit.ReadEventsRequest(last=1), timeout=10)
        return page.events[-1].position

    def send(self, request: Message) -> object:
        """Calls the method that takes such a request."""
        name = type(request).__name__.removesuffix("Request")
        for stub in (self.discovery, self.contracts, self.audit):
            if (method := getattr(stub, name, None)) is not None:
                answer = method(request, timeout=10)
                return list(answer) if name in ("ReadEvents", "WatchContracts") else answer
        raise AssertionError(name)


@dataclass(frozen=True, slots=True)
class Bad:
    """A bad request, how it is refused, and the field that is named; for other refusals the facts that are."""

    name: str
    request: Callable[[World], Message]
    path: str = ""
    code: grpc.StatusCode = Code.INVALID_ARGUMENT
    reason: str = "INVALID_FIELD"
    metadata: Mapping[str, str] = field(default_factory=dict)


# -- requests, each good but for one thing -----------------------------------------------------------------


def reserving(
    change: Callable[[contracts.ReserveFlavourRequest], object], flavour_id: str = "p-1"
) -> Callable[[World], contracts.ReserveFlavourRequest]:
    def request(_: World) -> contracts.ReserveFlavourRequest:
        made = reserve(flavour_id)
        change(made)
        return made

    return request


def cores(millicores: int) -> Callable[[World], contracts.ReserveFlavourRequest]:
    def change(request: contracts.ReserveFlavourRequest) -> None:
        request.partition.quantities.cpu_millicores = millicores

    return reserving(change)


def window(
    start: Callable[[Instant], int] | None, end: Callable[[Instant], int] | None
) -> Callable[[World], contracts.ReserveFlavourRequest]:
    """Of two instants that are told the time."""

    def change(request: contracts.ReserveFlavourRequest) -> None:
        if start is not None:
            write_instant(request.window.start, Instant(start(in_seconds(0))))
        if end is not None:
            write_instant(request.window.end, Instant(end(in_seconds(0))))

    return reserving(change)


def stamp(name: str, seconds: int, nanos: int = 0) -> Callable[[World], contracts.ReserveFlavourRequest]:
    return reserving(lambda request: getattr(request.window, name).CopyFrom(Timestamp(seconds=seconds, nanos=nanos)))


def ttp(seconds: int, nanos: int = 0, lease: int = 2 * HOUR) -> Callable[[World], contracts.ReserveFlavourRequest]:
    def change(request: contracts.ReserveFlavourRequest) -> None:
        request.ttp.seconds, request.ttp.nanos = seconds, nanos
        request.ttp.SetInParent()
        write_instant(request.window.end, Instant(in_seconds(0) + lease))

    return reserving(change)


def gpus(
    unit_class: str = "gpu", count: int = 1, millis: int = 1_000
) -> Callable[[World], contracts.ReserveFlavourRequest]:
    return reserving(
        lambda request: request.partition.units.add(unit_class=unit_class, count=count, millis_each=millis)
    )


def money(currency: str, units: int = 1, nanos: int = 0) -> Callable[[World], contracts.ReserveFlavourRequest]:
    def change(request: contracts.ReserveFlavourRequest) -> None:
        request.max_price.currency_code, request.max_price.units, request.max_price.nanos = currency, units, nanos

    return reserving(change)


def naming(name: str, value: object) -> Callable[[World], contracts.ReserveFlavourRequest]:
    return reserving(lambda request: setattr(request, name, value))


def listing(**fields: object) -> Callable[[World], contracts.ListContractsRequest]:
    return lambda world: contracts.ListContractsRequest(**fields)  # type: ignore[arg-type]


def token_with_other_filters(world: World) -> contracts.ListContractsRequest:
    assert world.token
    return contracts.ListContractsRequest(page_token=world.token, pool_id="p")


def spent_by_another_body(world: World) -> contracts.ReserveFlavourRequest:
    return reserve("p-1", cores=1, request_id=world.spent)


def flavours(change: Callable[[discovery.ListFlavoursRequest], object]) -> Callable[[World], Message]:
    def request(_: World) -> discovery.ListFlavoursRequest:
        made = discovery.ListFlavoursRequest()
        change(made)
        return made

    return request


def revised(contract: Contract, revision: int) -> contracts.PurchaseFlavourRequest:
    request = purchase(contract)
    request.revision = revision
    return request


def unrevised(world: World) -> contracts.PurchaseFlavourRequest:
    request = purchase(world.reserved)
    request.ClearField("revision")
    return request


def verb_without_id(
    request: contracts.PurchaseFlavourRequest | contracts.CancelContractRequest | contracts.RevokeContractRequest,
) -> Message:
    request.ClearField("request_id")
    return request


CPU: Final = "partition.quantities.cpu_millicores"
UNKNOWN: Final = "0d9e5c0e-8f0a-5b53-93b5-000000000000"
FORGED: Final = urlsafe_b64encode(b"12.000000000000").decode().rstrip("=")

BAD: Final = (
    # what is asked for
    Bad(
        "unknown flavour",
        naming("flavour_id", "nowhere-1"),
        code=Code.NOT_FOUND,
        reason="FLAVOUR_NOT_FOUND",
        metadata={"flavour_id": "nowhere-1"},
    ),
    Bad(
        "flavour not advertised yet",
        naming("flavour_id", "p-999"),
        code=Code.NOT_FOUND,
        reason="FLAVOUR_NOT_FOUND",
        metadata={"flavour_id": "p-999"},
    ),
    Bad("no flavour", naming("flavour_id", ""), "flavour_id"),
    Bad("flavour without a number", naming("flavour_id", "p"), "flavour_id"),
    Bad("flavour with number zero", naming("flavour_id", "p-0"), "flavour_id"),
    Bad("flavour with a padded number", naming("flavour_id", "p-01"), "flavour_id"),
    Bad("flavour with foreign digits", naming("flavour_id", "p-\N{ARABIC-INDIC DIGIT ONE}"), "flavour_id"),
    Bad("flavour with a newline", naming("flavour_id", "p-1\n"), "flavour_id"),
    Bad("flavour that never ends", naming("flavour_id", "p" * 9_000 + "-1"), "flavour_id"),
    Bad("flavour with a huge number", naming("flavour_id", "p-" + "9" * 5_000), "flavour_id"),
    Bad("absent partition", reserving(lambda request: request.ClearField("partition")), "partition"),
    Bad("empty partition", reserving(lambda request: request.partition.Clear()), "partition"),
    Bad("partition of zero", cores(0), "partition"),
    Bad("negative quantity", cores(-1_000), CPU),
    Bad("quantity beyond all bounds", cores(2**63 - 1), CPU),
    Bad("below the minimum", cores(499), CPU),
    Bad("off the step", cores(1_250), CPU),
    Bad(
        "part of what is sold whole",
        reserving(lambda request: None, "whole-1"),
        "partition.quantities.cpu_millicores",
    ),
    Bad(
        "unknown kind",
        reserving(lambda request: request.partition.quantities.extended.update({"fpga": 1})),
        "partition.quantities.extended[fpga]",
    ),
    Bad(
        "a kind that the flavour does not offer",
        reserving(lambda request: setattr(request.partition.quantities, "pods", 1)),
        "partition.quantities.pods",
    ),
    Bad(
        "a field's kind by name",
        reserving(lambda request: request.partition.quantities.extended.update({"cpu_millicores": 1})),
        "partition.quantities.extended[cpu_millicores]",
    ),
    Bad("unknown unit class", gpus("tpu"), "partition.units[0].unit_class"),
    Bad("no unit class", gpus(""), "partition.units[0].unit_class"),
    Bad("no units", gpus(count=0), "partition.units[0].count"),
    Bad("negative units", gpus(count=-1), "partition.units[0].count"),
    Bad("no millis", gpus(millis=0), "partition.units[0].millis_each"),
    Bad("more than a device", gpus(millis=1_001), "partition.units[0].millis_each"),
    # when
    Bad("end before start", window(lambda now: now + 2 * HOUR, lambda now: now + HOUR), "window.end"),
    Bad("zero length", window(lambda now: now + HOUR, lambda now: now // HOUR * HOUR + HOUR), "window.end"),
    Bad("start in the past", window(lambda now: now - SECOND, lambda now: now + HOUR), "window.start"),
    Bad("all in the past", window(None, lambda now: now - SECOND), "window.end"),
    Bad("end beyond the horizon", window(None, lambda now: now + PROMISES.horizon + SECOND * 60), "window.end"),
    Bad("start beyond the horizon", window(lambda now: now + PROMISES.horizon, None), "window.end"),
    Bad("nanos of a start too large", stamp("start", 4_000_000_000, SECOND), "window.start.nanos"),
    Bad("nanos of an end negative", stamp("end", 4_000_000_000, -1), "window.end.nanos"),
    Bad("year zero", stamp("start", -62_135_596_801), "window.start.seconds"),
    Bad("year 10000", stamp("end", 253_402_300_800), "window.end.seconds"),
    Bad("seconds that no clock has", stamp("end", 2**63 - 1), "window.end.seconds"),
    Bad("time to purchase beyond the maximum", ttp(PROMISES.maximum_ttp // SECOND, 1), "ttp"),
    Bad("time to purchase beyond the window", ttp(61, lease=60 * SECOND), "ttp"),
    Bad("time to purchase of zero", ttp(0), "ttp"),
    Bad("negative time to purchase", ttp(-1), "ttp"),
    Bad("time to purchase with two signs", ttp(1, -1), "ttp.nanos"),
    Bad("nanos of a time to purchase too large", ttp(1, SECOND), "ttp.nanos"),
    # for how much, by whom
    Bad("currency in small letters", money("eur"), "max_price.currency_code"),
    Bad("no currency", money(""), "max_price.currency_code"),
    Bad("another currency", money("USD"), "max_price.currency_code"),
    Bad("negative maximum", money("EUR", -1), "max_price.units"),
    Bad("nanos of a maximum too large", money("EUR", 1, SECOND), "max_price.nanos"),
    Bad(
        "maximum below the price",
        money("EUR", 0, 1),
        code=Code.FAILED_PRECONDITION,
        reason="PRICE_ABOVE_MAXIMUM",
        metadata={"currency": "EUR"},
    ),
    Bad("no request id", naming("request_id", ""), "request_id"),
    Bad("request id with a space", naming("request_id", "a b"), "request_id"),
    Bad("request id with a newline", naming("request_id", "ab\n"), "request_id"),
    Bad("request id that is too long", naming("request_id", "a" * 65), "request_id"),
    Bad("chain id that is too long", naming("chain_id", "c" * 65), "chain_id"),
    Bad(
        "request id of another body",
        spent_by_another_body,
        code=Code.ALREADY_EXISTS,
        reason="REQUEST_ID_REUSED",
    ),
    Bad(
        "group",
        reserving(lambda request: setattr(request.group, "group_id", str(uuid4()))),
        path="group",
        code=Code.UNIMPLEMENTED,
        reason="NOT_SERVED",
    ),
    Bad(
        "route by another seller",
        reserving(lambda request: setattr(request.route.route, "seller_id", "spiffe://other.test/node/x")),
        path="route",
        code=Code.UNIMPLEMENTED,
        reason="NOT_SERVED",
    ),
    Bad(
        "another provider",
        naming("provider_id", "spiffe://other.test/node/x"),
        code=Code.NOT_FOUND,
        reason="WRONG_PROVIDER",
        metadata={"provider_id": "spiffe://system.test/node/n1"},
    ),
    Bad("oversized message", naming("chain_id", "c" * 300_000), "request"),
    # purchase and cancel
    Bad("purchase without a contract", lambda world: revised(Contract(), 1), "contract_id"),
    Bad(
        "purchase of an unknown contract",
        lambda world: revised(Contract(contract_id=UNKNOWN), 1),
        code=Code.NOT_FOUND,
        reason="CONTRACT_NOT_FOUND",
        metadata={"contract_id": UNKNOWN},
    ),
    Bad("purchase without a revision", unrevised, "revision"),
    Bad(
        "purchase of another revision",
        lambda world: revised(world.reserved, 7),
        code=Code.ABORTED,
        reason="REVISION_MISMATCH",
        metadata={"revision": "1"},
    ),
    Bad(
        "purchase after its time",
        lambda world: purchase(world.expired),
        code=Code.FAILED_PRECONDITION,
        reason="TTP_PASSED",
        metadata={"state": "EXPIRED"},
    ),
    Bad(
        "purchase of what is bought",
        lambda world: purchase(world.bought),
        code=Code.FAILED_PRECONDITION,
        reason="WRONG_STATE",
        metadata={"state": "CONFIRMED"},
    ),
    Bad("purchase without a request id", lambda world: verb_without_id(purchase(world.reserved)), "request_id"),
    Bad(
        "purchase by the reservation's request id",
        lambda world: purchase(world.reserved, request_id=world.spent),
        code=Code.ALREADY_EXISTS,
        reason="REQUEST_ID_REUSED",
    ),
    Bad(
        "cancel of an unknown contract",
        lambda world: cancel(Contract(contract_id=UNKNOWN)),
        code=Code.NOT_FOUND,
        reason="CONTRACT_NOT_FOUND",
        metadata={"contract_id": UNKNOWN},
    ),
    Bad("cancel without a contract", lambda world: cancel(Contract()), "contract_id"),
    Bad("cancel without a request id", lambda world: verb_without_id(cancel(world.reserved)), "request_id"),
    Bad(
        "cancel with too long a reason",
        lambda world: contracts.CancelContractRequest(
            contract_id=world.reserved.contract_id, request_id="r", reason="x" * 257
        ),
        "reason",
    ),
    Bad(
        "cancel of another revision",
        lambda world: contracts.CancelContractRequest(
            contract_id=world.reserved.contract_id, request_id="r", revision=9
        ),
        code=Code.ABORTED,
        reason="REVISION_MISMATCH",
    ),
    Bad("revocation without a reason", lambda world: revoke(world.reserved, reason=""), "reason"),
    Bad("revocation with too long a reason", lambda world: revoke(world.reserved, reason="x" * 257), "reason"),
    Bad("revocation without a contract", lambda world: revoke(Contract()), "contract_id"),
    Bad("revocation without a request id", lambda world: verb_without_id(revoke(world.reserved)), "request_id"),
    Bad(
        "revocation by the reservation's request id",
        lambda world: revoke(world.reserved, request_id=world.spent),
        code=Code.ALREADY_EXISTS,
        reason="REQUEST_ID_REUSED",
    ),
    Bad(
        "an id that is no id",
        lambda world: get(Contract(contract_id="' OR 1=1 --")),
        code=Code.NOT_FOUND,
        reason="CONTRACT_NOT_FOUND",
    ),
    # lists
    Bad("malformed page token", listing(page_token="not a token!"), "page_token"),
    Bad("page token in other letters", listing(page_token="ünïcode"), "page_token"),
    Bad("page token that never ends", listing(page_token="A" * 4_001), "page_token"),
    Bad("forged page token", listing(page_token=FORGED), "page_token"),
    Bad("page token of other filters", token_with_other_filters, "page_token"),
    Bad("negative page size", listing(page_size=-1), "page_size"),
    Bad("page size out of range", listing(page_size=1_001), "page_size"),
    Bad("unknown state", listing(states=[99]), "states[0]"),
    Bad("position that is none", listing(at_least_position="x"), "at_least_position"),
    Bad("limit of zero", flavours(lambda request: setattr(request, "limit", 0)), "limit"),
    Bad("limit out of range", flavours(lambda request: setattr(request, "limit", 1_001)), "limit"),
    Bad("unknown order", flavours(lambda request: setattr(request, "order", 77)), "order"),
    Bad(
        "scope of the domain",
        flavours(lambda request: setattr(request, "scope", discovery.DISCOVERY_SCOPE_DOMAIN)),
        path="scope",
        code=Code.UNIMPLEMENTED,
        reason="NOT_SERVED",
    ),
    Bad(
        "selector with an unknown type",
        flavours(lambda request: request.selector.MergeFromString(b"\x08\x2a")),
        "selector.types[0]",
    ),
    Bad(
        "selector with bounds that cross",
        flavours(
            lambda request: request.selector.quantities.cpu_millicores.MergeFrom(
                type(request.selector.quantities.cpu_millicores)(min=2, max=1)
            )
        ),
        "selector.quantities.cpu_millicores.min",
    ),
    Bad(
        "selector with an empty partition",
        flavours(lambda request: request.selector.partition.SetInParent()),
        "selector.partition",
    ),
    Bad(
        "selector with a window that is turned round",
        flavours(lambda request: write_instant(request.selector.window.end, Instant(1))),
        "selector.window.end",
    ),
    Bad(
        "selector with a negative latency",
        flavours(lambda request: setattr(request.selector.max_latency, "nanos", -1)),
        "selector.max_latency",
    ),
    # watches
    Bad(
        "position of a watch that is none",
        lambda world: contracts.WatchContractsRequest(after_position="?"),
        "after_position",
    ),
    Bad(
        "too many contracts to watch",
        lambda world: contracts.WatchContractsRequest(contract_ids=["x"] * 1_001),
        "contract_ids",
    ),
    Bad(
        "a nameless contract to watch", lambda world: contracts.WatchContractsRequest(contract_ids=[""]), "contract_ids"
    ),
    Bad(
        "a watch at another provider",
        lambda world: contracts.WatchContractsRequest(provider_id="spiffe://else.where/node/x"),
        code=Code.NOT_FOUND,
        reason="WRONG_PROVIDER",
    ),
    Bad(
        "everybody's contracts without a name of one's own",
        lambda world: contracts.WatchContractsRequest(all_buyers=True),
        code=Code.PERMISSION_DENIED,
        reason="PERMISSION_DENIED",
        metadata={"permission": "administer"},
    ),
    # the ledger
    Bad("negative limit of events", lambda world: audit.ReadEventsRequest(limit=-1), "limit"),
    Bad("position of events that is none", lambda world: audit.ReadEventsRequest(after_position="?"), "after_position"),
    Bad("unknown aggregate", lambda world: audit.ReadEventsRequest(aggregate_type="pools"), "aggregate_type"),
    Bad("aggregate without its type", lambda world: audit.ReadEventsRequest(aggregate_id="p"), "aggregate_type"),
    Bad(
        "aggregate by a wildcard",
        lambda world: audit.ReadEventsRequest(aggregate_type="pool", aggregate_id=">"),
        "aggregate_id",
    ),
    Bad("last events below zero", lambda world: audit.ReadEventsRequest(last=-1), "last"),
)
