"""A resource pool as an operator states it, before it is registered in the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
