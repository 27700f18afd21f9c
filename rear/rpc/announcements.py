"""What a node says of itself by multicast, and what is believed of that: next to nothing."""

from __future__ import annotations

import ipaddress
from typing import Final

from google.protobuf.message import DecodeError

from rear.domain.value import value
from rear.rpc.spiffe import NoIdentity, check_identity, domain_of
from rear.v1.announcement_pb2 import Announcement as Message

VERSION: Final = 1

LARGEST: Final = 1_024
"""Bytes of a datagram that is looked at: more than the longest identity and endpoint, less than any network's limit."""

LONGEST_LEASE: Final = 60.0
"""Seconds that one announcement counts at the most."""


@value
class Announcement:
    """A node is at `endpoint`, `address:port`, and will say so again within `lease` seconds."""

    provider_id: str
    endpoint: str
    lease: float


def write_announcement(announcement: Announcement) -> bytes:
    """The datagram."""
    message = Message(
        version=VERSION,
        provider_id=announcement.provider_id,
        endpoint=announcement.endpoint,
        domain=domain_of(announcement.provider_id),
    )
    message.lease.FromMilliseconds(round(announcement.lease * 1_000))
    return message.SerializeToString()


def read_announcement(data: bytes, source: str, domain: str) -> Announcement | None:
    """The announcement in a datagram that came from the address `source`.

    None for what is none, or not of this domain, or names an address other than its own: nobody can have a node call
    a third one.
    """
    if len(data) > LARGEST:
        return None
    message = Message()
    try:
        message.ParseFromString(data)
        provider_id = check_identity(message.provider_id)
    except (DecodeError, NoIdentity):
        return None
    lease = message.lease.seconds + message.lease.nanos / 1e9
    if message.version != VERSION or message.domain != domain or domain_of(provider_id) != domain or not lease > 0:
        return None
    if address_of(message.endpoint) != source:
        return None
    return Announcement(provider_id, message.endpoint, min(lease, LONGEST_LEASE))


def address_of(endpoint: str) -> str | None:
    """The numeric address in `address:port`; None where it is not of that form, as we would write it."""
    host, _, port = endpoint.rpartition(":")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= 65_535 and not port.startswith("0")):
        return None
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return None
    return None if address.is_unspecified or address.is_multicast else str(address)
