"""DiscoveryService: LIST_FLAVOURS at the edge."""

from __future__ import annotations

from typing import Final

from rear.domain.refusals import InvalidField, NotServed
from rear.ledger.position import parse_position
from rear.managers.provider.discovery import DiscoveryManager, Listed
from rear.managers.provider.provider import Provider
from rear.rpc.answering import Context, Gate, answered
from rear.v1 import discovery_service_pb2 as pb
from rear.v1 import discovery_service_pb2_grpc, flavour_pb2
from rear.wire.flavours import direct_route, listed_flavour_to_proto
from rear.wire.requests import window_from
from rear.wire.selectors import order_from, selector_from
from rear.wire.values import write_instant

DEFAULT_LIMIT: Final = 100
LARGEST_LIMIT: Final = 1_000
LARGEST_RESPONSE: Final = 3 * 1024 * 1024
"""Bytes of flavours in an answer: clients take 4 MiB by default."""

OWN_SCOPES: Final = (pb.DISCOVERY_SCOPE_UNSPECIFIED, pb.DISCOVERY_SCOPE_SELF)


class DiscoveryServicer(discovery_service_pb2_grpc.DiscoveryServiceServicer):
    """Answers from this service's own flavours."""

    def __init__(self, manager: DiscoveryManager, provider: Provider, endpoint: str, gate: Gate) -> None:
        self.gate = gate
        self._manager = manager
        self._provider = provider
        self._endpoint = endpoint

    @answered
    async def ListFlavours(self, request: pb.ListFlavoursRequest, context: Context) -> pb.ListFlavoursResponse:
        """Lists the flavours that a selector selects."""
        limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
        if not 1 <= limit <= LARGEST_LIMIT:
            raise InvalidField("limit", f"is {limit}; it must be from 1 to {LARGEST_LIMIT}")
        if request.scope not in OWN_SCOPES:
            raise NotServed("scope", "this service answers for itself only: leave it out, or ask a supernode")
        check_position(self._provider, request.at_least_position, "at_least_position")
        listing = await self._manager.find(
            selector_from(request.selector if request.HasField("selector") else None),
            order=order_from(request.order),
            limit=limit,
        )
        response = pb.ListFlavoursResponse(truncated=listing.truncated, position=listing.position)
        size = 0
        for listed in listing.flavours:
            flavour = self._listed(listed)
            size += flavour.ByteSize()
            if size > LARGEST_RESPONSE:
                response.truncated = True
                break
            response.flavours.append(flavour)
        write_instant(response.server_time, listing.at)
        return response

    @answered
    async def GetFlavour(self, request: pb.GetFlavourRequest, context: Context) -> pb.GetFlavourResponse:
        """Gets one flavour."""
        self._provider.check_meant(request.provider_id)
        asked = window_from(request.window if request.HasField("window") else None, "window")
        listing = await self._manager.get(request.flavour_id, asked)
        response = pb.GetFlavourResponse(flavour=self._listed(listing.flavours[0]), position=listing.position)
        write_instant(response.server_time, listing.at)
        return response

    def _listed(self, listed: Listed) -> flavour_pb2.ListedFlavour:
        provider_id = self._provider.provider_id
        return listed_flavour_to_proto(
            listed.flavour,
            provider_id,
            listed.available,
            listed.available_units,
            listed.as_of,
            listed.total_price,
            (direct_route(provider_id, self._endpoint, listed.flavour.terms.price),),
        )


def check_position(provider: Provider, text: str, field: str) -> None:
    """Refuses a position that is none, is of another ledger, or has not come yet. The writer has all that has."""
    if not text:
        return
    position, own = parse_position(text), provider.writer.position
    if position is None:
        raise InvalidField(field, "is not a position")
    if position.log_id != own.log_id:
        raise InvalidField(field, "is a position of another ledger")
    if position.sequence > own.sequence:
        raise InvalidField(field, "is a position that this ledger has not reached")
