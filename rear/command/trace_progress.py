"""How far a run of a trace has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TextIO

import click

from rear.command.trace_report import Played, Report, outcomes_in_short

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES: Final = 5.0


class Progress:
    """Counts played requests into `report`, shows the sum on stderr, and writes each to the file `record`."""

    def __init__(self, report: Report, record: Path | None = None) -> None:
        self._report = report
        self._record = record
        self._file: TextIO | None = None
        self._bar: tuple[Bar, TaskID] | None = None
        self._open = ExitStack()
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._record is not None:
            self._file = self._open.enter_context(self._record.open("w", encoding="utf-8"))
        if sys.stderr.isatty():
            bar = self._open.enter_context(_bar())
            self._bar = bar, bar.add_task("", total=self._report.requests)
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, one: Played) -> None:
        """One request is over."""
        self._report.add(one)
        if self._file is not None:
            # At once: whoever reads it wants to know what had been answered when something was killed.
            self._file.write(json.dumps(one.as_json(), ensure_ascii=False) + "\n")
            self._file.flush()
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self._report.done, description=self._short())
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            click.echo(f"{self._report.done:,}/{self._report.requests:,} {self._short()}", err=True)

    def _short(self) -> str:
        return outcomes_in_short(self._report.played)


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        refresh_per_second=5,
    )
