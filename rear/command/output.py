"""What commands write: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message


def visible(text: str) -> str:
    """The text with control characters written out: what others wrote steers no terminal, and forges no line."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def as_json(message: Message) -> dict[str, Any]:
    """A message in the protobuf JSON mapping: lowerCamelCase names, 64-bit integers as strings."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message)


def write_json(document: Mapping[str, Any] | Message) -> None:
    """One JSON document."""
    value = document if isinstance(document, Mapping) else as_json(document)
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def write_json_line(document: Mapping[str, Any] | Message) -> None:
    """One JSON object on a line of its own, at once."""
    value = document if isinstance(document, Mapping) else as_json(document)
    click.echo(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table. Columns that are empty in every row are left out.

    On a terminal it is fitted to its width where that can be; elsewhere every row is one plain line.
    """
    listed = [tuple(map(visible, row)) for row in rows]
    kept = [index for index, _ in enumerate(columns) if any(row[index] for row in listed)]
    names = [columns[index] for index in kept]
    cells = [[row[index] for index in kept] for row in listed]
    if not (sys.stdout.isatty() and _write_fitted(names, cells)):
        _write_plain([[name.upper() for name in names], *cells])


def _write_fitted(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Write a table that breaks lines between words only; False where the terminal is too narrow for it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    columns = [[name, *(row[index] for row in rows)] for index, name in enumerate(names)]
    widths = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    left = console.width - sum(widths) - 3 * (len(widths) - 1)
    if left < 0:
        return False
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, (name, column) in enumerate(zip(names, columns, strict=True)):
        more = min(left, max(len(cell) for cell in column) - widths[index])
        left -= more
        table.add_column(name.upper(), width=widths[index] + more)
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    console.print(table)
    return True


def _write_plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def write_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """A title and named facts below it, one a line; those without a value are left out."""
    kept = [(name, visible(value)) for name, value in facts if value]
    click.echo(click.style(visible(title), bold=True))
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        click.echo(f"  {name.ljust(width)}  {value}")


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where that is a terminal; what it gives is told how much of `total` is done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(transient=True, disable=not sys.stderr.isatty(), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
