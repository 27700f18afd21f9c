"""The `rear` command: finds the subcommand that is asked for, and ends in good order.

Nothing heavy is imported here: `rear --help` loads no subcommand.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from rear.command import failures
from rear.command.settings import Settings, common_options


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A subcommand that is imported when it is asked for.

    `target` is the `module:attribute` of a command or of a function that gives one.
    """

    target: str
    help: str

    def load(self) -> click.Command:
        """Import it."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            command = command()
        assert isinstance(command, click.Command)
        return command


COMMANDS: Final[Mapping[str, LazyCommand]] = {
    "up": LazyCommand("rear.command.roles:up_command", "Start a service."),
    "flavours": LazyCommand("rear.command.flavours:flavours", "What a provider offers, and what of it is free."),
    "reserve": LazyCommand("rear.command.reserve:reserve", "Hold a partition of a flavour for a window."),
    "purchase": LazyCommand("rear.command.contracts:purchase", "Buy what was reserved."),
    "cancel": LazyCommand("rear.command.contracts:cancel", "End a contract."),
    "contracts": LazyCommand("rear.command.contracts:contracts", "The contracts that you hold with a provider."),
    "intent": LazyCommand("rear.command.intents:intent", "Hand in what you want to have running, and follow it."),
    "events": LazyCommand("rear.command.events:events", "Read a service's ledger."),
    "tables": LazyCommand("rear.command.tables:tables", "Look at a service's tables, digest and rebuild them."),
    "pki": LazyCommand("rear.command.pki:pki", "Certificates for development."),
    "ledger": LazyCommand("rear.command.ledger:ledger", "Verify a service's ledger; accept what was lost of it."),
    "status": LazyCommand("rear.command.status:status", "Whether a service is ready, and why it is not."),
    "completion": LazyCommand("rear.command.completion:completion", "Make a shell complete this command."),
}
"""Every subcommand, in the order of --help."""


class LazyGroup(click.Group):
    """A group whose subcommands are imported one by one, when they are asked for."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in their order."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; None where there is none."""
        lazy = self._lazy.get(cmd_name)
        return None if lazy is None else lazy.load()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A reader of its output that went away ends it, in silence."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            failures.close_quietly()
            ctx.exit(failures.BROKEN_PIPE)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Options, and the subcommands, without importing them."""
        names = [
            CompletionItem(name, help=lazy.help) for name, lazy in self._lazy.items() if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in self._lazy.items()])


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="rear", prog_name="rear", message="%(prog)s %(version)s")
@common_options
@click.pass_context
def cli(context: click.Context) -> None:
    """Advertise, reserve and buy resources over REAR.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the provider, 4 no answer from the provider,
    130 interrupted.

    To begin: `rear up` in one terminal; in another `rear flavours list --cpu 2 --memory 4GiB`, and
    `rear reserve FLAVOUR --cpu 2 --memory 4GiB` with a flavour of that list.
    """
    context.ensure_object(Settings)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, and exit with its code. A failure is one line on stderr, never a traceback."""
    code = run_command(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        failures.close_quietly()
        code = code or failures.BROKEN_PIPE
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Run the command and give its exit code."""
    # gRPC's core tells of every connection that goes away; that belongs to no command's output.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    chosen = Settings()
    try:
        result = cli.main(args=list(arguments), prog_name="rear", standalone_mode=False, obj=chosen)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return failures.USAGE
    except click.UsageError as error:
        see = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
        failures.complain(f"{error.format_message()}{see}")
        return failures.USAGE
    except click.ClickException as error:
        failures.complain(error.format_message())
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return failures.INTERRUPTED
    except Exception as error:
        return _failed(error, chosen)
    # Without standalone mode, `ctx.exit(code)` comes back as a result.
    return result if isinstance(result, int) else 0


def _failed(error: Exception, chosen: Settings) -> int:
    if isinstance(error, OSError) and error.strerror is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        failures.complain(f"{where}{error.strerror}")
        return failures.FAILURE
    # Whoever raised one of these has imported the module; nobody else needs to.
    failpoints = sys.modules.get("rear.failpoints")
    if failpoints is not None and isinstance(error, failpoints.BadFailpoints):
        failures.complain(str(error))
        return failures.USAGE
    calls = sys.modules.get("rear.rpc.refused")
    if calls is not None:
        if isinstance(error, calls.CallFailed):
            return failures.report(error, chosen.endpoint, json=chosen.json)
        if isinstance(error, calls.UntrueAnswer):
            failures.complain(f"the provider's answer cannot be true: {error}")
            return failures.FAILURE
    return failures.unexpected(error)


if __name__ == "__main__":
    main()
