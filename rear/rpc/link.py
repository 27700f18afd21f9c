"""A client's connection by mutual TLS: its files are read again when they change, and the service is who it should be.

gRPC compares the name that was dialled with the DNS names and IP addresses of the service's certificate, and cannot
compare its SPIFFE URI. Where the caller names whom it expects, a handshake of our own first gets the certificate,
checks its chain and its URI, and then gRPC is told to trust *this certificate only*, under a name that it bears. So
nobody else's certificate will do, whichever names it bears and whichever authority signed it. A service that changes
its certificate is looked at again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rear.rpc.refused import Unreachable, WrongService
from rear.rpc.spiffe import NoIdentity, is_expected, sole_identity
from rear.rpc.tls_files import Material, TlsError, TlsFiles, WatchedMaterial, host_sans, uri_sans

log = structlog.get_logger(__name__)

GRACE: Final = 30.0
"""Seconds that calls under way have when a connection is replaced."""

HANDSHAKE_TIMEOUT: Final = 5.0


class Link:
    """A channel that is replaced by another when there are new files, or when the service has a new certificate.

    Hand it to stubs in place of a channel. `prepare` must be awaited before each call.
    """

    def __init__(
        self,
        endpoint: str,
        files: TlsFiles,
        options: Sequence[tuple[str, int]],
        *,
        expected: str | None = None,
    ) -> None:
        """`expected` is the identity that the service must have, or `anybody_of` its domain. Raises TlsError."""
        self.endpoint = endpoint
        self._watched = WatchedMaterial(files, expected=None)
        self._options: list[tuple[str, int | str]] = [*options]
        self._expected = expected
        self._opened_with: Material | None = None
        self._pinned = b""
        self._looked = expected is None
        self.proved = ""
        """Who the service has proved to be, where somebody was expected."""
        self._channel: grpc.aio.Channel | None = None
        self._callables: dict[tuple[str, str], Any] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    @property
    def identity(self) -> str:
        """Who the client is, by its certificate."""
        return self._watched.current().identity

    async def prepare(self) -> None:
        """Makes sure that the channel is of the newest files, and leads to whom it should.

        Raises WrongService, and Unreachable where it cannot be looked at.
        """
        material = self._watched.current()
        if self._channel is not None and material is self._opened_with and self._looked:
            return
        async with self._lock:
            await self._open(material)

    def doubt(self) -> None:
        """A call found nobody: the service may have another certificate by now, so look again before the next."""
        self._looked = self._expected is None

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        if self._channel is not None:
            await self._channel.close()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    # -- what a stub asks of a channel -----------------------------------------------------------------------

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Callable[..., Any]:
        """A call, on whichever channel there is when it is made."""
        return self._on_the_channel("unary_unary", method, arguments, named)

    def unary_stream(self, method: str, *arguments: Any, **named: Any) -> Callable[..., Any]:
        """A call, on whichever channel there is when it is made."""
        return self._on_the_channel("unary_stream", method, arguments, named)

    def _on_the_channel(self, kind: str, method: str, arguments: Any, named: Any) -> Callable[..., Any]:
        def call(*request: Any, **options: Any) -> Any:
            found = self._callables.get((kind, method))
            if found is None:
                assert self._channel is not None, "prepare comes before a call"
                found = getattr(self._channel, kind)(method, *arguments, **named)
                self._callables[kind, method] = found
            return found(*request, **options)

        return call

    # -- opening ---------------------------------------------------------------------------------------------

    async def _open(self, material: Material) -> None:
        roots, options = material.ca_pem, [*self._options]
        if self._expected is not None:
            certificate = await _certificate_of(self.endpoint, self._watched.files)
            pinned = certificate.public_bytes(Encoding.PEM)
            if material is self._opened_with and pinned == self._pinned:
                self._looked = True
                return
            self.proved, name = _check(certificate, self._expected, self.endpoint)
            options.append(("grpc.ssl_target_name_override", name))
            roots = self._pinned = pinned
        elif material is self._opened_with:
            return
        old = self._channel
        credentials = grpc.ssl_channel_credentials(roots, material.key_pem, material.cert_pem)
        self._channel = grpc.aio.secure_channel(self.endpoint, credentials, options=options)
        self._callables = {}
        self._opened_with, self._looked = material, True
        if old is not None:
            log.info("the connection is opened anew", endpoint=self.endpoint, identity=material.identity)
            task = asyncio.ensure_future(old.close(GRACE))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _wrong(message: str) -> WrongService:
    return WrongService(grpc.StatusCode.UNAUTHENTICATED, message)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """The same rules as gRPC's for the standard library's TLS, but for the name of the host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.cert, files.key, password="")  # or it asks at the terminal, and waits
    context.set_alpn_protocols(["h2"])
    return context


async def _certificate_of(endpoint: str, files: TlsFiles) -> x509.Certificate:
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=client_context(files))
    except (OSError, TimeoutError, ValueError, OverflowError) as error:  # the latter two of what is no endpoint
        raise Unreachable(grpc.StatusCode.UNAVAILABLE, str(error) or "it does not answer") from None
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        leaf = connection.getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    assert leaf is not None, "a server has a certificate"
    try:
        return x509.load_der_x509_certificate(leaf)
    except ValueError as error:
        raise _wrong(f"the certificate of {endpoint} cannot be read: {error}") from None


def _check(certificate: x509.Certificate, expected: str, endpoint: str) -> tuple[str, str]:
    """Whose certificate it is, and a name that it bears, for gRPC to compare with. Raises WrongService."""
    try:
        found = sole_identity(uri_sans(certificate))
    except (NoIdentity, TlsError) as error:
        raise _wrong(f"{endpoint} should be {expected}, but its certificate names nobody: {error}") from None
    if not is_expected(found, expected):
        raise _wrong(f"{endpoint} should be {expected}, but its certificate is of {found}")
    names = host_sans(certificate)
    if not names:
        raise _wrong(f"the certificate of {found} names no host, and gRPC wants one: issue it with --dns or --ip")
    return found, names[0]
