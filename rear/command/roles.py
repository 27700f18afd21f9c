"""`rear up`: the roles that are installed, found by entry points.

A role names a `click.Command` in the group `rear.roles`. Where one is installed, `rear up` is that command;
where there are several, each is a subcommand of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

ROLES: Final = "rear.roles"
"""The entry point group in which an installed role names its `up` command."""


class RoleGroup(click.Group):
    """The installed roles, each imported when it is asked for."""

    def __init__(self, roles: Mapping[str, EntryPoint]) -> None:
        super().__init__("up", help="Start a service.")
        self._roles = roles

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The roles by name."""
        return sorted(self._roles)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a role; None where it is not installed."""
        role = self._roles.get(cmd_name)
        return None if role is None else _load(role)


def _load(role: EntryPoint) -> click.Command:
    command = role.load()
    if not isinstance(command, click.Command):
        raise click.ClickException(f"the role {role.name} is no command: {role.value}")
    return command


def up_command() -> click.Command:
    """What `rear up` is with the roles that are installed."""
    roles = {role.name: role for role in entry_points(group=ROLES)}
    if len(roles) == 1:
        return _load(next(iter(roles.values())))
    return RoleGroup(roles)
