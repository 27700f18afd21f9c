"""`make bench` in its quick form: everything runs, and every line is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

LINES = {
    "reserve": [
        *(f"{side}, {n} in flight" for side in ("echo", "reserve", "reserve / echo") for n in (1, 64, 256)),
        *(f"{side}, 1 in flight, p{percent}" for side in ("echo", "reserve") for percent in (50, 99)),
        "bare atomic batch of three events, p50",
    ],
    "hot": [
        "reserve over 200 pools, 64 in flight",
        "reserve on the one pool, 64 in flight",
        "one pool / all pools",
    ],
    "list": ["list, 1 in flight, p50", "list, 16 in flight"],
    "ledger": [
        "reserve on an empty ledger, p50",
        "reserve on the big ledger, p50",
        "reserve, p50, big / empty",
        "node, resident, with all of it read",
        "node, resident, that made them all",
        "nats-server, resident, with them",
        "start-up, tables present",
        "start-up, tables deleted",
        "rebuild of the tables",
    ],
    "intent": [
        *(f"intents, {n} in flight, p{percent}" for n in (1, 8) for percent in (50, 99)),
        *(f"of it: {phase}" for phase in ("accept", "look", "ask", "reserve", "record", "purchase", "peer", "tell")),
        "p50 of an intent in reserves",
    ],
    "takeover": ["take-over, from SIGKILL to the first OK", "take-over, the longest"],
}


@pytest.mark.parametrize("section", LINES)
def test_prints_every_figure_of_a_section(section: str, tmp_path: Path) -> None:
    found = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--only", section, "--json", str(found)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    labels = [line.strip() for line in ran.stdout.splitlines()]
    for wanted in LINES[section]:
        assert any(label.startswith(f"{wanted}  ") for label in labels), f"{wanted!r} is not in\n{ran.stdout}"
    figures = json.loads(found.read_text())
    assert list(figures) == [section]
    assert all(value > 0 for value in figures[section].values()), figures
