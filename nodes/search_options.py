"""Options about the search for resources with other nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from rear.domain.window import SECOND, Duration
from rear.managers.consumer.rear import SearchSettings

_DEFAULT = SearchSettings()


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command. It gets `search`, a SearchSettings."""

    @click.option(
        "--discovery-deadline",
        type=click.FloatRange(0.01, 60),
        default=_DEFAULT.deadline,
        show_default=True,
        envvar="REAR_DISCOVERY_DEADLINE",
        show_envvar=True,
        help="Seconds that each neighbour has to say what it offers.",
    )
    @click.option(
        "--candidates-fresh",
        type=click.FloatRange(0, 3600),
        default=_DEFAULT.fresh / SECOND,
        show_default=True,
        envvar="REAR_CANDIDATES_FRESH",
        show_envvar=True,
        help="Seconds for which neighbours' offers are used again without asking; 0 asks for every component.",
    )
    @functools.wraps(command)
    def with_options(*arguments: Any, discovery_deadline: float, candidates_fresh: float, **named: Any) -> Any:
        search = SearchSettings(discovery_deadline, Duration(round(candidates_fresh * SECOND)))
        return command(*arguments, search=search, **named)

    return with_options
