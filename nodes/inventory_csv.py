"""Inventories as CSV, one machine a row, in the form of the openb cluster trace.

| column | meaning |
|---|---|
| `sn` | the pool's id |
| `cpu_milli` | millicores, at least 1 |
| `memory_mib` | memory, MiB |
| `gpu` | optional: number of GPUs; they become the units gpu-0, gpu-1 … of class "gpu" |
| `model` | optional: the model of these GPUs |
| `architecture` | optional: processor architecture, "amd64" where empty |
| `storage_gib` | optional: storage, GiB |
| `pods` | optional: number of pods |
| `country`, `city` | optional: where it is (country as ISO 3166-1 alpha-2) |
| `price_per_hour` | optional, as in "0.40 EUR": for the whole machine, shared out by processor time |

Every machine is a K8Slice that is sold in any positive amount.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from nodes.inventory_words import AMD64, architecture, country
from nodes.pool_spec import PoolSpec
from rear import amounts
from rear.documents import DocumentError, TextError, plain, quoted
from rear.domain.flavour import (
    GPU,
    MODEL,
    Characteristics,
    FlavourType,
    K8SliceFacts,
    Location,
    Owner,
    Partitionability,
    Policies,
    PoolTerms,
    Properties,
)
from rear.domain.partition import MAX_AMOUNT, MAX_UNITS
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import CPU_MILLICORES, MEMORY_BYTES, NOTHING, PODS, STORAGE_BYTES, Quantities
from rear.domain.units import Unit, attributes
from rear.domain.window import HOUR

REQUIRED: Final = ("sn", "cpu_milli", "memory_mib")
OPTIONAL: Final = (
    "gpu",
    "model",
    "architecture",
    "storage_gib",
    "pods",
    "country",
    "city",
    "price_per_hour",
)

MIB: Final = 1024**2
GIB: Final = 1024**3

T = TypeVar("T")


def read_csv(path: Path, text: str, owner_domain: str) -> Iterator[tuple[int, str, PoolSpec]]:
    """Each machine with the line and the column of its id. Raises `DocumentError`."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    build = _Builder(owner_domain)
    columns: list[str] | None = None
    line = 1
    try:
        for row in rows:
            if columns is None and row:
                columns = _header(path, line, row)
            elif columns is not None and row:
                yield line, "sn", build.spec(_Row(path, line, columns, row))
            line = rows.line_num + 1
    except csv.Error as error:
        raise DocumentError(path, rows.line_num, "", f"is not valid CSV: {error}") from error


def _header(path: Path, line: int, row: list[str]) -> list[str]:
    columns = [cell.strip() for cell in row]
    for column in columns:
        if column not in REQUIRED + OPTIONAL:
            known = ", ".join(REQUIRED + OPTIONAL)
            raise DocumentError(path, line, "", f"unknown column {quoted(column)}; known are: {known}")
        if columns.count(column) > 1:
            raise DocumentError(path, line, column, "is a column twice; keep one")
    for column in REQUIRED:
        if column not in columns:
            raise DocumentError(path, line, "", f"has no column `{column}`; add it")
    return columns


class _Row:
    """The cells of one row by column, with the place to blame."""

    def __init__(self, path: Path, line: int, columns: list[str], cells: list[str]) -> None:
        self._path = path
        self._line = line
        if len(cells) != len(columns):
            self.fail("", f"has {len(cells)} fields; the header has {len(columns)}")
        self._cells = dict(zip(columns, cells, strict=True))

    def fail(self, column: str, message: str) -> None:
        raise DocumentError(self._path, self._line, column, message)

    def text(self, column: str) -> str:
        return self._cells.get(column, "").strip()

    def read(self, column: str, parse: Callable[[str], T]) -> T | None:
        """What `parse` makes of the cell; None where it is empty or the column is not there."""
        text = self.text(column)
        if not text:
            return None
        try:
            return parse(text)
        except TextError as error:
            raise DocumentError(self._path, self._line, column, str(error)) from error

    def whole(self, column: str, low: int, high: int) -> int | None:
        number = self.read(column, amounts.count)
        if number is not None and not low <= number <= high:
            self.fail(column, f"is {number}; write a whole number from {low} to {high}")
        return number

    def required(self, column: str, low: int, high: int) -> int:
        number = self.whole(column, low, high)
        if number is None:
            raise DocumentError(self._path, self._line, column, "is empty; write a whole number")
        return number


class _Builder:
    """Machines are alike: what two of them have in common is made once and shared."""

    def __init__(self, owner_domain: str) -> None:
        self._owner = Owner(domain=owner_domain)
        self._terms = cache(self._new_terms)
        self._capacity = cache(_capacity)
        self._gpus = cache(_gpus)

    def spec(self, row: _Row) -> PoolSpec:
        cpu = row.required("cpu_milli", 1, MAX_AMOUNT)
        memory = row.required("memory_mib", 1, MAX_AMOUNT // MIB)
        storage = row.whole("storage_gib", 0, MAX_AMOUNT // GIB) or 0
        capacity = self._capacity(cpu, memory * MIB, storage * GIB, row.whole("pods", 0, MAX_AMOUNT) or 0)
        gpus = row.whole("gpu", 0, MAX_UNITS) or 0
        model = row.read("model", plain) or ""
        if model and not gpus:
            row.fail("model", f"is {quoted(model)}, but the machine has no GPU; leave it empty or set `gpu`")
        terms = self._terms(
            tuple(capacity),
            bool(gpus),
            row.read("architecture", architecture) or AMD64,
            row.read("country", country) or "",
            row.read("city", plain) or "",
            price := row.read("price_per_hour", amounts.money),
            cpu if price else 0,
        )
        return PoolSpec(row.text("sn"), terms, capacity, self._gpus(gpus, model))

    def _new_terms(
        self,
        kinds: tuple[str, ...],
        gpus: bool,
        arch: str,
        land: str,
        city: str,
        price: Money | None,
        cpu: int,
    ) -> PoolTerms:
        ones = Quantities(dict.fromkeys(kinds, 1))
        unit_ones = Quantities({GPU: 1}) if gpus else NOTHING
        return PoolTerms(
            type=FlavourType.K8SLICE,
            characteristics=Characteristics(architecture=arch, of_type=K8SliceFacts()),
            properties=Properties(location=Location(country=land, city=city) if land or city else None),
            policies=Policies(Partitionability(ones, ones, unit_ones, unit_ones)),
            price=Price((PriceComponent(CPU_MILLICORES, price, cpu, HOUR),) if price else ()),
            owner=self._owner,
        )


def _capacity(cpu: int, memory: int, storage: int, pods: int) -> Quantities:
    further = {STORAGE_BYTES: storage, PODS: pods}
    return Quantities({CPU_MILLICORES: cpu, MEMORY_BYTES: memory} | {kind: n for kind, n in further.items() if n})


def _gpus(number: int, model: str) -> tuple[Unit, ...]:
    described = attributes({MODEL: model} if model else {})
    return tuple(Unit(GPU, f"{GPU}-{n}", described) for n in range(number))
