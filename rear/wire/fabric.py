"""Requests for the resources of contracts, and offers of them, both ways."""

from __future__ import annotations

from typing import Final

from rear.domain.fabric import Grant, ResourceOffer, ResourceRequest
from rear.domain.link import ContractCopy
from rear.domain.quantities import NOTHING
from rear.domain.refusals import InvalidField
from rear.domain.window import Instant, Window
from rear.v1 import fabric_service_pb2 as pb
from rear.wire.heard import Unusable, contract_from
from rear.wire.requests import check_extended_kinds, window_from
from rear.wire.values import (
    read_quantities,
    read_shares,
    write_quantities,
    write_shares,
    write_window,
)

LONGEST: Final = 16 * 1024
"""Bytes of what a fabric says in its own form, such as a kubeconfig."""


def request_to_proto(asked: ResourceRequest, provider_id: str) -> pb.RequestResourcesRequest:
    """The request, meant for `provider_id`."""
    message = pb.RequestResourcesRequest(provider_id=provider_id, contract_id=asked.contract_id)
    write_quantities(message.quantities, asked.quantities)
    write_shares(message.units, asked.units)
    write_window(message.window, asked.window)
    return message


def request_from(message: pb.RequestResourcesRequest) -> ResourceRequest:
    """What a caller asks for. Whether its contract covers that is for `rear.domain.fabric`."""
    check_extended_kinds(message.quantities.extended, "quantities")
    asked = window_from(message.window, "window")
    return ResourceRequest(
        message.contract_id,
        read_quantities(message.quantities) if message.HasField("quantities") else NOTHING,
        read_shares(message.units),
        Window(_edge(asked.start, "start"), _edge(asked.end, "end")),
    )


def write_resource_offer(message: pb.ResourceOffer, offer: ResourceOffer) -> None:
    """The offer, with its credential: for its consumer's eyes only."""
    message.contract_id = offer.contract_id
    message.allocation_id = offer.allocation_id
    message.fabric = offer.fabric
    message.endpoint = offer.grant.endpoint
    message.credential = offer.grant.credential
    write_quantities(message.quantities, offer.quantities)
    write_shares(message.units, offer.units)
    write_window(message.window, offer.window)
    message.active = offer.active


def offer_from(message: pb.RequestResourcesResponse, asked: ResourceRequest) -> tuple[ResourceOffer, ContractCopy]:
    """What a peer answered to a request. Raises Unusable where that is about anything else than what was asked for."""
    offer, contract = message.offer, contract_from(message.contract)
    expected = request_to_proto(asked, "")
    same = (
        offer.contract_id == contract.id == asked.contract_id
        and offer.quantities == expected.quantities
        and offer.window == expected.window
        and read_shares(offer.units) == asked.units
    )
    if not same:
        raise Unusable(f"the offer is not about what contract {asked.contract_id} is about")
    for name in ("allocation_id", "fabric", "endpoint", "credential"):
        if len(getattr(offer, name)) > LONGEST:
            raise Unusable(f"the offer has a field {name} of more than {LONGEST} bytes")
    return (
        ResourceOffer(
            asked.contract_id,
            offer.allocation_id,
            offer.fabric,
            Grant(offer.endpoint, offer.credential),
            asked.quantities,
            asked.units,
            asked.window,
            offer.active,
        ),
        contract,
    )


def _edge(instant: Instant | None, name: str) -> Instant:
    if instant is None:
        raise InvalidField(f"window.{name}", "is required: the window is the contract's, with its start and its end")
    return instant
