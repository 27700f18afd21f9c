"""What every command is told: whom to ask, how long to wait, and for whom to write."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from rear.rpc.client import Client
    from rear.rpc.intents_client import IntentsClient
    from rear.rpc.tls_files import TlsFiles

DEFAULT_ENDPOINT: Final = "127.0.0.1:7400"
DEFAULT_TIMEOUT: Final = 10.0
DEFAULT_PATIENCE: Final = 2.0
FOLLOWING_PATIENCE: Final = 60.0
"""Seconds for which a command that follows something waits for a service that restarts."""

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")
AnyClient = TypeVar("AnyClient", bound="Client")


@dataclass(slots=True)
class Settings:
    """The global options of one run of the command."""

    endpoint: str = field(default_factory=lambda: os.environ.get("REAR_ENDPOINT") or DEFAULT_ENDPOINT)
    json: bool = False
    timeout: float = DEFAULT_TIMEOUT
    expected_id: str = field(default_factory=lambda: os.environ.get("REAR_EXPECT", ""))
    tls_cert: str = field(default_factory=lambda: os.environ.get("REAR_TLS_CERT", ""))
    tls_key: str = field(default_factory=lambda: os.environ.get("REAR_TLS_KEY", ""))
    tls_ca: str = field(default_factory=lambda: os.environ.get("REAR_TLS_CA", ""))

    def client(self, *, patience: float = DEFAULT_PATIENCE) -> Client:
        """A client of the endpoint; make it where an event loop runs."""
        from rear.rpc.client import Client

        return self._made(Client, patience)

    def intents_client(self) -> IntentsClient:
        """The same for intents."""
        from rear.rpc.intents_client import IntentsClient

        return self._made(IntentsClient, DEFAULT_PATIENCE)

    def _made(self, kind: type[AnyClient], patience: float) -> AnyClient:
        from rear.command.logs import configure
        from rear.rpc.tls_files import TlsError

        tls = self.tls()
        if self.expected_id and tls is None:
            raise click.UsageError("--expect is proved by a certificate: give --tls-cert, --tls-key and --tls-ca too")
        if tls is not None:
            # What a change of the files leads to is said on stderr: stdout is for answers.
            configure("auto", "WARNING")
        try:
            return kind(
                self.endpoint,
                timeout=self.timeout,
                patience=patience,
                tls=tls,
                provider_id=self.expected_id or None,
            )
        except TlsError as error:
            raise click.ClickException(str(error)) from error

    def tls(self) -> TlsFiles | None:
        """The files for TLS; None where none is given, and wrong usage where only some are."""
        named = {"--tls-cert": self.tls_cert, "--tls-key": self.tls_key, "--tls-ca": self.tls_ca}
        missing = [option for option, path in named.items() if not path]
        if len(missing) == len(named):
            return None
        if missing:
            given = ", ".join(option for option in named if option not in missing)
            raise click.UsageError(f"{' and '.join(missing)} must be given together with {given}")
        from rear.rpc.tls_files import TlsFiles

        return TlsFiles(Path(self.tls_cert), Path(self.tls_key), Path(self.tls_ca))


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


def tls_options(command: Command) -> Command:
    """Adds --tls-cert, --tls-key and --tls-ca; `Settings.tls` has what was given."""
    for name, what in reversed(
        (
            ("cert", "Certificate in PEM, with what leads to its authority; also"),
            ("key", "The certificate's private key in PEM; also"),
            ("ca", "Authorities that are trusted, in PEM; also"),
        )
    ):
        command = click.option(
            f"--tls-{name}",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help=f"{what} $REAR_TLS_{name.upper()}.",
            expose_value=False,
            callback=_keep,
        )(command)
    return command


def common_options(command: Command) -> Command:
    """Adds the options of every client; given to a group, they hold for all that is below it."""
    command = tls_options(command)
    for option in reversed(
        (
            click.option(
                "--endpoint",
                metavar="HOST:PORT[,...]",
                help=f"The service, or several to try in turn; also $REAR_ENDPOINT.  [default: {DEFAULT_ENDPOINT}]",
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
                "--expect",
                "expected_id",
                metavar="SPIFFE_ID",
                help="Who the service must prove to be, by its certificate; also $REAR_EXPECT.",
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
