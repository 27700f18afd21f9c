"""What commands write: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message


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

    On a terminal it is fitted to its width; elsewhere every row is one plain line.
    """
    listed = [tuple(row) for row in rows]
    kept = [index for index, _ in enumerate(columns) if any(row[index] for row in listed)]
    if not sys.stdout.isatty():
        _write_plain([[columns[index].upper() for index in kept]] + [[row[index] for index in kept] for row in listed])
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, index in enumerate(kept):
        # The first column is the id that is copied into the next command.
        table.add_column(columns[index], no_wrap=position == 0, overflow="fold")
    for row in listed:
        table.add_row(*[Text(row[index]) for index in kept])
    Console(highlight=False).print(table)


def _write_plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def write_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """A title and named facts below it, one a line; those without a value are left out."""
    kept = [(name, value) for name, value in facts if value]
    click.echo(click.style(title, bold=True))
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        click.echo(f"  {name.ljust(width)}  {value}")
