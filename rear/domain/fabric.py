"""Peerings: what a fabric carries from a provider to a consumer, one slice for each contract (steps 25 to 27)."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from rear.domain.allocation import Allocation
from rear.domain.contract import Contract
from rear.domain.link import ContractCopy
from rear.domain.partition import field_of
from rear.domain.quantities import Quantities
from rear.domain.refusals import InvalidField
from rear.domain.units import UnitShare
from rear.domain.value import value
from rear.domain.window import Duration, Window

MOST_SHOWN: Final = 16
"""Devices that a refusal names."""


@value
class Slice:
    """The resources of one contract, and `peer_id`, the other side of it: all that a fabric is told of it."""

    contract_id: str
    peer_id: str
    quantities: Quantities
    units: tuple[UnitShare, ...]
    window: Window


@value
class Grant:
    """How the resources of a slice are reached, in the fabric's own form. An empty endpoint: where it was asked for.

    The credential is for that slice alone. It is shown to its consumer and to nobody else: not in a ledger, not in a
    log, and not by `repr`.
    """

    endpoint: str
    credential: bytes = field(repr=False)


@value
class ResourceRequest:
    """What a buyer takes a contract of its own to be about, when it asks for the resources."""

    contract_id: str
    quantities: Quantities
    units: tuple[UnitShare, ...]
    window: Window


@value
class ResourceOffer:
    """The resources of a contract and how they are reached; `active` where the provider's allocation is."""

    contract_id: str
    allocation_id: str
    fabric: str
    grant: Grant
    quantities: Quantities
    units: tuple[UnitShare, ...]
    window: Window
    active: bool


@value
class HeardOffer:
    """An offer as its consumer heard it at `endpoint`, from the one that is meant, with the contract that it is for."""

    offer: ResourceOffer
    contract: ContractCopy
    endpoint: str
    elapsed: Duration


class FabricUnavailable(Exception):
    """The fabric cannot do it now; it may be asked again."""


class FabricRefuses(Exception):
    """The fabric cannot do it, and asking again will not change that."""


def slice_of(allocation: Allocation, peer_id: str) -> Slice:
    """What a fabric carries for an allocation whose other side is `peer_id`."""
    return Slice(allocation.contract_id, peer_id, allocation.quantities, allocation.units, allocation.window)


def request_for(allocation: Allocation) -> ResourceRequest:
    """What the consumer of an allocation asks for."""
    return ResourceRequest(allocation.contract_id, allocation.quantities, allocation.units, allocation.window)


def check_covers(contract: Contract, asked: ResourceRequest) -> None:
    """Refuses a request that is not exactly about what the contract is about: InvalidField names what differs."""
    agreed = contract.partition.quantities
    for kind in sorted({*agreed, *asked.quantities}):
        if asked.quantities.get(kind) != agreed.get(kind):
            raise InvalidField(
                field_of(kind, "quantities"),
                f"is {_said(asked.quantities.get(kind))}; contract {contract.id} is about {_said(agreed.get(kind))}",
            )
    if sorted(asked.units) != sorted(contract.assigned_units):
        raise InvalidField(
            "units", f"is {_devices(asked.units)}; contract {contract.id} assigned {_devices(contract.assigned_units)}"
        )
    for edge, wanted, stands in (
        ("start", asked.window.start, contract.window.start),
        ("end", asked.window.end, contract.window.end),
    ):
        if wanted != stands:
            raise InvalidField(
                f"window.{edge}", f"is not the contract's: contract {contract.id} has its {edge} at {stands} ns"
            )


def _said(amount: int | None) -> str:
    return "absent" if amount is None else str(amount)


def _devices(shares: tuple[UnitShare, ...]) -> str:
    return ", ".join(f"{share.name}:{share.millis}" for share in sorted(shares)[:MOST_SHOWN]) or "nothing"
