"""A resource pool as an operator states it, before it is registered in the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rear.domain.flavour import PoolTerms
from rear.domain.quantities import Quantities
from rear.domain.units import Unit

POOL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a pool id looks like. A flavour id adds `-<n>`, so nothing in it needs escaping."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """One pool to register: its whole capacity, its devices and the terms of its flavours."""

    pool_id: str
    terms: PoolTerms
    capacity: Quantities
    units: tuple[Unit, ...]


class InventoryError(Exception):
    """An inventory that cannot be used. One line says where (file, line, key or column) and what to do.

    `line` counts from 1 and is 0 where the file as a whole is meant; `where` is empty where no key or
    column is to blame.
    """

    def __init__(self, path: Path, line: int, where: str, message: str) -> None:
        at = f"{path}:{line}" if line else str(path)
        super().__init__(f"{at}: {where}: {message}" if where else f"{at}: {message}")
        self.path = path
        self.line = line
        self.where = where
        self.message = message


def quoted(text: str) -> str:
    """`text` for an error message: in quotes, on one line, cut short where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
