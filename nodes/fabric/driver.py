"""What a fabric has to be able to do. There may be many; a node speaks one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from rear.domain.fabric import Grant, HeardOffer, Slice
from rear.domain.value import value

LONGEST_PAUSE: Final = 5.0
"""Seconds before a fabric that does not answer is asked again; each pause is twice the one before."""


@value
class Standing:
    """What a fabric carries, as it knows by itself, by ids.

    The contracts that are granted here, the peers of those that are attached, and the peers that are connected.
    """

    granted: frozenset[str]
    attached: Mapping[str, str]
    connected: frozenset[str]


class FabricDriver(Protocol):
    """A fabric that carries peerings, any number between the same two services, one for each contract.

    The state says what is to be carried, and a manager brings a driver to that; so a driver remembers nothing that it
    cannot ask its fabric for. Every method is idempotent: it makes something so, and is content where it is so. All
    raise FabricUnavailable where the fabric does not answer, and FabricRefuses where asking again will not help. Ids
    are the contract's and the peer's: what has ended is known by no more, above all after a restart.

    How each method fits Liqo 1.x, where a service is a cluster and each side has a tenant namespace for a pair:

    connect     the pair's networking (Configuration, GatewayServer, GatewayClient, until their Connection is up) and
                its authentication (Tenant at the provider, Identity of type ControlPlane at the consumer)
    grant       the provider's Tenant, and its controller of ResourceSlices of a class of our own accepts the slice that
                is named after the contract, with these resources; a Quota follows from it. The Grant: the address of
                the API server, and what the consumer needs for its Identity
    attach      that ResourceSlice at the consumer, whose status.authParams are credentials for it alone, and a
                VirtualNode with their kubeconfig, until the conditions of both are good
    detach      VirtualNode and ResourceSlice are deleted at the consumer, and with them what was reflected
    withdraw    the class accepts the slice no more; its Quota is deleted
    disconnect  networking and authentication of the pair are taken down, as by `liqoctl unpeer`
    standing    the ids in our labels on ResourceSlices, VirtualNodes and tenant namespaces
    """

    @property
    def name(self) -> str:
        """Which fabric it is, as offers name it."""
        ...

    async def standing(self) -> Standing:
        """What it carries now."""
        ...

    # -- the provider's side -------------------------------------------------------------------------------

    async def grant(self, asked: Slice) -> Grant:
        """Opens a contract's resources to its consumer. The same answer each time."""
        ...

    async def withdraw(self, contract_id: str) -> None:
        """Closes them."""
        ...

    # -- the consumer's side -------------------------------------------------------------------------------

    async def connect(self, peer_id: str, heard: HeardOffer) -> None:
        """Sets the pair up, by any of the peer's offers, before something of the peer's is attached."""
        ...

    async def attach(self, wanted: Slice, heard: HeardOffer) -> str:
        """Makes a contract's resources usable here, once the peer has proved that it answers for them.

        Returns where the fabric is reached, in its own form, for the record.
        """
        ...

    async def detach(self, contract_id: str) -> None:
        """Lets go of them."""
        ...

    async def disconnect(self, peer_id: str) -> None:
        """Takes the pair down, once nothing of the peer's is attached any more."""
        ...
