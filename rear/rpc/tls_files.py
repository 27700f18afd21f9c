"""Certificate, key and authorities as they lie in files: read together, checked, and read again when they change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from rear.documents import Signature, signature
from rear.rpc.spiffe import NoIdentity, sole_identity

log = structlog.get_logger(__name__)

MOST_BYTES: Final = 1024 * 1024

CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
LEAST_RSA_BITS: Final = 2_048

TRY_AGAIN_AFTER: Final = 1.0
"""Seconds after which files that cannot be used are read again: what was wrong need not lie in what they hold."""

UNREADABLE: Final = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What cryptography raises for extensions that are not as they should be."""


class TlsError(Exception):
    """Files that cannot be used for TLS. One line says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificate (with what leads to its authority), its key, and the trusted authorities lie."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class Material:
    """What the files hold: a certificate with its own key, whose it is and until when, and authorities to trust."""

    cert_pem: bytes
    key_pem: bytes
    ca_pem: bytes
    identity: str
    not_before: datetime
    not_after: datetime


def read_material(files: TlsFiles, now: datetime) -> Material:
    """Reads and checks the three files. Raises TlsError."""
    cert_pem, key_pem, ca_pem = _read(files.cert), _read(files.key), _read(files.ca)
    chain = _certificates(files.cert, cert_pem)
    for authority in _certificates(files.ca, ca_pem):
        vouches_for(authority)
    leaf = chain[0]
    if _public_bytes(_private_key(files.key, key_pem).public_key()) != _public_key(files.cert, leaf):
        raise TlsError(f"{files.key} is not the key of the certificate {files.cert}: give a matching pair")
    if leaf.not_valid_after_utc <= now:
        raise TlsError(f"the certificate {files.cert} expired at {_moment(leaf.not_valid_after_utc)}: renew it")
    if leaf.not_valid_before_utc > now:
        raise TlsError(f"the certificate {files.cert} is not valid before {_moment(leaf.not_valid_before_utc)}")
    try:
        identity = sole_identity(uri_sans(leaf))
    except NoIdentity as error:
        raise TlsError(f"{files.cert}: {error}") from None
    return Material(cert_pem, key_pem, ca_pem, identity, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def uri_sans(certificate: x509.Certificate) -> tuple[str, ...]:
    """The URI SANs of a certificate. Raises TlsError where its extensions cannot be read."""
    return tuple(_sans(certificate).get_values_for_type(x509.UniformResourceIdentifier))


def host_sans(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names and addresses of hosts in a certificate. Raises TlsError where its extensions cannot be read."""
    sans = _sans(certificate)
    addresses = sans.get_values_for_type(x509.IPAddress)
    return (*sans.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))


def vouches_for(authority: x509.Certificate) -> str:
    """The domain whose identities an authority is bound to; empty where it can vouch for every identity.

    Raises TlsError where its extensions cannot be read.
    """
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ""
    except UNREADABLE as error:
        raise TlsError(f"the certificate's extensions cannot be read: {error}") from None
    permitted = constraints.permitted_subtrees or ()
    return ", ".join(name.value for name in permitted if isinstance(name, x509.UniformResourceIdentifier))


def unbound(ca_pem: bytes) -> tuple[str, ...]:
    """The subjects of those authorities that can vouch for every identity. Raises TlsError."""
    found = x509.load_pem_x509_certificates(ca_pem)
    return tuple(authority.subject.rfc4514_string() for authority in found if not vouches_for(authority))


class WatchedMaterial:
    """The newest usable material of the files.

    `current` looks at the files' times, and reads them only when these have changed. What cannot be used, because
    it is half-written, does not fit together, is not valid yet or is somebody else's, is logged once and tried again
    every second, and the material before it stays. May be called from any thread.
    """

    def __init__(
        self,
        files: TlsFiles,
        *,
        expected: str | None,
        now: Callable[[], datetime] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the files for the first time. Raises TlsError.

        `expected` is whose certificate it must be; without it, it must stay that of whom it is of now.
        """
        self.files = files
        self._expected = expected
        self._now = now or (lambda: datetime.now(UTC))
        self._clock = clock
        self._lock = threading.Lock()
        self._signature = _signature(files)
        self._material = self._checked()
        self._expected = self._material.identity
        self._try_again = 0.0
        self.trouble: str | None = None
        """Why the files as they are now cannot be used; None while they can."""

    @property
    def newest(self) -> Material:
        """What the last look found, without another."""
        return self._material

    def current(self) -> Material:
        """The newest usable material: the same object for as long as nothing has changed."""
        with self._lock:
            found = _signature(self.files)
            if found != self._signature or (self.trouble is not None and self._clock() >= self._try_again):
                self._read_again(found)
            return self._material

    def _read_again(self, found: Signature | None) -> None:
        # Remembered before the files are read: what is still being written has another signature afterwards.
        self._signature = found
        try:
            material = self._checked()
        except TlsError as error:
            self._try_again = self._clock() + TRY_AGAIN_AFTER
            if self.trouble != str(error):
                self.trouble = str(error)
                log.error("changed TLS files cannot be used; those from before stay", because=self.trouble)
            return
        self.trouble = None
        if material != self._material:
            self._material = material
            log.info(
                "TLS files were read again",
                certificate=str(self.files.cert),
                identity=material.identity,
                until=_moment(material.not_after),
            )

    def _checked(self) -> Material:
        material = read_material(self.files, self._now())
        if self._expected is not None and material.identity != self._expected:
            raise TlsError(
                f"the certificate {self.files.cert} is of {material.identity}, but this process is {self._expected}: "
                "issue one for that, or start it anew under the certificate's name and domain"
            )
        return material


def _signature(files: TlsFiles) -> Signature | None:
    return signature(files.cert, files.key, files.ca)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    if len(content) > MOST_BYTES:
        raise TlsError(f"{path} is larger than {MOST_BYTES // 1024**2} MiB; it cannot be a certificate or a key")
    return content


def _certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TlsError(f"{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") from None
    # What is cut off in the middle of one is read without it, and without an error.
    if len(found) != pem.count(b"-----BEGIN CERTIFICATE-----"):
        raise TlsError(f"{path} is not whole: the certificates after the first {len(found)} cannot be read")
    return found


def _private_key(path: Path, pem: bytes) -> PrivateKeyTypes:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise TlsError(f"{path} is encrypted; give a key without a password, readable by its owner only") from None
    except ValueError:
        raise TlsError(f"{path} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None
    except Exception as error:  # of cryptography's own, for kinds of keys that it does not know
        raise TlsError(f"{path} cannot be read as a private key: {error}") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= LEAST_RSA_BITS:
        return key
    # With Ed25519 or P-521 gRPC's TLS fails at each handshake, and with other curves already when it listens.
    raise TlsError(
        f"{path} is a key of a kind that gRPC cannot use, or a weak one; "
        f"take ECDSA on P-256 or P-384, or RSA of {LEAST_RSA_BITS:,} bits or more"
    )


def _public_key(path: Path, certificate: x509.Certificate) -> bytes:
    try:
        return _public_bytes(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsError(f"the key that {path} is for cannot be read: {error}") from None


def _public_bytes(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _sans(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
    except UNREADABLE as error:
        raise TlsError(f"the certificate's extensions cannot be read: {error}") from None


def _moment(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
