"""`rear up`: starts a node with its embedded NATS server, and drains it on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from nodes.inventory import load_inventory
from nodes.machine import this_machine
from nodes.nats_options import nats_options
from nodes.neighbour_options import neighbour_options
from nodes.pool_spec import PoolSpec
from nodes.scrub_options import scrub_options
from nodes.search_options import search_options
from nodes.server import Node
from nodes.settings import NodeSettings
from nodes.tenure import Tenure
from rear import failpoints
from rear.command import failures
from rear.command.addresses import listening_address
from rear.command.logs import configure
from rear.command.output import progress_bar
from rear.command.settings import settings as chosen
from rear.command.settings import tls_options
from rear.documents import DocumentError
from rear.domain.refusals import Refusal
from rear.ledger.errors import LedgerError
from rear.ledger.external import NatsServers
from rear.ledger.landing import SteppedDown
from rear.ledger.scrub import Pace
from rear.ledger.store import SERVICE_NAME
from rear.managers.consumer.neighbours import Neighbour
from rear.managers.consumer.rear import SearchSettings
from rear.operations.options import view_options
from rear.operations.watching import CannotWatch, View, watched
from rear.process import run
from rear.rpc.announcing import Multicast
from rear.rpc.security import SecuritySettings
from rear.rpc.server import PortTaken
from rear.rpc.spiffe import DOMAIN_NAME
from rear.rpc.tls_files import TlsError

MANY_POOLS: Final = 200
"""Pools from which on registering them shows a progress bar."""


OWNER_ONLY: Final = 0o077
"""What a node writes is for its owner, also in a directory that others may read: intents have environments."""


class CannotStart(click.ClickException):
    """Why the node did not start, in one line."""


class Replaced(click.ClickException):
    """Another process has become the ledger's writer, and this one was not told to stand by."""

    exit_code = failures.REPLACED


@click.command("up")
@click.option("--name", default="node-1", show_default=True, help="The node's name in its domain.")
@click.option("--domain", default="local.test", show_default=True, help="The administrative domain.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("rear-state"),
    show_default=True,
    help="Directory for the ledger, its anchor and the tables.",
)
@click.option("--listen", default="127.0.0.1:7400", show_default=True, help="HOST:PORT; port 0 takes a free one.")
@click.option(
    "--insecure-any-address",
    is_flag=True,
    help="Listen on an address that is not loopback, without TLS: everybody who reaches it may reserve.",
)
@tls_options
@click.option(
    "--policy",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With TLS: who may do what, a YAML file.  [default: the own domain may list and reserve]",
)
@click.option(
    "--inventory",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Pools to offer, a .yaml or .csv file. Without it: the pools of last time, or this machine.",
)
@click.option("--every", type=click.IntRange(1), default=1, help="Take every N-th machine of a CSV inventory only.")
@nats_options
@neighbour_options
@click.option(
    "--standby", is_flag=True, help="Wait until the ledger's writer is gone, then take over; and wait again after that."
)
@click.option("--take-over", is_flag=True, help="Become the ledger's writer at once, also where another one lives.")
@search_options
@scrub_options
@click.option("--ready-file", type=click.Path(path_type=Path, dir_okay=False), hidden=True)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="Structured logs on stderr; auto is text on a terminal.",
)
@view_options
def role(
    name: str,
    domain: str,
    state: Path,
    listen: str,
    insecure_any_address: bool,
    policy: Path | None,
    inventory: Path | None,
    every: int,
    scrub_rate: int,
    scrub_every: float,
    ready_file: Path | None,
    log_format: str,
    servers: NatsServers | None,
    neighbours: tuple[Neighbour, ...],
    announce: Multicast | None,
    search: SearchSettings,
    standby: bool,
    take_over: bool,
    view: View,
) -> None:
    """Start a node that offers resource pools and sells them, until SIGTERM or Ctrl-C."""
    configure(log_format, "INFO")
    os.umask(OWNER_ONLY)
    failpoints.switch_on(os.environ)
    if SERVICE_NAME.fullmatch(name) is None:
        raise click.BadParameter("use 1 to 40 of a-z, 0-9 and '-'", param_hint="--name")
    if DOMAIN_NAME.fullmatch(domain) is None:
        raise click.BadParameter("use a DNS name in lower case", param_hint="--domain")
    if servers is None and (standby or take_over):
        raise click.UsageError("--standby and --take-over go with --nats: an embedded server has one user")
    security = _security(policy)
    host, port = _address(listen, insecure_any_address or security is not None)
    pools = _read_inventory(inventory, domain, every)
    settings = NodeSettings(
        name,
        domain,
        state,
        host,
        port,
        servers=servers,
        standby=standby,
        take_over=take_over,
        security=security,
        scrub=Pace(scrub_rate, scrub_every),
        neighbours=neighbours,
        announce=announce,
        search=search,
    )
    try:
        run(_serve(settings, pools, ready_file, view))
    except SteppedDown as replaced:
        raise Replaced(f"{replaced}; with --standby this one would have waited for its turn") from replaced
    except (LedgerError, PortTaken, CannotWatch, Refusal, TlsError, DocumentError, OSError) as error:
        raise CannotStart(str(error)) from error
    except sqlite3.Error as error:
        raise CannotStart(f"the tables in {state} cannot be written: {error}; is there room on the disk?") from error


async def _serve(settings: NodeSettings, pools: Sequence[PoolSpec] | None, ready_file: Path | None, view: View) -> None:
    async def prepare(tenure: Tenure) -> None:
        await _take(tenure, settings, pools)

    node = Node(settings, prepare, lambda sentence: _announce(node, sentence, ready_file))
    with watched(view, settings.provider_id, node.readiness, node.instruments):
        await _run(node)


async def _run(node: Node) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if node.settings.security is not None:
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # everything is read at the start in any case
    starting = asyncio.ensure_future(node.__aenter__())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    await starting
    if node.settings.security is not None:
        loop.add_signal_handler(signal.SIGHUP, node.look_again)
    over = asyncio.ensure_future(node.over())
    try:
        await asyncio.wait((over, stopping), return_when=asyncio.FIRST_COMPLETED)
        if over.done():
            await over
    finally:
        await node.__aexit__(None, None, None)
        await asyncio.gather(over, return_exceptions=True)


async def _take(tenure: Tenure, settings: NodeSettings, pools: Sequence[PoolSpec] | None) -> None:
    """Offers what the inventory says; without one the pools of last time, or at first this machine."""
    if pools is None and not tenure.writer.state.pools:
        pools = (this_machine(settings.name, owner_domain=settings.domain, disk=settings.state),)
    if pools is None:
        return
    if len(pools) < MANY_POOLS:
        await tenure.take(pools)
        return
    with progress_bar("registering pools", len(pools)) as done:
        await tenure.take(pools, done)


def _announce(node: Node, sentence: str, ready_file: Path | None) -> None:
    click.echo(sentence)
    if ready_file is not None:
        partial = ready_file.with_suffix(".partial")
        partial.write_text(node.endpoint)
        partial.rename(ready_file)


def _security(policy: Path | None) -> SecuritySettings | None:
    files = chosen().tls()
    if files is not None:
        return SecuritySettings(files, policy)
    if policy is not None:
        raise click.UsageError("--policy needs TLS: without certificates nobody is told from anybody else")
    return None


def _address(listen: str, anywhere: bool) -> tuple[str, int]:
    beyond = (
        "there is no TLS: everybody who reaches it could reserve; give --tls-cert, --tls-key and --tls-ca, or add "
        "--insecure-any-address if that is wanted"
    )
    return listening_address(listen, "--listen", anywhere, beyond)


def _read_inventory(inventory: Path | None, domain: str, every: int) -> Sequence[PoolSpec] | None:
    if inventory is None:
        return None
    try:
        return load_inventory(inventory, owner_domain=domain, every=every)
    except DocumentError as error:
        raise CannotStart(str(error)) from error
