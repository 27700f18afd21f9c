"""Options about the other nodes of the domain: which they are, and how they find each other."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final

import click

from rear.command.addresses import read_address
from rear.managers.consumer.neighbours import Neighbour
from rear.rpc.announcing import EVERY, LEASES, Multicast
from rear.rpc.spiffe import NoIdentity, check_identity, domain_of

_ENDPOINT: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")

_GROUPS: Final = ipaddress.IPv4Network("239.0.0.0/8")
"""The groups that networks keep to themselves."""

_ANY: Final = ipaddress.IPv4Network("0.0.0.0/0")


def neighbour_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command that has --domain. It gets `neighbours`, a tuple, and `announce`, a Multicast or None."""

    @click.option(
        "--neighbour",
        "named",
        multiple=True,
        metavar="[PROVIDER_ID=]HOST:PORT",
        envvar="REAR_NEIGHBOURS",
        show_envvar=True,
        help="A node of the domain that is asked for flavours where an intent does not fit here; repeatable. With TLS "
        "it must prove to be PROVIDER_ID, or without one to be of this domain.",
    )
    @click.option(
        "--announce",
        metavar="[GROUP:PORT]",
        is_flag=False,
        flag_value=str(Multicast()),
        envvar="REAR_ANNOUNCE",
        show_envvar=True,
        help="Announce the node by multicast, and take the nodes of this domain that do for its neighbours; without a "
        f"value on {Multicast()}.  [default: off]",
    )
    @click.option(
        "--announce-interface",
        metavar="ADDRESS",
        help="Announce by the interface with this IPv4 address.  [default: that of --listen, or of the default route]",
    )
    @click.option(
        "--announce-every",
        type=click.FloatRange(0.3, 15),
        metavar="SECONDS",
        help=f"Seconds between announcements; {LEASES:g} times as long after the last one the others forget the node."
        f"  [default: {EVERY:g}]",
    )
    @functools.wraps(command)
    def taking(
        named: tuple[str, ...],
        announce: str | None,
        announce_interface: str | None,
        announce_every: float | None,
        domain: str,
        **others: Any,
    ) -> Any:
        multicast = _multicast(announce, announce_interface, announce_every)
        try:
            neighbours = tuple(read_neighbour(each, domain) for each in named)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--neighbour") from error
        endpoints = [each.endpoint for each in neighbours]
        twice = next((each for each in endpoints if endpoints.count(each) > 1), None)
        if twice is not None:
            raise click.BadParameter(f"{twice} is named twice", param_hint="--neighbour")
        return command(**others, domain=domain, neighbours=neighbours, announce=multicast)

    return taking


def read_neighbour(text: str, domain: str) -> Neighbour:
    """The neighbour in `[PROVIDER_ID=]HOST:PORT`, which must be of the domain. Raises ValueError."""
    provider_id, named, endpoint = text.rpartition("=")
    found = _ENDPOINT.fullmatch(endpoint)
    if found is None or not 1 <= int(found[1]) <= 65_535:
        raise ValueError(f"{text!r}: use [PROVIDER_ID=]HOST:PORT, such as spiffe://campus.test/node/n2=10.0.0.2:7400")
    if not named:
        return Neighbour(endpoint)
    try:
        check_identity(provider_id)
    except NoIdentity as error:
        raise ValueError(str(error)) from error
    if domain_of(provider_id) != domain:
        raise ValueError(f"{provider_id} is not of {domain}: a node's neighbours are of its own domain")
    return Neighbour(endpoint, provider_id)


def _multicast(announce: str | None, interface: str | None, every: float | None) -> Multicast | None:
    if announce is None:
        if interface is not None or every is not None:
            raise click.UsageError("options that begin with --announce- go with --announce")
        return None
    group, port = read_address(announce, "--announce", f"GROUP:PORT, such as {Multicast()}")
    if not _is(group, _GROUPS) or port == 0:
        raise click.BadParameter(
            f"{announce} is no group and port of {_GROUPS}, such as {Multicast()}", param_hint="--announce"
        )
    if interface is not None and not _is(interface, _ANY):
        raise click.BadParameter(f"{interface!r} is no IPv4 address", param_hint="--announce-interface")
    return Multicast(group, port, interface or "", every or EVERY)


def _is(address: str, network: ipaddress.IPv4Network) -> bool:
    try:
        return ipaddress.IPv4Address(address) in network
    except ValueError:
        return False
