"""Who may do what: permissions, what each RPC asks for, and a policy that grants them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MOST_REMEMBERED: Final = 4_096
"""Identities whose permissions are kept at hand."""


class Permission(StrEnum):
    """What may be granted to an identity."""

    LIST = "list"
    RESERVE = "reserve"
    RELAY = "relay"
    SUBMIT = "submit"
    AUDIT = "audit"
    ADMINISTER = "administer"


ADMINISTRATORS: Final = frozenset({Permission.ADMINISTER})
"""What it takes to touch what is others'."""

NOBODY_IN_PARTICULAR: Final[frozenset[Permission]] = frozenset()
"""What an RPC asks for that everybody with an identity may call."""

REQUIRED: Final[Mapping[str, frozenset[Permission]]] = {
    "/rear.v1.DiscoveryService/ListFlavours": frozenset({Permission.LIST}),
    "/rear.v1.DiscoveryService/GetFlavour": frozenset({Permission.LIST}),
    "/rear.v1.ContractService/ReserveFlavour": frozenset({Permission.RESERVE}),
    "/rear.v1.ContractService/PurchaseFlavour": frozenset({Permission.RESERVE}),
    "/rear.v1.ContractService/CancelContract": frozenset({Permission.RESERVE, Permission.ADMINISTER}),
    "/rear.v1.ContractService/RevokeContract": ADMINISTRATORS,
    "/rear.v1.ContractService/GetContract": frozenset({Permission.RESERVE, Permission.ADMINISTER}),
    "/rear.v1.ContractService/ListContracts": frozenset({Permission.RESERVE}),
    "/rear.v1.FabricService/RequestResources": frozenset({Permission.RESERVE}),
    "/rear.v1.IntentService/SubmitIntent": frozenset({Permission.SUBMIT}),
    "/rear.v1.IntentService/GetServiceRequest": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/rear.v1.IntentService/WatchServiceRequest": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/rear.v1.IntentService/ListServiceRequests": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/rear.v1.IntentService/CancelServiceRequest": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/google.longrunning.Operations/ListOperations": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/google.longrunning.Operations/GetOperation": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/google.longrunning.Operations/WaitOperation": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/google.longrunning.Operations/CancelOperation": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/google.longrunning.Operations/DeleteOperation": frozenset({Permission.SUBMIT, Permission.ADMINISTER}),
    "/rear.v1.ContractService/WatchContracts": frozenset({Permission.RESERVE, Permission.ADMINISTER}),
    "/rear.v1.AuditService/ReadEvents": frozenset({Permission.AUDIT}),
    "/grpc.health.v1.Health/Check": NOBODY_IN_PARTICULAR,
    "/grpc.health.v1.Health/Watch": NOBODY_IN_PARTICULAR,
    "/grpc.health.v1.Health/List": NOBODY_IN_PARTICULAR,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": NOBODY_IN_PARTICULAR,
}
"""What each RPC asks for: one of these permissions is enough. An RPC without a row is refused to everybody."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions for the identities that `who` means: one, or all below it where it ends with `/*`."""

    who: str
    may: frozenset[Permission]

    def covers(self, identity: str) -> bool:
        """Whether it is for this identity."""
        return identity.startswith(self.who[:-1]) if self.who.endswith("*") else identity == self.who


@dataclass(frozen=True, slots=True)
class Policy:
    """What is granted, and by which file (`source`). What is not granted is refused."""

    grants: tuple[Grant, ...]
    source: str
    _known: dict[str, frozenset[Permission]] = field(default_factory=dict, compare=False, repr=False)

    def of(self, identity: str) -> frozenset[Permission]:
        """All that is granted to an identity."""
        known = self._known.get(identity)
        if known is None:
            known = frozenset().union(*(grant.may for grant in self.grants if grant.covers(identity)))
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[identity] = known
        return known

    def allows(self, identity: str, any_of: Iterable[Permission]) -> bool:
        """Whether one of the permissions is granted; also where none is asked for."""
        wanted = frozenset(any_of)
        return not wanted or not wanted.isdisjoint(self.of(identity))


def default_policy(domain: str) -> Policy:
    """What holds where no policy file is given: those of the own domain may list and reserve."""
    own = Grant(f"spiffe://{domain}/*", frozenset({Permission.LIST, Permission.RESERVE}))
    return Policy((own,), "the default policy (there is no --policy)")
