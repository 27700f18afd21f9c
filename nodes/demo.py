"""`make demo`: workflow 1 (docs/workflows.md) between two nodes, with the commands that anybody can type.

A gauging station has one core and little memory, and needs a forecast that takes more; a node of the same domain has
eight pools. An application owner hands an intent in at the station; the demo shows what becomes of it, step by step
with the numbers of the document, and what both nodes have on record at the end. Then two buyers ask for the last
free piece of a pool at the same instant.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nodes.demo_shell import DemoFailed, ask, call_at_once, expect, node, rear, say, say_of, show, title
from nodes.demo_steps import CONSUMER, PROVIDER, walked
from nodes.inventory import DEMO

SAMPLES: Final = DEMO.parent
STATION: Final = SAMPLES / "station.yaml"
INTENT: Final = SAMPLES / "intent.yaml"
INTRODUCTION: Final = """
A gauging station at a river has a small computer, and a computing centre of the same domain has large ones. The
owner of an application says at the station what is to run, and the station gets what that needs: what fits, from
itself; what does not, from the centre, by contract. Every line that begins with $ is a command that you can type."""
PIECE: Final = ("--cpu", "4", "--memory", "8GiB", "--for", "2h")


def main() -> None:
    """Runs the demo; exit code 1 where a step does not end as it should."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rear-demo-") as directory:
        try:
            _run(Path(directory))
        except DemoFailed as failed:
            sys.exit(f"the demo failed: {failed}")
    say(f"Done in {time.monotonic() - begun:.0f} s. Nothing is left running.")


def _run(folder: Path) -> None:
    say(INTRODUCTION)
    title("1. Two nodes of one domain, each with a ledger on a NATS server of its own")
    with (
        node(folder, "centre", 7402, "--inventory", str(DEMO)) as centre,
        node(folder, "station", 7401, "--inventory", str(STATION), "--neighbour", centre) as station,
    ):
        title("2. What has the station? One core, and one GiB")
        rear("--endpoint", station, "flavours", "list")
        title("3. What is to run there needs more: two components, of which the second does not fit")
        say(_without_comments(INTENT))
        title("4. The application owner hands it in at the station, and waits until everything is active")
        rear("--endpoint", station, "intent", "submit", str(INTENT), "--wait")
        title("5. What happened: the steps of workflow 1 (docs/workflows.md), and what both ledgers say of them")
        say("Times count from step 3. Steps without an event are calls, and looks at what is there.")
        _show_steps(station, centre)
        title("6. What both nodes have on record")
        state = ("--state", str(folder / "station"))
        say("The station, as the buyer:")
        rear("--endpoint", station, "intent", "list")
        rear("tables", "show", *state)
        rear("tables", "show", "peering_candidates", *state)
        rear("tables", "show", "purchases", *state)
        rear("tables", "show", "allocations", *state)
        rear("tables", "show", "ratings", *state)
        rear("--endpoint", station, "events", "--last", "18")
        state = ("--state", str(folder / "centre"))
        say("The centre, as the seller:")
        rear("--endpoint", centre, "contracts", "list")
        rear("tables", "show", *state)
        rear("tables", "show", "available_resources", *state)
        rear("tables", "show", "holds", *state)
        rear("tables", "show", "allocations", *state)
        rear("--endpoint", centre, "events", "--last", "7")
        title("7. Nobody sells twice: two buyers want all of grenoble-edge at the same instant")
        _race(centre)
        title("8. Both nodes stop in good order, and take their NATS servers with them")


def _show_steps(station: str, centre: str) -> None:
    ledgers = {
        CONSUMER: ask("--endpoint", station, "events", "--all"),
        PROVIDER: ask("--endpoint", centre, "events", "--all"),
    }
    steps = list(walked(ledgers))
    begun = min((event.at for step in steps for event in step.seen), default=datetime.now(UTC))
    names = {CONSUMER: "station", PROVIDER: "centre"}
    for step in steps:
        say(f"{step.number:>3}  {names[step.side]:<8} {step.sentence}", style="1")
        for event in step.seen:
            after = (event.at - begun).total_seconds() * 1_000
            say(f"       {after:>7.1f} ms  event {event.sequence} of {names[event.side]}: {event.text}")


def _race(centre: str) -> None:
    arguments = ("--endpoint", centre, "reserve", "grenoble-edge-1", *PIECE)
    winner, loser = sorted(call_at_once(*arguments, times=2), key=lambda said: said.exit_code)
    show(*arguments)
    say_of(winner)
    expect(winner.exit_code, 0, "one of the two reservations")
    say("… and the other buyer, who is told what would fit:")
    show(*arguments)
    say_of(loser)
    expect(loser.exit_code, 3, "the other reservation")


def _without_comments(document: Path) -> str:
    lines = document.read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("name:"))
    return "\n".join(lines[first:])


if __name__ == "__main__":
    main()
