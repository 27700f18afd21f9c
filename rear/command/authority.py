"""A certificate authority in a folder, for development and tests: ECDSA on P-256, keys without a password."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rear.rpc.spiffe import DOMAIN_NAME, NoIdentity, check_identity, domain_of
from rear.rpc.tls_files import TlsError, host_sans, uri_sans, vouches_for

CA_CERT: Final = "ca.pem"
CA_KEY: Final = "ca.key"
CERT: Final = "cert.pem"
KEY: Final = "key.pem"

BACKDATED: Final = timedelta(minutes=5)
"""So that a clock that is a little behind takes a new certificate."""


class CannotIssue(Exception):
    """What keeps the authority from being made, or from issuing. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Issued:
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Summary:
    """What a certificate says. `vouches_for` is the domain of an authority, empty where it is none."""

    identities: tuple[str, ...]
    subject: str
    issuer: str
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    vouches_for: str
    key: str
    fingerprint: str


def init(directory: Path, domain: str, days: int) -> Issued:
    """Makes an authority that can vouch for the identities of `domain` only. Raises CannotIssue."""
    if DOMAIN_NAME.fullmatch(domain) is None:
        raise CannotIssue(f"{domain!r} is no domain: use a DNS name in lower case")
    made = Issued(directory / CA_CERT, directory / CA_KEY)
    _refuse_to_overwrite(made)
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"REAR development authority of {domain}"[:64])])
    builder = (
        _begun(name, name, key.public_key(), now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        # Whoever trusts this authority trusts it for this domain's identities only.
        .add_extension(x509.NameConstraints([x509.UniformResourceIdentifier(domain)], None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _write(made, builder.sign(key, hashes.SHA256()), key)


def issue(
    directory: Path,
    identity: str,
    *,
    dns: tuple[str, ...] = (),
    ip: tuple[str, ...] = (),
    days: int = 30,
    out: Path | None = None,
) -> Issued:
    """Issues a certificate for an identity, good for servers and for clients. Raises CannotIssue.

    It does not outlive the authority: after that nobody would take it, and nothing would have warned of it.
    """
    authority, authority_key = _load(directory)
    now, end = datetime.now(UTC), authority.not_valid_after_utc
    if end <= now:
        raise CannotIssue(f"the authority {directory / CA_CERT} expired at {end:%Y-%m-%dT%H:%M:%SZ}: make another")
    try:
        check_identity(identity)
    except NoIdentity as error:
        raise CannotIssue(str(error)) from None
    domain = vouches_for(authority)
    if domain_of(identity) != domain:
        raise CannotIssue(f"{directory / CA_CERT} vouches for spiffe://{domain}/* only, not for {identity}")
    folder = out if out is not None else directory.joinpath(*identity.split("/")[-2:])
    made = Issued(folder / CERT, folder / KEY)
    _refuse_to_overwrite(made)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity)]
    try:
        names += [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ip_address(address)) for address in ip]
    except ValueError as error:
        raise CannotIssue(f"not a name or address of a host: {error}") from None
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _begun(x509.Name([]), authority.subject, key.public_key(), now, min(now + timedelta(days=days), end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        # Critical, because the subject is empty: the names say whose it is.
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
    )
    return _write(made, builder.sign(authority_key, hashes.SHA256()), key)


def summaries(path: Path) -> list[Summary]:
    """What the certificates in a file say. Raises CannotIssue."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise CannotIssue(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CannotIssue(f"{path} holds no certificate in PEM") from None
    try:
        return [_summary(one) for one in found]
    except (TlsError, ValueError, UnsupportedAlgorithm) as error:
        raise CannotIssue(f"{path} has a certificate that cannot be read: {error}") from None


def _summary(certificate: x509.Certificate) -> Summary:
    public = certificate.public_key()
    return Summary(
        uri_sans(certificate),
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        host_sans(certificate),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        vouches_for(certificate),
        f"ECDSA {public.curve.name}" if isinstance(public, ec.EllipticCurvePublicKey) else type(public).__name__,
        certificate.fingerprint(hashes.SHA256()).hex(":"),
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    cert_path, key_path = directory / CA_CERT, directory / CA_KEY
    try:
        certificate = x509.load_pem_x509_certificate(cert_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except OSError as error:
        raise CannotIssue(f"{error.filename}: {error.strerror}; make an authority with rear pki init") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CannotIssue(f"the authority in {directory} cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CannotIssue(f"{key_path} is not a key that rear pki init made")
    if certificate.public_key() != key.public_key():
        raise CannotIssue(f"{key_path} is not the key of {cert_path}: nobody would take what it signs")
    return certificate, key


def _refuse_to_overwrite(made: Issued) -> None:
    for path in (made.certificate, made.key):
        if os.path.lexists(path):
            raise CannotIssue(f"{path} is there already and is not overwritten: name another folder, or move it away")


def _write(made: Issued, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        made.key.parent.mkdir(parents=True, exist_ok=True)
        _write_new(made.key, pem, 0o600)
        try:
            _write_new(made.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        except OSError:
            made.key.unlink()
            raise
    except OSError as error:
        raise CannotIssue(f"{made.key.parent} cannot be written to: {error.strerror}") from None
    return made


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Never over an existing file, also where one appears in between; and whole, or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        path.unlink()
        raise
