"""`make soak`: the long forms of the crash, fuzz and scale runs, whose short forms are among the tests.

    python -m benchmarks.soak [--seed N] [--rounds N] [--only kills|machines|traces]

A run is repeated by its seed, as far as the machine's own timing allows; each part prints it.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the soak: tests in their long form."""

    tests: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def parts(rounds: int, seed: int) -> dict[str, Part]:
    """Every part by its name."""
    return {
        "kills": Part(
            ("tests/system/test_kills.py", "-k", "under_load"),
            {"REAR_ROUNDS": str(rounds), "REAR_SEED": str(seed)},
        ),
        "machines": Part(
            ("tests/integration/test_state_machine.py", "tests/unit", f"--hypothesis-seed={seed}"),
            {"HYPOTHESIS_PROFILE": "deep"},
        ),
        "traces": Part(("tests/system/test_trace.py",), {"REAR_TRACE": "whole"}),
    }


TIMEOUT: Final = 4 * 3600
"""Seconds that one test of a soak may take."""


def main() -> None:
    """Runs the parts one after the other; exit code 1 where one fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--rounds", type=int, default=60, help="kills in each of the three kill tests")
    parser.add_argument("--only", choices=sorted(parts(1, 1)), action="append")
    chosen = parser.parse_args()
    failed = [
        name
        for name, part in parts(chosen.rounds, chosen.seed).items()
        if (not chosen.only or name in chosen.only) and not _run(name, part, chosen.seed)
    ]
    if failed:
        sys.exit(f"failed: {', '.join(failed)} (seed {chosen.seed})")


def _run(name: str, part: Part, seed: int) -> bool:
    print(
        f"== {name}: seed {seed}, {' '.join(f'{key}={value}' for key, value in part.environment.items())}", flush=True
    )
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-s", f"--timeout={TIMEOUT}", *part.tests]
    code = subprocess.run(command, env={**os.environ, **part.environment}, check=False).returncode
    print(f"== {name}: {'passed' if code == 0 else 'FAILED'} in {time.monotonic() - begun:.0f} s", flush=True)
    return code == 0


if __name__ == "__main__":
    main()
