"""The options of `rear up` that are about the scrub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rear.ledger.scrub import Pace

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULT = Pace()


def scrub_options(command: F) -> F:
    """Adds `scrub_rate` and `scrub_every`."""
    for option in (
        click.option(
            "--scrub-every",
            type=click.FloatRange(0.1),
            default=_DEFAULT.rest,
            show_default=True,
            envvar="REAR_SCRUB_EVERY",
            show_envvar=True,
            help="Seconds from one reading of the whole ledger to the next.",
        ),
        click.option(
            "--scrub-rate",
            type=click.IntRange(0),
            default=_DEFAULT.rate,
            show_default=True,
            envvar="REAR_SCRUB_RATE",
            show_envvar=True,
            help="Events a second that are read in the background and proved; 0 reads none.",
        ),
    ):
        command = option(command)
    return command
