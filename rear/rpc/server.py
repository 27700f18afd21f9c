"""Brings up a gRPC server with health and reflection, and takes it down without cutting anybody off."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from rear.domain.refusals import Refusal
from rear.rpc.health import Health
from rear.rpc.security import Security
from rear.rpc.surrounding import Around
from rear.rpc.switchboard import Service, Switchboard
from rear.rpc.undecodable import LARGEST_RECEIVED, LenientServer

HANDSHAKE_MS: Final = 10_000

OPTIONS: Final = (
    ("grpc.max_receive_message_length", LARGEST_RECEIVED),
    ("grpc.so_reuseport", 0),
    # A client that is gone without a word is noticed within 40 s; otherwise what it follows would be kept for hours.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # Who has shown no certificate yet holds a socket for so long, and not for gRPC's two minutes.
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
)

WITH_TLS: Final = (
    # A certificate is looked at when a connection begins, so none lasts for ever. gRPC's clients open the next one
    # before they leave this one: no unary call notices, and a stream has ten minutes.
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 600_000),
)

LAME_DUCK: Final = 0.25
"""Seconds in which a server that stops still answers what has reached it: gRPC cuts off what no handler has yet."""


class PortTaken(Exception):
    """The address cannot be listened on."""


class RpcServer:
    """One gRPC server: bound first, then started. Services come and go; health says when it serves."""

    def __init__(
        self,
        names: Sequence[str],
        why_not: Callable[[], Refusal],
        security: Security | None = None,
        around: Sequence[Around] = (),
    ) -> None:
        """Serves the services of these names. While they are not there `why_not` makes the refusal.

        With `security` every connection is mutual TLS, and every call passes its guard. What is `around` stands around
        the handlers of all services, the last one outermost.
        """
        self._around = around
        self._names = tuple(names)
        self._switchboard = Switchboard(names, why_not)
        self._security = security
        self._looking: asyncio.Task[None] | None = None
        if security is None:
            self._server = grpc.aio.server(options=OPTIONS)
        else:
            self._server = grpc.aio.server(options=(*OPTIONS, *WITH_TLS), interceptors=(security.guard,))
        self._health = Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, cast(grpc.aio.Server, LenientServer(self._server)))
        self._server.add_generic_rpc_handlers((self._switchboard,))
        reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def connect(self, services: Sequence[Service]) -> None:
        """Calls reach these services from now on."""
        self._switchboard.connect(services, lambda server: cast(grpc.aio.Server, LenientServer(server, self._around)))

    def disconnect(self) -> None:
        """Calls are refused from now on."""
        self._switchboard.disconnect()

    def bind(self, address: str) -> int:
        """Listens on `host:port` (port 0: a free one), and returns the port. Raises PortTaken."""
        host, _, wanted = address.rpartition(":")
        try:
            # Asked first for its plain words: gRPC's own are for those who debug it.
            family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), wanted, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
            if self._security is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, self._security.credentials())
        except OSError as error:
            raise PortTaken(f"cannot listen on {address}: {error.strerror}") from error
        except RuntimeError as error:
            raise PortTaken(f"cannot listen on {address}: somebody else does") from error

    def look_again(self) -> None:
        """Reads certificate, authorities and policy again where they have changed."""
        if self._security is not None:
            self._security.look()

    def warn_of_security(self, warn: Callable[[str, Callable[[], str | None]], None]) -> None:
        """Hands on, by name, what tells of trouble with certificate and policy."""
        if self._security is not None:
            warn("certificate", self._security.certificate_trouble)
            warn("policy", self._security.policy_trouble)

    async def start(self) -> None:
        """Begins to take calls."""
        await self.set_serving(False)
        await self._server.start()
        if self._security is not None:
            self._looking = asyncio.create_task(self._security.keep_looking(), name="security")

    async def set_serving(self, serving: bool) -> None:
        """What health says of the server and each of its services."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, status)

    async def stop(self, grace: float) -> None:
        """Takes no more calls, and gives those under way `grace` seconds; 0 cuts them off at once."""
        if self._looking is not None:
            self._looking.cancel()
        await self.set_serving(False)
        await self._health.enter_graceful_shutdown()
        if grace > 0:
            await asyncio.sleep(LAME_DUCK)
        await self._server.stop(grace)
