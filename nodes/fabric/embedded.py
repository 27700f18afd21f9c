"""The fabric that ships with a node: gRPC from the consumer straight to the provider."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from nodes.fabric.driver import Standing
from rear.domain.fabric import FabricRefuses, Grant, HeardOffer, Slice

NAME: Final = "embedded"

PURPOSE: Final = b"rear fabric credential 1"
"""What the node's secret is used for here: another use gives other values."""

CREDENTIAL_BYTES: Final = sha256().digest_size


class EmbeddedFabric:
    """Carries peerings over the connections that nodes have to each other anyway.

    A credential is HMAC-SHA256 of the provider's secret over the contract's id and the consumer's identity: the same
    whenever it is asked for, of use for that contract alone, and kept nowhere.
    """

    def __init__(self, secret: bytes, endpoint: str) -> None:
        """`endpoint` is where this node says that it is reached."""
        self._secret = secret
        self._endpoint = endpoint
        self._granted: set[str] = set()
        self._attached: dict[str, str] = {}
        self._connected: set[str] = set()

    @property
    def name(self) -> str:
        """`embedded`."""
        return NAME

    async def standing(self) -> Standing:
        """What this process carries: nothing of it outlives the process."""
        return Standing(frozenset(self._granted), dict(self._attached), frozenset(self._connected))

    async def grant(self, asked: Slice) -> Grant:
        """The node's own endpoint, and the credential of that contract."""
        self._granted.add(asked.contract_id)
        said = b"\n".join((PURPOSE, asked.contract_id.encode(), asked.peer_id.encode()))
        return Grant(self._endpoint, hmac.digest(self._secret, said, "sha256"))

    async def withdraw(self, contract_id: str) -> None:
        """Nothing is left to be closed: the contract decides what a credential is good for."""
        self._granted.discard(contract_id)

    async def connect(self, peer_id: str, heard: HeardOffer) -> None:
        """The connection on which the offer was heard is there, and kept by those who made it."""
        self._connected.add(peer_id)

    async def attach(self, wanted: Slice, heard: HeardOffer) -> str:
        """The offer is the proof, heard just now from the peer itself; and there the resources are reached.

        What a node says of its own endpoint may hold for others only; this one has answered.
        """
        if heard.contract.provider_id != wanted.peer_id:
            raise FabricRefuses(f"the offer is of {heard.contract.provider_id}, and not of {wanted.peer_id}")
        if len(heard.offer.grant.credential) != CREDENTIAL_BYTES:
            raise FabricRefuses(f"{wanted.peer_id} offers a credential that is none of the embedded fabric")
        self._attached[wanted.contract_id] = wanted.peer_id
        return heard.endpoint

    async def detach(self, contract_id: str) -> None:
        """Nothing is kept that would have to go."""
        self._attached.pop(contract_id, None)

    async def disconnect(self, peer_id: str) -> None:
        """Nothing is kept that would have to go."""
        self._connected.discard(peer_id)
