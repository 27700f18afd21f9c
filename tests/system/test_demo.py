"""`make demo` shows every step of workflow 1, and leaves nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from nodes.demo_steps import STEPS

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_EVENT = {1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 15, 19, 25}
"""Steps that are looks and calls."""


def test_the_demo_shows_every_step_with_what_is_on_record() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nodes.demo"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-2_000:]
    parts = re.split(r"^ {0,2}(\d+)  (?:station|centre) ", done.stdout, flags=re.MULTILINE)
    shown = {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}
    assert list(shown) == list(STEPS)
    assert {step for step, text in shown.items() if " ms  event " not in text} == WITHOUT_EVENT
    assert re.search(r"^\d+ +leipzig-cpu +\S+ +CONTRACT +20\S+Z +20\S+Z$", done.stdout, re.MULTILINE)
    assert "Counter-offer on grenoble-edge-2" in done.stdout
    assert "Nothing is left running." in done.stdout
