"""Opening a service's state directory while the service is stopped."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import click

from rear import failpoints
from rear.command.logs import configure
from rear.ledger.errors import LedgerError, StoreLocked
from rear.ledger.store import StateDirectory, Store, open_store
from rear.process import run

Result = TypeVar("Result")

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("rear-state"),
    show_default=True,
    help="The service's state directory.",
)


def with_store(state: Path, work: Callable[[Store], Awaitable[Result]], *, check: bool = True) -> Result:
    """Opens the ledger of a stopped service for `work`, and closes it again."""

    configure("auto", "CRITICAL")
    failpoints.switch_on(os.environ)

    async def opened() -> Result:
        directory = StateDirectory(state)
        async with AsyncExitStack() as stack:
            return await work(await open_store(stack, directory, check=check, lock_timeout=1.0))

    try:
        return run(opened())
    except StoreLocked as locked:
        raise click.ClickException(f"{state} is in use by a running service; stop it first") from locked
    except LedgerError as error:
        raise click.ClickException(str(error)) from error
