"""Who calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from rear.domain.refusals import NotAuthenticated
from rear.rpc.answering import Context
from rear.rpc.policy import Permission, Policy
from rear.rpc.spiffe import NoIdentity, anonymous, sole_identity

PEER_URIS: Final = "peer_uri"
"""gRPC's name for the URI SANs of the certificate that a connection was authenticated with."""


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
        uris = context.auth_context().get(PEER_URIS, ())
        try:
            return sole_identity(tuple(uri.decode("utf-8", "replace") for uri in uris))
        except NoIdentity as error:
            raise NotAuthenticated(f"you are nobody here: {error}") from None

    def allows(self, caller: str, any_of: Iterable[Permission]) -> bool:
        """As the policy says."""
        return self._in_force.policy.allows(caller, any_of)
