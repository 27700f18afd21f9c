"""Options that name the other nodes of the domain."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Final

import click

from rear.managers.consumer.neighbours import Neighbour
from rear.rpc.spiffe import NoIdentity, check_identity, domain_of

_ENDPOINT: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


def neighbour_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --neighbour to a command that has --domain; the command gets `neighbours`, a tuple."""

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
    @functools.wraps(command)
    def taking(named: tuple[str, ...], domain: str, **others: Any) -> Any:
        try:
            neighbours = tuple(read_neighbour(each, domain) for each in named)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--neighbour") from error
        endpoints = [each.endpoint for each in neighbours]
        twice = next((each for each in endpoints if endpoints.count(each) > 1), None)
        if twice is not None:
            raise click.BadParameter(f"{twice} is named twice", param_hint="--neighbour")
        return command(**others, domain=domain, neighbours=neighbours)

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
