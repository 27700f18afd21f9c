"""`rear completion`: what makes a shell complete the command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete subcommands, options and their values.

    \b
    bash:  source <(rear completion bash)       in ~/.bashrc
    zsh:   source <(rear completion zsh)        in ~/.zshrc, after compinit
    fish:  rear completion fish | source        in ~/.config/fish/config.fish
    """
    from rear.command.main import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "rear", "_REAR_COMPLETE").source())
