"""Recorded requests: the rows of a cluster trace as wishes for a partition over time.

The columns are those of the openb trace: `name`, `cpu_milli`, `memory_mib`, `num_gpu`, `gpu_milli`, `gpu_spec`,
`creation_time` and `deletion_time` (seconds from the beginning of the trace); others are passed over.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from rear.domain.demand import Demand
from rear.domain.flavour import GPU, MODEL
from rear.domain.quantities import CPU_MILLICORES, MEMORY_BYTES, Quantities
from rear.domain.units import MILLIS_PER_UNIT, UnitRequest
from rear.domain.window import SECOND, Duration, Instant, Window

COLUMNS: Final = (
    "name",
    "cpu_milli",
    "memory_mib",
    "num_gpu",
    "gpu_milli",
    "gpu_spec",
    "creation_time",
    "deletion_time",
)
MEBIBYTE: Final = 1_024**2


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One recorded request: it arrived `arrival` after the trace began, and kept what it had for `lifetime`.

    `demand` names no GPU model; `models` are those that the request accepts, any of them where there is none.
    """

    name: str
    demand: Demand
    models: tuple[str, ...]
    arrival: Duration
    lifetime: Duration

    def window(self, start: Instant, compress: Fraction) -> Window:
        """Its window in a run that begins at `start`: times of arrival are divided, lengths are not.

        Exact in nanoseconds; an arrival between two of them is the earlier one.
        """
        begins = start + int(self.arrival // compress)
        return Window(Instant(begins), Instant(begins + self.lifetime))

    def demand_for(self, model: str | None) -> Demand:
        """What is asked for, with devices of `model` where one is given."""
        if model is None:
            return self.demand
        units = tuple(
            UnitRequest(request.unit_class, request.count, request.millis_each, ((MODEL, model),))
            for request in self.demand.units
        )
        return Demand(self.demand.quantities, units)


def read_trace(path: Path) -> list[TraceRequest]:
    """The requests of a CSV file in the order of their arrival. Raises ValueError that names the line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return sorted(_rows(csv.DictReader(file), path), key=lambda request: request.arrival)


def _rows(rows: csv.DictReader[str], path: Path) -> Iterator[TraceRequest]:
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}")
    seen: dict[str, int] = {}
    for row in rows:
        try:
            request = _request(row)
        except ValueError as error:
            raise ValueError(f"{path}:{rows.line_num}: {error}") from None
        # Names make the request ids: two of one name would be one request.
        if request.name in seen:
            raise ValueError(f"{path}:{rows.line_num}: {request.name} is on line {seen[request.name]} already")
        seen[request.name] = rows.line_num
        yield request


def _request(row: Mapping[str, str | None]) -> TraceRequest:
    name = row["name"]
    if not name:
        raise ValueError("name is empty")
    amounts = {
        CPU_MILLICORES: _whole(row, "cpu_milli"),
        MEMORY_BYTES: _whole(row, "memory_mib") * MEBIBYTE,
    }
    count, millis = _whole(row, "num_gpu"), _whole(row, "gpu_milli")
    # Of several GPUs each is whole; a share is of one GPU.
    units = (UnitRequest(GPU, count, MILLIS_PER_UNIT if count > 1 else millis),) if count else ()
    arrival, end = _nanoseconds(row, "creation_time"), _nanoseconds(row, "deletion_time")
    return TraceRequest(
        name,
        Demand(Quantities({kind: amount for kind, amount in amounts.items() if amount}), units),
        tuple(model for model in (row["gpu_spec"] or "").split("|") if model) if units else (),
        Duration(arrival),
        Duration(end - arrival),
    )


def _whole(row: Mapping[str, str | None], column: str) -> int:
    text = row[column] or ""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{column} is {text!r}, no whole number")
    return int(text)


def _nanoseconds(row: Mapping[str, str | None], column: str) -> int:
    text = row[column] or ""
    try:
        seconds = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{column} is {text!r}, no number of seconds") from None
    if seconds < 0:
        raise ValueError(f"{column} is {text!r}, before the trace began")
    return int(seconds * SECOND)
