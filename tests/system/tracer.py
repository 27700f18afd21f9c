"""System calls of a running process and all its threads, as strace saw them, in order."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

TRACED: Final = "fsync,fdatasync,write,pwrite64,writev,pwritev,sendto,sendmsg"
SHOWN: Final = "2000"
"""Bytes of each buffer that the trace shows."""

_LINE: Final = re.compile(r"(\d+) +(.*)")
_CALL: Final = re.compile(r"(\w+)\((.*)")
_UNFINISHED: Final = " <unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """A system call; `began` and `ended` are lines of the trace, which is in the order of time."""

    began: int
    ended: int
    name: str
    text: str

    @property
    def file(self) -> str:
        """What its first argument is: a path, or a connection."""
        found = re.match(r"\d+<(.*?)>[,)]", self.text)
        return found[1] if found else ""


def read_trace(trace: Path) -> list[Call]:
    """The calls that ended without an error."""
    calls: list[Call] = []
    open_calls: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(trace.read_text().splitlines()):
        matched = _LINE.fullmatch(line)
        if matched is None:
            continue
        thread, said = matched.groups()
        if said.startswith("<... "):
            if thread not in open_calls:  # it was under way when the tracer came
                continue
            began, name, before = open_calls.pop(thread)
            said = before + said.partition(" resumed>")[2]
        else:
            began = number
            call = _CALL.match(said)
            if call is None:
                continue
            name, said = call.groups()
            if said.endswith(_UNFINISHED):
                open_calls[thread] = (began, name, said.removesuffix(_UNFINISHED))
                continue
        if not said.rpartition(" = ")[2].startswith("-1"):
            calls.append(Call(began, number, name, said))
    return sorted(calls, key=lambda call: call.began)


@asynccontextmanager
async def traced(pid: int, trace: Path) -> AsyncIterator[None]:
    """Inside of it the calls of a process are written to `trace`."""
    tracer = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-yy", "-s", SHOWN, "-e", f"trace={TRACED}", "-o", str(trace), "-p", str(pid)),
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    said = b""
    while b"attached" not in said:
        said = await asyncio.wait_for(tracer.stderr.readline(), 20)
        assert said, "strace ended"
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        await asyncio.wait_for(tracer.communicate(), 20)


@pytest.fixture(scope="session")
def strace() -> None:
    """Skips a test where no process can be traced."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    # A child of ours that strace starts itself tells nothing of attaching: this one it has to attach to.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        tried = subprocess.Popen(["strace", "-p", str(child.pid)], stderr=subprocess.PIPE, text=True)
        assert tried.stderr is not None
        said = tried.stderr.readline()
        tried.terminate()
        tried.communicate()
        child.kill()
    if "attached" not in said:
        pytest.skip(f"strace may not attach to a process: {said.strip()}")
