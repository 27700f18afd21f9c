"""Shell completion, as a shell drives it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rear.command.main import COMMANDS

BIN = Path(sys.executable).parent
REAR = str(BIN / "rear")


def complete(*words: str) -> list[str]:
    """What is offered for the last of the words, by the protocol between the shells' scripts and the command."""
    environment = {"_REAR_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([REAR], env=os.environ | environment, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_subcommands_are_offered() -> None:
    assert complete("rear", "") == list(COMMANDS)
    assert complete("rear", "s") == [name for name in COMMANDS if name.startswith("s")]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("rear", "--j"), "--json"),
        (("rear", "ledger", "v"), "verify"),
        (("rear", "contracts", "w"), "watch"),
        (("rear", "contracts", "revoke", "--rea"), "--reason"),
        (("rear", "intent", "sub"), "submit"),
        (("rear", "intent", "list", "--state", "re"), "ready"),
        (("rear", "reserve", "--c"), "--cpu"),
        (("rear", "up", "--op"), "--ops"),
        (("rear", "up", "--log-format", "j"), "json"),
        (("rear", "completion", "z"), "zsh"),
    ],
)
def test_options_and_values_are_offered(words: tuple[str, ...], offered: str) -> None:
    assert offered in complete(*words)


def test_subcommands_are_offered_without_importing_them() -> None:
    program = (
        "import sys\nfrom rear.command.main import run_command\n"
        "try:\n    run_command([])\nexcept SystemExit:\n    pass\n"
        "assert not {'grpc', 'nats', 'nodes.up'} & set(sys.modules)"
    )
    environment = {"_REAR_COMPLETE": "bash_complete", "COMP_WORDS": "rear ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "plain,reserve" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_this_command(shell: str) -> None:
    done = subprocess.run([REAR, "completion", shell], capture_output=True, text=True, timeout=30, check=True)
    assert f"_REAR_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, timeout=30, check=True)


def test_another_shell_is_wrong_usage() -> None:
    done = subprocess.run([REAR, "completion", "tcsh"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "'tcsh' is not one of" in done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes() -> None:
    script = """
source <(rear completion bash)
complete -p rear >&2
COMP_WORDS=(rear contracts '') COMP_CWORD=2
_rear_completion rear
printf '%s\\n' "${COMPREPLY[@]}"
"""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=30)
    assert "_rear_completion rear" in done.stderr
    assert "list" in done.stdout.split()
