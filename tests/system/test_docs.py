"""What the documents say: their commands run, their worked examples hold, and what they name is there.

A block fenced as ```console is run: its lines that begin with `$ ` (and go on with `> `), in their order, all blocks
of a document in one shell, in a new folder that has what the root of a checkout has. Every command must end with
exit code 0; the last one of a block fenced as ```console exit=N with exit code N. What the blocks show as output is
not compared. A command that ends in `&` starts a node, and the next one waits until it serves.

A block fenced as ```python is run too, all of a document in one namespace. Other blocks are for reading only.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from nodes import intent_service
from rear.domain import intent_rules, partition, refusals, reservation
from rear.domain.contract import contract_id
from rear.domain.events import LedgerOpened
from rear.domain.window import DAY, HOUR, MINUTE
from rear.ledger import stream, writer
from rear.ledger.chain import link
from rear.ledger.codec import decode
from rear.rpc import (
    answering,
    audit_service,
    changing,
    contract_service,
    contract_watch,
    discovery_service,
    errors,
    open_watches,
    paging,
    undecodable,
)
from rear.v1.errors_pb2 import ErrorReason
from rear.wire import intents
from tests.system.node_process import fixed_port

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
WITH_COMMANDS: Final = ("README.md", "docs/intents.md", "docs/operations.md", "docs/protocol.md", "docs/security.md")
PUBLISHED_ENDPOINT: Final = "127.0.0.1:7400"
PUBLISHED_OPS: Final = "127.0.0.1:7480"
PUBLISHED_NEIGHBOUR: Final = "127.0.0.1:7404"
WITHIN: Final = 100.0
"""Seconds for the commands of one document; they take some ten where nobody else wants the processor."""

PRELUDE: Final = """
trap 'kill -KILL $(jobs -p) 2>/dev/null' EXIT
ended() { [ "$1" = "$2" ] || { echo "line $3 ended with exit code $1, not $2" >&2; exit 99; }; }
serves() {
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        rear flavours list --limit 1 ${2:+--endpoint $2} >/dev/null 2>&1 && return
    done
    echo "line $1 started no node that serves" >&2
    exit 99
}
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and the number of its first line."""

    language: str
    attributes: str
    line: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a document, the number of its line, and the exit code that it must have."""

    text: str
    line: int
    exit_code: int


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document."""
    opened: tuple[str, str, int] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("```"):
            body.append(line)
        elif opened is None:
            language, _, attributes = line[3:].strip().partition(" ")
            opened, body = (language, attributes, number + 1), []
        else:
            yield Block(*opened, tuple(body))
            opened = None
    assert opened is None, f"the block of line {opened[2] - 1} has no end" if opened else ""


def commands(text: str) -> list[Command]:
    """The commands of a document that are run."""
    found: list[Command] = []
    for block in blocks(text):
        if block.language != "console":
            continue
        typed: list[tuple[int, str]] = []
        for at, line in enumerate(block.lines, block.line):
            if line.startswith("$ "):
                typed.append((at, line[2:]))
            elif line.startswith("> "):
                typed[-1] = (typed[-1][0], f"{typed[-1][1]}\n{line[2:]}")
        last = int(block.attributes.removeprefix("exit=") or 0)
        found += [Command(line, at, 0) for at, line in typed[:-1]]
        found += [Command(line, at, last) for at, line in typed[-1:]]
    return found


def script(found: list[Command]) -> str:
    """A shell script that runs the commands, and ends at the first that ends otherwise than it should."""
    steps = []
    for command in found:
        steps.append(f"{command.text}\nended $? {command.exit_code} {command.line}")
        if command.text.endswith("&"):
            listens = re.search(r"--listen (\S+)", command.text)
            steps.append(f"serves {command.line} {listens[1] if listens else ''}")
    return "\n".join((PRELUDE, *steps))


def run(text: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script; whatever it started is gone when this returns."""
    output = folder / "output"
    with output.open("w") as file:
        shell = subprocess.Popen(
            ["bash", "-c", text],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            shell.wait(WITHIN)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    return subprocess.CompletedProcess(shell.args, shell.returncode, output.read_text())


@pytest.mark.parametrize("document", WITH_COMMANDS)
def test_commands_end_as_the_document_says(document: str, tmp_path: Path) -> None:
    found = commands((ROOT / document).read_text())
    assert found
    for name in ("nodes", "proto", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    endpoint = f"127.0.0.1:{fixed_port()}"
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "REAR_ENDPOINT": endpoint,
    }
    text = script(found).replace(PUBLISHED_ENDPOINT, endpoint)
    for published in (PUBLISHED_OPS, PUBLISHED_NEIGHBOUR):
        text = text.replace(published, f"127.0.0.1:{fixed_port()}")
    done = run(text, tmp_path, environment)
    assert done.returncode == 0, done.stdout


def test_a_command_that_ends_otherwise_is_found(tmp_path: Path) -> None:
    text = "```console exit=3\n$ true\n$ exit_with() { return $1; }; exit_with 4\n```\n"
    done = run(script(commands(text)), tmp_path, os.environ)
    assert done.returncode == 99
    assert "line 3 ended with exit code 4, not 3" in done.stdout


# -- worked examples of docs/protocol.md ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def protocol() -> str:
    return (ROOT / "docs" / "protocol.md").read_text()


@pytest.fixture(scope="module")
def examples(protocol: str) -> dict[str, Any]:
    """The names that the Python blocks of the document leave behind."""
    names: dict[str, Any] = {}
    for block in blocks(protocol):
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + "\n".join(block.lines), "docs/protocol.md", "exec"), names)
    return names


def test_the_contract_id_of_the_example_is_ours(examples: dict[str, Any]) -> None:
    names = (examples["provider_id"], examples["caller"], examples["request_id"])
    assert contract_id(*names) == examples["contract_id"]


def test_the_hashes_of_the_example_are_ours(examples: dict[str, Any]) -> None:
    head = "0" * 64
    for subject, payload, digest in examples["ledger"]:
        head = link(head, subject, payload)
        assert head == digest


def test_the_payload_of_the_example_is_an_event(examples: dict[str, Any]) -> None:
    subject, payload, _ = examples["ledger"][0]
    decoded = decode(payload)
    assert decoded.subject == subject
    assert isinstance(decoded.event, LedgerOpened)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def refusal_classes(root: type[refusals.Refusal] = refusals.Refusal) -> Iterator[type[refusals.Refusal]]:
    for cls in root.__subclasses__():
        yield cls
        yield from refusal_classes(cls)


def test_the_table_of_reasons_is_complete_and_true(protocol: str) -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in rows(protocol, "Reasons")}
    prefix = "ERROR_REASON_"
    assert set(told) == {name.removeprefix(prefix) for name in ErrorReason.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    for cls in {*refusal_classes()} - {refusals.RefusedElsewhere}:  # which is heard, and never said
        code = errors.code_of(cls.__new__(cls))
        assert told[cls.reason] == code.name, cls.reason


def test_the_limits_are_those_of_the_code(protocol: str) -> None:
    told = {row[0]: row[1] for row in rows(protocol, "Limits")}
    promises = reservation.Promises()
    true = {
        "a request": f"{undecodable.LARGEST_REQUEST // 1024} KiB",
        "a message that the transport takes": f"{undecodable.LARGEST_RECEIVED // 1024**2} MiB",
        "flavours in a list": f"{discovery_service.LARGEST_LIMIT:,}; {discovery_service.DEFAULT_LIMIT} by default",
        "contracts in a page": f"{paging.LARGEST_PAGE:,}; {paging.DEFAULT_PAGE} by default",
        "operations or service requests in a page": "as contracts, and "
        f"{intent_service.LARGEST_RESPONSE // 1024**2} MiB",
        "an intent": f"{intents.LARGEST_INTENT // 1024} KiB",
        "components of an intent": f"{intent_rules.MAX_COMPONENTS}",
        "`last` of `ReadEvents`": f"{audit_service.LARGEST_LAST:,}",
        "events of one command": f"{writer.MAX_EVENTS}",
        "events of one commit": f"{stream.MAX_BATCH:,}",
        "commands that wait for the ledger": f"{writer.MAX_WAITING:,}",
        "all details of an error": f"{errors.MOST_DETAIL_BYTES:,} bytes",
        "requests for units in a partition": f"{partition.MAX_UNIT_REQUESTS}",
        "devices in one of them": f"{partition.MAX_UNITS:,}",
        "an amount": f"2^{partition.MAX_AMOUNT.bit_length() - 1}",
        "`contract_ids` of `WatchContracts`": f"{contract_watch.MOST_NAMED:,}",
        "`reason` of `CancelContract` and `RevokeContract`": f"{changing.LONGEST_REASON} characters",
        "`chain_id`": f"{contract_service.LONGEST_CHAIN_ID} characters",
        "`ttp`": f"{promises.maximum_ttp // HOUR} h; {promises.default_ttp // MINUTE} min by default",
        "default lease": f"{promises.default_lease // HOUR} h",
        "horizon": f"{promises.horizon // DAY:,} days",
        "watches of contracts that one caller has open; watches of service requests; waits for operations": ""
        f"{open_watches.MOST_WATCHES} each",
        "wait for an open outcome": f"{answering.LONGEST_WAIT:g} s",
    }
    assert told == true


# -- all documents -------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The names by which the headings of a document can be linked."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text()), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`((?:rear|nodes|proto|tests|docs|benchmarks)/[\w./-]+)`", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
