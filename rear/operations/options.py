"""The options of a service's command that say what an operator sees of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from rear import tracing
from rear.command.addresses import listening_address
from rear.operations.watching import View


def view_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --ops, --ops-any-address and --traces; the command gets them as `view`."""

    @click.option(
        "--ops",
        metavar="HOST:PORT",
        help="Answer /livez, /readyz and /metrics there, over HTTP; port 0 takes a free one.  [default: off]",
    )
    @click.option(
        "--ops-any-address",
        is_flag=True,
        help="Let --ops listen on an address that is not loopback: it has no TLS, and tells everybody how the node is.",
    )
    @click.option(
        "--traces/--no-traces",
        default=None,
        help="Send OpenTelemetry traces.  [default: where the OTEL_… variables name an exporter or an endpoint]",
    )
    @wraps(command)
    def with_view(*args: Any, ops: str | None, ops_any_address: bool, traces: bool | None, **kwargs: Any) -> None:
        traced = tracing.wanted(os.environ) if traces is None else traces
        command(*args, view=View(_address(ops, ops_any_address), traced), **kwargs)

    return with_view


def _address(ops: str | None, anywhere: bool) -> tuple[str, int] | None:
    if ops is None:
        return None
    beyond = (
        "the operations endpoint has no TLS: everybody who reaches it reads how the node is; add --ops-any-address if "
        "that is wanted"
    )
    return listening_address(ops, "--ops", anywhere, beyond)
