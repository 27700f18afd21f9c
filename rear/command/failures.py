"""How the command fails: one line on stderr, and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from rear.command.output import as_json, visible, write_json

if TYPE_CHECKING:
    from rear.rpc.refused import CallFailed

FAILURE: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNREACHABLE: Final = 4
REPLACED: Final = 5
"""A node that another process has replaced as the writer of its ledger."""
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

FAULTS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
"""Codes that are the provider's fault, not its refusal."""


def complain(line: str) -> None:
    """One line on stderr, whatever `line` holds."""
    click.echo(f"rear: {visible(' '.join(line.split()))}", err=True)


def exit_code_of(failure: CallFailed) -> int:
    """The exit code for a call that failed."""
    from rear.rpc.refused import Unreachable

    if isinstance(failure, Unreachable):
        return UNREACHABLE
    return FAILURE if failure.code.name in FAULTS else REFUSED


def say(failure: CallFailed, endpoint: str) -> str:
    """A failure as one line: what was refused and why."""
    from rear.rpc.refused import Unreachable

    reason = failure.reason or failure.code.name
    if isinstance(failure, Unreachable):
        # With a reason of the protocol's it did answer: not now.
        what = f"{endpoint} says" if failure.reason else f"no answer from {endpoint}"
        return f"{what}: {failure.message or 'it did not say why'} ({reason})"
    message = failure.message or "the provider did not say why"
    for violation in failure.violations:
        if violation.field not in message:
            message += f"; {violation.field}: {violation.description}"
    facts = ", ".join(f"{name}={value}" for name, value in sorted(failure.metadata.items()) if value not in message)
    return f"refused: {message} ({reason}{'; ' + facts if facts else ''})"


def failure_as_json(failure: CallFailed) -> dict[str, Any]:
    """A failure for programs, with every detail that came with it."""
    error: dict[str, Any] = {
        "code": failure.code.name,
        "reason": failure.reason,
        "message": failure.message,
        "metadata": failure.metadata,
        "violations": [
            {"field": violation.field, "description": violation.description} for violation in failure.violations
        ],
    }
    if failure.counter_offer is not None:
        error["counterOffer"] = as_json(failure.counter_offer)
    return error


def report(failure: CallFailed, endpoint: str, *, json: bool, more: Mapping[str, Any] | None = None) -> int:
    """Say a failed call on stderr, for programs on stdout too, and give the exit code."""
    if json:
        write_json({"error": failure_as_json(failure) | dict(more or {})})
    complain(say(failure, endpoint))
    return exit_code_of(failure)


def unexpected(error: Exception) -> int:
    """A failure that nothing else knows. $REAR_TRACEBACK=1 shows where it came from."""
    if os.environ.get("REAR_TRACEBACK"):
        traceback.print_exception(error)
    complain(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return FAILURE


def close_quietly() -> None:
    """Let nothing more be written to a stdout that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
