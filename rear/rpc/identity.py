"""Who calls."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Protocol

from cryptography import x509

from rear.domain.refusals import NotAuthenticated
from rear.rpc.answering import Context
from rear.rpc.policy import Permission, Policy
from rear.rpc.spiffe import NoIdentity, anonymous, sole_identity
from rear.rpc.tls_files import TlsError, uri_sans

PEER_CERTIFICATE: Final = "x509_pem_cert"
"""gRPC's name for the certificate that a connection was authenticated with."""

MOST_REMEMBERED: Final = 1_024
"""Certificates whose identity is kept at hand."""


class Callers(Protocol):
    """Tells the authenticated identity of a caller, and what it may do."""

    def identity_of(self, context: Context) -> str:
        """A `spiffe://` URI. Raises NotAuthenticated."""
        ...

    def allows(self, caller: str, any_of: Iterable[Permission]) -> bool:
        """Whether the caller has one of the permissions; also where none is asked for."""
        ...


class Anonymous:
    """Without TLS there is one principal for all callers. It may do everything but touch what others left."""

    def __init__(self, domain: str) -> None:
        self._identity = anonymous(domain)

    def identity_of(self, context: Context) -> str:
        """The same for every caller."""
        return self._identity

    def allows(self, caller: str, any_of: Iterable[Permission]) -> bool:
        """Everything but to administer."""
        wanted = frozenset(any_of)
        return not wanted or wanted != {Permission.ADMINISTER}


class PolicyInForce(Protocol):
    """Where the policy of the moment is."""

    @property
    def policy(self) -> Policy:
        """The policy of the moment."""
        ...


class Certified:
    """Callers by the certificate of their connection, and what the policy of the moment grants them."""

    def __init__(self, in_force: PolicyInForce) -> None:
        self._in_force = in_force

    def identity_of(self, context: Context) -> str:
        """The one URI SAN of the peer's certificate."""
        try:
            return identity_in(*context.auth_context().get(PEER_CERTIFICATE, ()))
        except NoIdentity as error:
            raise NotAuthenticated(f"you are nobody here: {error}") from None

    def allows(self, caller: str, any_of: Iterable[Permission]) -> bool:
        """As the policy says."""
        return self._in_force.policy.allows(caller, any_of)


@lru_cache(MOST_REMEMBERED)
def identity_in(pem: bytes = b"") -> str:
    """The one URI SAN of a certificate. Raises NoIdentity.

    From the certificate itself: the `peer_uri` that gRPC hands out ends at the first NUL, so that `…/alice\\0.other`
    would be `…/alice`.
    """
    try:
        uris = uri_sans(x509.load_pem_x509_certificate(pem))
    except (TlsError, ValueError) as error:
        raise NoIdentity(f"the certificate cannot be read: {error}") from None
    return sole_identity(uris)
