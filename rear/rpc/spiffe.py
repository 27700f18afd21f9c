"""SPIFFE identities as this federation writes them: `spiffe://<domain>/<role>/<service>`."""

from __future__ import annotations

import re
from typing import Final

LOCAL: Final = "local"
"""The role of those who come without TLS. No certificate may claim it."""

DOMAIN_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
"""The domain of a service of ours: a DNS name in lower case. Others may have `_` in theirs."""

_IDENTITY: Final = re.compile(r"spiffe://([a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?)/([A-Za-z0-9._-]+)/([A-Za-z0-9._-]+)")
_LONGEST: Final = 512


class NoIdentity(ValueError):
    """A text, or a certificate, that is nobody's name here; the message says why."""


def anonymous(domain: str) -> str:
    """The one principal of callers without TLS."""
    return f"spiffe://{domain}/{LOCAL}/anonymous"


def domain_of(identity: str) -> str:
    """The domain of an identity."""
    return identity.removeprefix("spiffe://").partition("/")[0]


def anybody_of(domain: str) -> str:
    """What is expected of a service that may be any of a domain."""
    return f"spiffe://{domain}"


def is_expected(identity: str, expected: str) -> bool:
    """Whether an identity is the one that is expected, or of the domain that is."""
    return identity == expected or anybody_of(domain_of(identity)) == expected


def check_identity(uri: str) -> str:
    """The identity that `uri` is. Raises `NoIdentity` for anything that a certificate may not claim here."""
    found = _IDENTITY.fullmatch(uri)
    if found is None or len(uri) > _LONGEST or {found[2], found[3]} & {".", ".."}:
        raise NoIdentity(f"{uri[:_LONGEST]!r} is not of the form spiffe://<domain>/<role>/<service>")
    if found[2] == LOCAL:
        raise NoIdentity(f"{uri!r} names those who come without a certificate; no certificate may claim it")
    return uri


def sole_identity(uris: tuple[str, ...]) -> str:
    """The identity of a certificate with these URI SANs: exactly one, and one of ours. Raises `NoIdentity`."""
    if not uris:
        raise NoIdentity("the certificate has no URI SAN; it must have one, spiffe://<domain>/<role>/<service>")
    if len(uris) > 1:
        named = ", ".join(uris)
        raise NoIdentity(f"the certificate has {len(uris)} URI SANs ({named[:_LONGEST]}); it must have exactly one")
    return check_identity(uris[0])
