"""`make soak`: the long forms of the crash, fuzz and scale runs, whose short forms are among the tests.

    python -m benchmarks.soak [--seed N] [--rounds N] [--nats-rounds N] [--workers N] [--only PART ...]

A run is repeated by its seed, as far as the machine's own timing allows; each part prints it. With several workers
the parts that can be shared run that often side by side, each on its share.
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
    shared: bool = False
    """Whether workers can share it, by $REAR_SHARD."""


def parts(rounds: int, nats_rounds: int, seed: int) -> dict[str, Part]:
    """Every part by its name."""
    return {
        "matrix": Part(
            ("tests/system/test_failpoints.py",), {"REAR_CELLS": "all", "REAR_SEED": str(seed)}, shared=True
        ),
        "failpoints": Part(
            ("tests/system/test_failures_under_load.py",),
            {"REAR_ROUNDS": str(rounds), "REAR_NATS_ROUNDS": str(nats_rounds), "REAR_SEED": str(seed)},
            shared=True,
        ),
        "workflow": Part(
            ("tests/system/test_workflow_kills.py", "tests/system/test_workflow_storm.py"),
            {"REAR_WORKFLOW_CELLS": "all", "REAR_STORMS": str(rounds), "REAR_SEED": str(seed)},
            shared=True,
        ),
        "faults": Part(
            tuple(f"tests/system/test_faults_{what}.py" for what in ("disk", "network", "clock", "ledger")),
            {"REAR_OUTAGE": "60", "REAR_FILLS": "20"},
        ),
        "takeovers": Part(
            ("tests/system/test_takeover.py", "tests/system/test_cluster.py"),
            {"REAR_ROUNDS": str(rounds), "REAR_SEED": str(seed)},
        ),
        "links": Part(
            ("tests/integration/test_links.py", "tests/system/test_links.py"),
            {"REAR_LINK_ROUNDS": str(5 * rounds), "REAR_SEED": str(seed)},
        ),
        "watches": Part(
            ("tests/integration/test_contract_watching.py", "tests/system/test_contract_watch.py"),
            {"REAR_WATCH_ROUNDS": str(1 + rounds // 4), "REAR_SEED": str(seed)},
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
    parser.add_argument("--rounds", type=int, default=60, help="kills of the node under load")
    parser.add_argument("--nats-rounds", type=int, help="kills of its nats-server; by default a fifth of the rounds")
    parser.add_argument("--workers", type=int, default=1, help="how many share a part, side by side")
    parser.add_argument("--only", choices=sorted(parts(1, 1, 1)), action="append")
    chosen = parser.parse_args()
    nats_rounds = chosen.rounds // 5 if chosen.nats_rounds is None else chosen.nats_rounds
    failed = [
        name
        for name, part in parts(chosen.rounds, nats_rounds, chosen.seed).items()
        if (not chosen.only or name in chosen.only) and not _run(name, part, chosen.seed, chosen.workers)
    ]
    if failed:
        sys.exit(f"failed: {', '.join(failed)} (seed {chosen.seed})")


def _run(name: str, part: Part, seed: int, workers: int) -> bool:
    print(
        f"== {name}: seed {seed}, {' '.join(f'{key}={value}' for key, value in part.environment.items())}", flush=True
    )
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-s", f"--timeout={TIMEOUT}", *part.tests]
    shards = range(workers if part.shared else 1)
    running = [
        subprocess.Popen(command, env={**os.environ, **part.environment, "REAR_SHARD": f"{shard}/{len(shards)}"})
        for shard in shards
    ]
    passed = [process.wait() == 0 for process in running]
    print(f"== {name}: {'passed' if all(passed) else 'FAILED'} in {time.monotonic() - begun:.0f} s", flush=True)
    return all(passed)


if __name__ == "__main__":
    main()
