"""FabricService: RequestResources at the edge."""

from __future__ import annotations

from rear.managers.provider.fabric import FabricManager
from rear.managers.provider.provider import Provider
from rear.rpc.answering import Context, Gate, answered
from rear.rpc.identity import Callers
from rear.v1 import fabric_service_pb2 as pb
from rear.v1 import fabric_service_pb2_grpc
from rear.wire.contracts import write_contract
from rear.wire.fabric import request_from, write_resource_offer
from rear.wire.values import write_instant


class FabricServicer(fabric_service_pb2_grpc.FabricServiceServicer):
    """Answers for the resources behind this service's own contracts."""

    def __init__(self, manager: FabricManager, provider: Provider, callers: Callers, gate: Gate) -> None:
        self.gate = gate
        self._manager = manager
        self._provider = provider
        self._callers = callers

    @answered
    async def RequestResources(
        self, request: pb.RequestResourcesRequest, context: Context
    ) -> pb.RequestResourcesResponse:
        """Peers the allocation of a contract of the caller's."""
        self._provider.check_meant(request.provider_id)
        offered = await self._manager.request(request_from(request), caller=self._callers.identity_of(context))
        response = pb.RequestResourcesResponse(position=offered.position)
        write_resource_offer(response.offer, offered.offer)
        write_contract(response.contract, offered.contract, self._provider.provider_id)
        write_instant(response.server_time, offered.at)
        return response
