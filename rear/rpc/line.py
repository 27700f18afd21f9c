"""A connection to one endpoint, with the stubs of the services behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import grpc
from google.longrunning import operations_pb2_grpc

from rear.rpc.link import Link
from rear.rpc.tls_files import TlsFiles
from rear.v1 import (
    audit_service_pb2_grpc,
    contract_service_pb2_grpc,
    discovery_service_pb2_grpc,
    fabric_service_pb2_grpc,
    intent_service_pb2_grpc,
)

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024

CONNECT_MS: Final = 5_000

CHANNEL_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A peer that is gone without a word is noticed within 40 s while a call waits for it.
    ("grpc.keepalive_time_ms", 30_000),
    # It is this that ends the wait for a ping's answer (a minute by default), not grpc.keepalive_timeout_ms.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # A service that restarts is found again soon; the calls' own pauses keep this from being a storm.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # gRPC's name for the time that one attempt to connect has.
    ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
)


class Line:
    """One endpoint. With `tls` it is a `Link`, which may ask for `provider_id`."""

    def __init__(self, endpoint: str, tls: TlsFiles | None, provider_id: str | None) -> None:
        self.endpoint = endpoint
        self.link = None if tls is None else Link(endpoint, tls, CHANNEL_OPTIONS, expected=provider_id)
        # A link is what a stub asks of a channel, and no more.
        self._channel = cast(
            grpc.aio.Channel, self.link or grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        )
        self.discovery: discovery_service_pb2_grpc.DiscoveryServiceAsyncStub = (
            discovery_service_pb2_grpc.DiscoveryServiceStub(self._channel)
        )
        self.contracts: contract_service_pb2_grpc.ContractServiceAsyncStub = (
            contract_service_pb2_grpc.ContractServiceStub(self._channel)
        )
        self.fabric: fabric_service_pb2_grpc.FabricServiceAsyncStub = fabric_service_pb2_grpc.FabricServiceStub(
            self._channel
        )
        self.audit: audit_service_pb2_grpc.AuditServiceAsyncStub = audit_service_pb2_grpc.AuditServiceStub(
            self._channel
        )

        self.intents: intent_service_pb2_grpc.IntentServiceAsyncStub = intent_service_pb2_grpc.IntentServiceStub(
            self._channel
        )
        self.operations = operations_pb2_grpc.OperationsStub(self._channel)

    async def prepare(self) -> None:
        """Makes it fit to be called."""
        if self.link is not None:
            await self.link.prepare()

    def doubt(self) -> None:
        """Nobody answered on it."""
        if self.link is not None:
            self.link.doubt()

    async def close(self) -> None:
        """Ends it; calls under way are cancelled."""
        await self._channel.close()
