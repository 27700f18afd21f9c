"""Options that name the NATS servers of others which keep a node's ledger."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from rear.ledger.external import MOST_REPLICAS, REPLICAS_OF_A_CLUSTER, NatsServers, parse_urls

FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True, resolve_path=True)

_OPTIONS: Final = (
    click.option(
        "--nats",
        metavar="URL[,URL...]",
        help="Keep the ledger on this NATS server, or the servers of this cluster, instead of an embedded one.",
    ),
    click.option("--nats-creds", type=FILE, help="Credentials file for NATS (a user's JWT and seed)."),
    click.option("--nats-user", metavar="NAME", help="User for NATS; goes with --nats-password-file."),
    click.option("--nats-password-file", type=FILE, help="File that holds the user's password."),
    click.option("--nats-token-file", type=FILE, help="File that holds a token for NATS."),
    click.option("--nats-ca", type=FILE, help="Authorities of the NATS servers' certificates; turns TLS on."),
    click.option("--nats-cert", type=FILE, help="Client certificate for NATS; turns TLS on."),
    click.option("--nats-key", type=FILE, help="The client certificate's key, where it is not in the same file."),
    click.option(
        "--nats-replicas",
        type=click.IntRange(1, MOST_REPLICAS),
        help=f"Copies of the ledger, at least.  [default: {REPLICAS_OF_A_CLUSTER} where as many servers are named]",
    ),
)


def nats_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets `servers`, a NatsServers, or None for an embedded server."""

    @functools.wraps(command)
    def taking(
        nats: str | None,
        nats_creds: Path | None,
        nats_user: str | None,
        nats_password_file: Path | None,
        nats_token_file: Path | None,
        nats_ca: Path | None,
        nats_cert: Path | None,
        nats_key: Path | None,
        nats_replicas: int | None,
        **others: Any,
    ) -> Any:
        more = (nats_creds, nats_user, nats_password_file, nats_token_file, nats_ca, nats_cert, nats_key, nats_replicas)
        if nats is None:
            if any(option is not None for option in more):
                raise click.UsageError("options that begin with --nats- go with --nats")
            return command(**others, servers=None)
        if (nats_user is None) != (nats_password_file is None):
            raise click.UsageError("--nats-user and --nats-password-file go together")
        if sum(option is not None for option in (nats_creds, nats_user, nats_token_file)) > 1:
            raise click.UsageError("use one of --nats-creds, --nats-user and --nats-token-file")
        if nats_key is not None and nats_cert is None:
            raise click.UsageError("--nats-key goes with --nats-cert")
        try:
            urls = parse_urls(nats)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--nats") from error
        servers = NatsServers(
            urls,
            user=nats_user,
            password_file=_text(nats_password_file),
            token_file=_text(nats_token_file),
            credentials=_text(nats_creds),
            ca=_text(nats_ca),
            certificate=_text(nats_cert),
            key=_text(nats_key),
            replicas=nats_replicas or (REPLICAS_OF_A_CLUSTER if len(urls) >= REPLICAS_OF_A_CLUSTER else 1),
        )
        return command(**others, servers=servers)

    for option in reversed(_OPTIONS):
        taking = option(taking)
    return taking


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
