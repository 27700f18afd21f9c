"""`grpc.health.v1`: the library's servicer, with all of its methods, and refusals like those of every other service."""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health, health_pb2

from rear.domain.refusals import Refusal
from rear.rpc.answering import Context, refuse
from rear.rpc.undecodable import check_decoded

Status = health_pb2.HealthCheckResponse.ServingStatus


class Health(health.aio.HealthServicer):
    """Tells of the server (by the empty name) and of each service whether it serves."""

    def __init__(self) -> None:
        super().__init__()
        self._statuses: dict[str, Status] = {}

    async def Check(self, request: Any, context: Context) -> Any:
        """The status of one service; NOT_FOUND for one that is not here."""
        await _decoded(request, context)
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Context) -> None:
        """The status of one service, and each change."""
        await _decoded(request, context)
        await super().Watch(request, context)

    async def List(self, request: Any, context: Context) -> health_pb2.HealthListResponse:
        """The status of every service."""
        await _decoded(request, context)
        return health_pb2.HealthListResponse(
            statuses={name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        )

    async def set(self, service: str, status: Status) -> None:
        """Sets the status of a service."""
        self._statuses[service] = status
        await super().set(service, status)


async def _decoded(request: Any, context: Context) -> None:
    try:
        check_decoded(request)
    except Refusal as refusal:
        await refuse(context, refusal)
