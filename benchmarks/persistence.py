"""`python -m benchmarks.persistence`: what the persistence module records and reads in a second, on one nats-server."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

import click
import structlog
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import Environment

from rear.persistence import JetStreamApplicationRecorder, JetStreamFactory
from tests.nats_servers import PlainServer

STATE: Final = b"s" * 200
"""An event's state, as large as a small event's JSON."""

LONG: Final = 100
"""Events of an aggregate that is read."""


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--events", type=click.IntRange(100), default=2_000, show_default=True, help="Events of a round.")
def main(rounds: int, events: int) -> None:
    """Print medians of alternated rounds."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(open(os.devnull, "w")))  # noqa: SIM115
    with tempfile.TemporaryDirectory(prefix="rear-bench-") as folder:
        server = PlainServer(Path(folder)).start()
        factory = JetStreamFactory(Environment("Bench", {"JETSTREAM_URL": server.url}))
        try:
            _measure(factory.application_recorder(), rounds, events)
        finally:
            factory.close()
            server.stop()


def _measure(recorder: JetStreamApplicationRecorder, rounds: int, events: int) -> None:
    parts: dict[str, Callable[[], int]] = {
        "insert, 1 event, one thread": lambda: _insert(recorder, events // 4, 1, 1),
        "insert, 1 event, 16 threads": lambda: _insert(recorder, events, 1, 16),
        "insert, 10 events, 16 threads": lambda: _insert(recorder, events, 10, 16),
        "insert, 1,000 events, one thread": lambda: _insert(recorder, max(events, 5_000), 1_000, 1),
        "select, an aggregate of 100 events": lambda: _select(recorder, 20),
        "notifications, pages of 1,000": lambda: _notifications(recorder),
    }
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, work in parts.items():
            began = time.perf_counter()
            found[name].append(work() / (time.perf_counter() - began))
    for name, rates in found.items():
        click.echo(f"{name:36} {statistics.median(rates):9,.0f} events/s")


def _insert(recorder: JetStreamApplicationRecorder, events: int, size: int, threads: int) -> int:
    def once(_: int) -> None:
        key = uuid4()
        recorder.insert_events([StoredEvent(key, version, "bench:Event", STATE) for version in range(1, size + 1)])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(once, range(events // size)))
    return events // size * size


def _select(recorder: JetStreamApplicationRecorder, times: int) -> int:
    key = uuid4()
    recorder.insert_events([StoredEvent(key, version, "bench:Event", STATE) for version in range(1, LONG + 1)])
    return sum(len(recorder.select_events(key)) for _ in range(times))


def _notifications(recorder: JetStreamApplicationRecorder) -> int:
    return sum(len(recorder.select_notifications(first, 1_000)) for first in range(1, 5_001, 1_000))


if __name__ == "__main__":
    main()
