"""Where a component's resources come from (workflow steps 6 and 7)."""

from __future__ import annotations

from uuid import UUID, uuid5

from rear.domain.units import UnitShare
from rear.domain.value import value


@value
class LocalSource:
    """A pool of this node, with the hold in it, of kind LOCAL."""

    pool_id: str
    hold_id: str


@value
class VirtualNodeSource:
    """A virtual node that this node had already, and the devices of it that the component gets."""

    allocation_id: str
    units: tuple[UnitShare, ...] = ()


@value
class Elsewhere:
    """A provider that is to be found."""


Source = LocalSource | VirtualNodeSource | Elsewhere


def local_hold_id(request_id: str, component: str) -> str:
    """The id of the hold for a component in a pool of this node: there is never a second one."""
    return str(uuid5(UUID(request_id), f"{component}/local"))
