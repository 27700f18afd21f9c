"""Flavours: offers, and flavours as the API lists them."""

from __future__ import annotations

from collections.abc import Iterable

from rear.domain.flavour import Flavour, Offer
from rear.domain.price import Money, Price
from rear.domain.quantities import Quantities
from rear.domain.units import OfferedUnit, Unit, UnitShare
from rear.domain.window import Instant
from rear.event.v1 import pool_pb2
from rear.v1 import flavour_pb2
from rear.wire.terms import write_price, write_terms
from rear.wire.values import (
    read_instant,
    read_quantities,
    read_shares,
    write_instant,
    write_money,
    write_offered_units,
    write_quantities,
    write_shares,
)


def write_offer(message: pool_pb2.Offer, offer: Offer) -> None:
    """What differs from one flavour of a pool to the next."""
    message.flavour_id = offer.flavour_id
    message.parent_id = offer.parent_id
    write_quantities(message.quantities, offer.quantities)
    if offer.units:
        write_shares(message.units, offer.units)
    write_instant(message.advertised_at, offer.advertised_at)


def read_offer(message: pool_pb2.Offer) -> Offer:
    """What `write_offer` wrote."""
    return Offer(
        message.flavour_id,
        message.parent_id,
        read_quantities(message.quantities),
        read_shares(message.units),
        read_instant(message.advertised_at),
    )


def listed_flavour_to_proto(
    flavour: Flavour,
    provider_id: str,
    available: Quantities,
    available_units: Iterable[UnitShare],
    as_of: Instant,
    total_price: Money | None = None,
    routes: Iterable[flavour_pb2.Route] = (),
) -> flavour_pb2.ListedFlavour:
    """A flavour with what the calendar had free of it at `as_of`, and what the asked partition would cost."""
    message = flavour_pb2.ListedFlavour(routes=routes)
    _write_flavour(message.flavour, flavour, provider_id)
    message.available.SetInParent()
    write_quantities(message.available, available)
    write_offered_units(message.available_units, offered_units(available_units, flavour.pool_units))
    write_instant(message.as_of, as_of)
    if total_price is not None:
        write_money(message.total_price, total_price)
    return message


def direct_route(seller_id: str, endpoint: str, price: Price) -> flavour_pb2.Route:
    """The way to buy from the provider itself: no hops, and an offer as old as the answer."""
    route = flavour_pb2.Route(seller_id=seller_id, endpoint=endpoint)
    write_price(route.price, price)
    route.age.SetInParent()
    return route


def offered_units(shares: Iterable[UnitShare], units: Iterable[Unit]) -> list[OfferedUnit]:
    """Free shares with the devices that they are shares of. A device that is no more is left out."""
    known = {(unit.unit_class, unit.name): unit for unit in units}
    return [
        OfferedUnit(known[key], share.millis) for share in shares if (key := (share.unit_class, share.name)) in known
    ]


def _write_flavour(message: flavour_pb2.Flavour, flavour: Flavour, provider_id: str) -> None:
    offer = flavour.offer
    message.flavour_id = offer.flavour_id
    message.parent_id = offer.parent_id
    message.pool_id = flavour.pool_id
    message.provider_id = provider_id
    message.quantities.SetInParent()
    write_quantities(message.quantities, offer.quantities)
    write_offered_units(message.units, offered_units(offer.units, flavour.pool_units))
    write_terms(message, flavour.terms)
    write_instant(message.advertised_at, offer.advertised_at)
