"""What the demo shows: commands as anybody can type them, run as they are shown, and what they say."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rear.command.main import run_command

REAR: Final = (sys.executable, "-m", "rear.command.main")
START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 20.0


class DemoFailed(Exception):
    """A step did not end as it should have."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said on stdout and on stderr."""

    exit_code: int
    out: str
    err: str


@contextmanager
def node(folder: Path, name: str, port: int, *options: str) -> Iterator[str]:
    """A node that runs as long as this lasts, with its state in `folder`; its endpoint."""
    state, ready, log = folder / name, folder / f"{name}.ready", folder / f"{name}.log"
    endpoint = f"127.0.0.1:{free(port)}"
    command = ("up", "--name", name, "--state", str(state), "--listen", endpoint, *options)
    show(*command, background=True)
    with log.open("w") as output:
        process = subprocess.Popen((*REAR, *command, "--ready-file", str(ready)), stderr=output)
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise DemoFailed(f"the node {name} did not start:\n{log.read_text()}")
                time.sleep(0.05)
            yield endpoint
            process.send_signal(signal.SIGTERM)
            expect(process.wait(STOP_TIMEOUT), 0, f"stopping {name}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def free(port: int) -> int:
    """The port, or another one where somebody has it."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rear(*arguments: str, exit_code: int = 0) -> str:
    """Runs a command, and shows it and what it says; returns what it said on stdout."""
    show(*arguments)
    done = call(*arguments)
    say_of(done)
    expect(done.exit_code, exit_code, " ".join(arguments))
    return done.out


def ask(*arguments: str) -> list[dict[str, Any]]:
    """What a command says to programs, one JSON document a line; it is not shown."""
    done = call("--json", *arguments)
    expect(done.exit_code, 0, " ".join(arguments))
    return [json.loads(line) for line in done.out.splitlines()]


def call(*arguments: str) -> Said:
    """Runs a command. In this process, because most of the time of a command is its start."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run_command(arguments)
    return Said(code, out.getvalue(), err.getvalue())


def call_at_once(*arguments: str, times: int) -> list[Said]:
    """Runs a command in several processes at the same time."""
    pipe, command = subprocess.PIPE, (*REAR, *arguments)
    running = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(times)]
    ended = [(process, *process.communicate()) for process in running]
    return [Said(process.returncode, out, err) for process, out, err in ended]


def expect(code: int, wanted: int, what: str) -> None:
    """Fails where a command ended otherwise than it should have."""
    if code != wanted:
        raise DemoFailed(f"{what} ended with exit code {code}, not {wanted}")


def show(*arguments: str, background: bool = False) -> None:
    """Shows a command."""
    say(f"$ rear {shlex.join(map(_short, arguments))}{' &' if background else ''}", style="1")


def say_of(done: Said) -> None:
    """Shows what a command said, first of all why it failed."""
    say((done.err + done.out).rstrip())


def title(text: str) -> None:
    """Begins a part."""
    say(f"\n{text}", style="1;36")


def say(text: str, style: str = "") -> None:
    """Writes for people."""
    print(f"\x1b[{style}m{text}\x1b[0m" if style and sys.stdout.isatty() else text, flush=True)


def _short(argument: str) -> str:
    """A path below the working directory as one would type it."""
    return os.path.relpath(argument) if argument.startswith(f"{os.getcwd()}/") else argument
