"""`make demo`: the main job, step by step, with the commands that anybody can type.

It starts a node with its own NATS server in a temporary directory, sells the last free piece of a pool to one of
two buyers that ask at the same instant, lets the other one take the counter-offer, and shows what is on record.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from nodes.inventory import DEMO

REAR: Final = (sys.executable, "-m", "rear.command.main")
START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 20.0
POOL: Final = "grenoble-edge"
PIECE: Final = ("--cpu", "4", "--memory", "8GiB", "--for", "2h")


class DemoFailed(Exception):
    """A step did not end as it should have."""


def main() -> None:
    """Runs the demo; exit code 1 where a step does not end as it should."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rear-demo-") as directory:
        try:
            _run(Path(directory))
        except DemoFailed as failed:
            sys.exit(f"the demo failed: {failed}")
    _say(f"Done in {time.monotonic() - begun:.0f} s. Nothing is left running.")


def _run(directory: Path) -> None:
    state, ready, log = directory / "state", directory / "ready", directory / "node.log"
    _title("1. A node starts, with eight resource pools and a NATS server of its own")
    command = ("up", "--state", str(state), "--inventory", str(DEMO), "--listen", "127.0.0.1:0")
    _show(("up", "--state", "STATE", "--inventory", "nodes/samples/demo.yaml"))
    with log.open("w") as output:
        node = subprocess.Popen((*REAR, *command, "--ready-file", str(ready)), stderr=output)
        try:
            os.environ["REAR_ENDPOINT"] = _wait_until_ready(node, ready, log)
            _trade(state)
            _title("8. The node stops: it finishes what is under way, and takes its NATS server with it")
            node.send_signal(signal.SIGTERM)
            _expect(node.wait(STOP_TIMEOUT), 0, "stopping the node")
        finally:
            if node.poll() is None:
                node.kill()
                node.wait()


def _trade(state: Path) -> None:
    _title("2. What does it offer? Machines with 4 cores and 8 GiB for the next two hours, cheapest first")
    _rear("flavours", "list", *PIECE, "--order", "price")
    _title(f"3. Two buyers want all of {POOL} at the same instant")
    with ThreadPoolExecutor(2) as buyers:
        arguments = ("reserve", f"{POOL}-1", *PIECE)
        outcomes = list(buyers.map(lambda _: _call(arguments, json_output=False), range(2)))
    winner, loser = sorted(outcomes, key=lambda outcome: outcome.returncode)
    _show(arguments)
    _expect(winner.returncode, 0, "one of the two reservations")
    _print(winner)
    _say("… and the other buyer, who was not told a comforting lie:")
    _show(arguments)
    _expect(loser.returncode, 3, "the other reservation")
    _print(loser)
    contract = _only_contract()
    _title("4. The second buyer takes the counter-offer: the same piece, as soon as it is free")
    _rear(*_later(loser))
    _title("5. The first buyer purchases before the time to purchase runs out")
    _rear("purchase", contract)
    _title("6. The ledger: every change is an event on NATS JetStream, each hash covers the one before")
    _rear("events", "--last", "12")
    _title("7. The tables are derived from it, and could be deleted at any time")
    _rear("contracts", "list")
    _rear("tables", "show", "holds", "--state", str(state), shown=("tables", "show", "holds", "--state", "STATE"))
    _rear("tables", "digest", "--state", str(state), shown=("tables", "digest", "--state", "STATE"))


def _later(refused: subprocess.CompletedProcess[str]) -> tuple[str, ...]:
    """The command that the refusal itself names for the earliest window."""
    named = [line.strip() for line in refused.stdout.splitlines() if "--start" in line]
    if not named:
        raise DemoFailed("the refusal names no later window")
    return tuple(shlex.split(named[-1])[1:])


def _only_contract() -> str:
    listed = json.loads(_call(("contracts", "list"), json_output=True).stdout)
    contracts = listed.get("contracts", [])
    if len(contracts) != 1:
        raise DemoFailed(f"{len(contracts)} contracts where there should be one")
    return str(contracts[0]["contractId"])


def _rear(*arguments: str, shown: tuple[str, ...] | None = None) -> None:
    _show(shown or arguments)
    done = _call(arguments, json_output=False)
    _print(done)
    _expect(done.returncode, 0, " ".join(arguments[:2]))


def _call(arguments: tuple[str, ...], *, json_output: bool) -> subprocess.CompletedProcess[str]:
    options = ("--json",) if json_output else ()
    return subprocess.run((*REAR, *options, *arguments), capture_output=True, text=True, check=False)


def _wait_until_ready(node: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT
    while not ready.exists():
        if node.poll() is not None or time.monotonic() > deadline:
            raise DemoFailed(f"the node did not start:\n{log.read_text()}")
        time.sleep(0.05)
    return ready.read_text()


def _expect(code: int, wanted: int, what: str) -> None:
    if code != wanted:
        raise DemoFailed(f"{what} ended with exit code {code}, not {wanted}")


def _print(done: subprocess.CompletedProcess[str]) -> None:
    _say((done.stdout + done.stderr).rstrip())


def _show(arguments: tuple[str, ...]) -> None:
    _say(f"$ rear {shlex.join(arguments)}", style="1")


def _title(text: str) -> None:
    _say(f"\n{text}", style="1;36")


def _say(text: str, style: str = "") -> None:
    print(f"\x1b[{style}m{text}\x1b[0m" if style and sys.stdout.isatty() else text, flush=True)


if __name__ == "__main__":
    main()
