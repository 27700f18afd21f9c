"""Why a connection did not come about, in words: gRPC's own say little more than that a socket was closed."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

from rear.rpc.link import client_context
from rear.rpc.tls_files import TlsFiles

TIMEOUT: Final = 2.0

_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

TURNED_AWAY: Final = (
    "the service closed the connection when it saw your certificate: "
    "it does not trust the authority that issued it, or finds it expired"
)

_ALERTS: Final = (
    ("UNEXPECTED_EOF", TURNED_AWAY),
    ("CERTIFICATE_REQUIRED", "the service expects a client certificate: give --tls-cert, --tls-key and --tls-ca"),
    ("UNKNOWN_CA", "the service does not know the authority that issued your certificate"),
    ("CERTIFICATE_EXPIRED", "the service says that your certificate has expired: renew it"),
    ("BAD_CERTIFICATE", "the service does not take your certificate"),
    ("CERTIFICATE_UNKNOWN", "the service does not trust the authority that issued your certificate"),
    (
        "DECRYPT_ERROR",
        "the service knows another authority by the name of the one that issued your certificate",
    ),
    ("WRONG_VERSION_NUMBER", "the service does not speak TLS: leave the certificate out, or ask its TLS port"),
    ("RECORD_LAYER_FAILURE", "the service does not speak TLS: leave the certificate out, or ask its TLS port"),
)
"""What OpenSSL calls it, and what it means to the user."""


async def explain(endpoint: str, files: TlsFiles | None) -> str:
    """Tries a handshake and says what is wrong with it; empty where nothing is, or nobody is there."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await (_with_tls(endpoint, files) if files is not None else _without_tls(endpoint))
    except (TimeoutError, OSError, ValueError):
        return ""


async def _with_tls(endpoint: str, files: TlsFiles) -> str:
    context = client_context(files)
    host, port = _split(endpoint)
    context.check_hostname = True
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        try:
            # In TLS 1.3 a client is done before the server has judged its certificate: the verdict comes with a read.
            writer.write(_HTTP2_PREFACE)
            answer = await reader.read(1)
        finally:
            writer.transport.abort()
    except ssl.SSLCertVerificationError as error:
        return f"the service's certificate is not good: {error.verify_message}"
    except ssl.SSLError as error:
        return _meaning(error)
    # A gRPC server in C, Python or Ruby closes without an alert.
    return "" if answer else TURNED_AWAY


async def _without_tls(endpoint: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, port = _split(endpoint)
    with contextlib.suppress(ssl.SSLError):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.transport.abort()
        return "the service speaks TLS: give --tls-cert, --tls-key and --tls-ca"
    return ""


def _meaning(error: ssl.SSLError) -> str:
    for name, meaning in _ALERTS:
        if name in (error.reason or ""):
            return meaning
    return f"the TLS handshake fails: {error.reason or error}"


def _split(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)
