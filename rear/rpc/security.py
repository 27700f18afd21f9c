"""What a service that speaks TLS has: certificate, trusted authorities and policy, read again when they change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import structlog

from rear.rpc.guard import Guard
from rear.rpc.identity import Certified
from rear.rpc.policy import Policy, default_policy
from rear.rpc.policy_file import WatchedPolicy
from rear.rpc.spiffe import domain_of
from rear.rpc.tls_files import Material, TlsFiles, WatchedMaterial, unbound

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between looks at the files."""

EXPIRES_SOON: Final = timedelta(days=2)
"""How long before its end a certificate is warned of, unless it was short-lived from the beginning."""


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """Where the TLS files lie, and the policy; without one `default_policy` holds."""

    tls: TlsFiles
    policy: Path | None = None


class Security:
    """Mutual TLS and the policy of one service."""

    def __init__(self, settings: SecuritySettings, identity: str) -> None:
        """Reads all files. Raises TlsError and DocumentError."""
        self._watched = WatchedMaterial(settings.tls, expected=identity)
        self._file = WatchedPolicy(settings.policy) if settings.policy is not None else None
        self._default = default_policy(domain_of(identity))
        self._given: Material | None = None
        self.callers = Certified(self)
        self.guard = Guard(self.callers)

    @property
    def policy(self) -> Policy:
        """The policy of the moment."""
        return self._default if self._file is None else self._file.policy

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that ask for the newest files at every handshake, and for a certificate of every client."""
        self._given = self._watched.current()
        if self._given.ca_pem.count(b"-----BEGIN CERTIFICATE-----") > 1:
            for authority in unbound(self._given.ca_pem):
                log.warning(
                    "an authority is trusted for every identity, also for those of this domain's administrators",
                    authority=authority,
                    remedy="where it is not your own, take one with a name constraint; see docs/security.md",
                )
        return grpc.dynamic_ssl_server_credentials(_configuration(self._given), self._newer, True)

    def certificate_trouble(self) -> str | None:
        """What is wrong with the TLS files; None while nothing is."""
        material = self._watched.newest
        left = material.not_after - datetime.now(UTC)
        if left <= timedelta(0):
            return f"{self._watched.files.cert} has expired: new connections fail until it is renewed"
        if left <= EXPIRES_SOON and material.not_after - material.not_before > 2 * EXPIRES_SOON:
            return f"{self._watched.files.cert} expires in {left.total_seconds() / 3600:.0f} h: renew it"
        return self._watched.trouble

    def policy_trouble(self) -> str | None:
        """What is wrong with the policy file as it is now; None while nothing is."""
        return None if self._file is None else self._file.trouble

    def look(self) -> None:
        """Reads again what has changed."""
        self._watched.current()
        if self._file is not None:
            self._file.look()

    async def keep_looking(self) -> None:
        """Looks again and again, so that a policy takes effect and a mistake is told soon."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look()

    def _newer(self) -> Any:
        """Called by gRPC, on a thread of its own, at every handshake; None: what it has is the newest."""
        newest = self._watched.current()
        if newest is self._given:
            return None
        self._given = newest
        return _configuration(newest)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key_pem, material.cert_pem)], root_certificates=material.ca_pem
    )
