"""Proves from the ledger alone that no pool, kind or device was ever promised beyond what it has.

    python tests/conformance/prove_not_oversold.py HOST:PORT

It reads the events in their order, with the generated types and nothing else of this project, and holds every hold,
at the moment it was made, against all holds that lived then: at each instant of its window. Exit code 1 where
something was oversold, or where the hash chain is broken.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256

import grpc

from rear.event.v1 import pool_pb2
from rear.event.v1.envelope_pb2 import Envelope
from rear.v1 import audit_service_pb2 as audit
from rear.v1.audit_service_pb2_grpc import AuditServiceStub
from rear.v1.quantities_pb2 import Quantities

Amounts = dict[str, int]


def read(endpoint: str) -> Iterator[audit.RecordedEvent]:
    with grpc.insecure_channel(endpoint) as channel:
        for response in AuditServiceStub(channel).ReadEvents(audit.ReadEventsRequest()):
            yield from response.events


def amounts(quantities: Quantities, units: Iterable[tuple[str, str, int]]) -> Amounts:
    found = {field.name: value for field, value in quantities.ListFields() if field.name != "extended"}
    return found | dict(quantities.extended) | {f"{kind}/{name}": millis for kind, name, millis in units}


def held(hold: pool_pb2.Hold) -> tuple[int, int, Amounts]:
    shares = amounts(hold.quantities, ((unit.unit_class, unit.name, unit.millis) for unit in hold.units))
    return hold.window.start.ToNanoseconds(), hold.window.end.ToNanoseconds(), shares


def oversold(events: Iterable[audit.RecordedEvent]) -> Iterator[str]:
    """One line for each promise beyond capacity, and one where the chain breaks."""
    capacity: dict[str, Amounts] = {}
    live: dict[str, dict[str, tuple[int, int, Amounts]]] = defaultdict(dict)
    previous = bytes(32)
    for event in events:
        subject = event.subject.encode()
        previous = sha256(previous + len(subject).to_bytes(4, "big") + subject + event.payload).digest()
        if previous != event.hash:
            yield f"{event.sequence}: the hash chain is broken"
            return
        envelope, pool = Envelope.FromString(event.payload), event.subject.rpartition(".")[2]
        match envelope.WhichOneof("body"):
            case "pool_registered" | "capacity_changed" as body:
                made = getattr(envelope, body)
                capacity[pool] = amounts(made.capacity, ((unit.unit_class, unit.name, 1000) for unit in made.units))
            case "hold_released":
                del live[pool][envelope.hold_released.hold_id]
            case "pool_reserved":
                hold = envelope.pool_reserved.hold
                begin, end, wanted = live[pool][hold.hold_id] = held(hold)
                others = live[pool].values()
                for instant in {begin} | {start for start, _, _ in others if begin < start < end}:
                    for kind in wanted:
                        used = sum(taken.get(kind, 0) for start, stop, taken in others if start <= instant < stop)
                        if used > (has := capacity[pool].get(kind, 0)):
                            yield f"{event.sequence}: {pool} has {has} {kind}, {used} are promised at {instant}"


def main() -> None:
    found = list(oversold(read(sys.argv[1])))
    print("\n".join(found) or "not oversold at any instant; the hash chain holds")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
