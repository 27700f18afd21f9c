"""What every command is told: whom to ask, how long to wait, and for whom to write."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from rear.rpc.client import Client

DEFAULT_ENDPOINT: Final = "127.0.0.1:7400"
DEFAULT_TIMEOUT: Final = 10.0
DEFAULT_PATIENCE: Final = 2.0

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")


@dataclass(slots=True)
class Settings:
    """The global options of one run of the command."""

    endpoint: str = field(default_factory=lambda: os.environ.get("REAR_ENDPOINT") or DEFAULT_ENDPOINT)
    json: bool = False
    timeout: float = DEFAULT_TIMEOUT

    def client(self, *, patience: float = DEFAULT_PATIENCE) -> Client:
        """A client of the endpoint; make it where an event loop runs."""
        from rear.rpc.client import Client

        return Client(self.endpoint, timeout=self.timeout, patience=patience)


def settings() -> Settings:
    """The settings of the command that is running."""
    return click.get_current_context().ensure_object(Settings)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's work to its end; Ctrl-C cancels it."""
    import asyncio

    return asyncio.run(work)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and parameter.name is not None:
        setattr(context.ensure_object(Settings), parameter.name, value)


def common_options(command: Command) -> Command:
    """Adds --endpoint, --timeout and --json; given to a group, they hold for all that is below it."""
    for option in reversed(
        (
            click.option(
                "--endpoint",
                metavar="HOST:PORT",
                help=f"The service to ask; also $REAR_ENDPOINT.  [default: {DEFAULT_ENDPOINT}]",
                expose_value=False,
                callback=_keep,
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(min=0, min_open=True),
                metavar="SECONDS",
                help=f"The deadline of each call.  [default: {DEFAULT_TIMEOUT:g}]",
                expose_value=False,
                callback=_keep,
            ),
            click.option(
                "--json",
                is_flag=True,
                default=None,
                help="Write JSON for programs (the protobuf JSON mapping).",
                expose_value=False,
                callback=_keep,
            ),
        )
    ):
        command = option(command)
    return command
