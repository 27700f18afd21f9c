"""Authorities and certificates of any kind, also of those that no sound authority would issue."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from rear.rpc.tls_files import TlsFiles

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in PEM."""

    cert: bytes
    key: bytes


class TestAuthority:
    """An authority that issues whatever it is asked for. `domain` bounds what others take from it."""

    __test__ = False

    def __init__(self, name: str = "an authority", *, domain: str | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, self._name, self._key, lasts=DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        if domain is not None:
            constraint = x509.NameConstraints([x509.UniformResourceIdentifier(domain)], None)
            builder = builder.add_extension(constraint, critical=True)
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *uris: str,
        dns: Sequence[str] = (),
        ip: Sequence[str] = (),
        name: str = "",
        lasts: timedelta = DAY,
        key: CertificateIssuerPrivateKeyTypes | None = None,
    ) -> Pair:
        """A certificate with these names. A negative `lasts` makes one that has expired."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self._name, key, lasts=lasts)
        sans: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        sans += [x509.DNSName(one) for one in dns]
        sans += [x509.IPAddress(ip_address(one)) for one in ip]
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=not name)
        signed = builder.sign(self._key, hashes.SHA256())
        return Pair(
            signed.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )


def tampered(pem: bytes, written: str, instead: str) -> bytes:
    """The certificate with some of its bytes, given in hexadecimal, changed."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    changed = der.replace(bytes.fromhex(written), bytes.fromhex(instead))
    assert changed != der
    return f"-----BEGIN CERTIFICATE-----\n{b64encode(changed).decode()}\n-----END CERTIFICATE-----\n".encode()


def write(folder: Path, pair: Pair, ca: bytes) -> TlsFiles:
    """The files of somebody who has `pair` and trusts `ca`; each is replaced as a whole where it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = TlsFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
    for path, content in ((files.ca, ca), (files.key, pair.key), (files.cert, pair.cert)):
        replace(path, content)
    return files


def replace(path: Path, content: bytes) -> None:
    """As a careful operator does it: written beside, then renamed."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.rename(path)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificateIssuerPrivateKeyTypes, *, lasts: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * DAY)
        .not_valid_after(now + lasts)
    )
