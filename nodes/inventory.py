"""An operator's inventory: the resource pools of a node, from a YAML or a CSV file.

The YAML form is described at the head of `samples/demo.yaml`, the CSV form in `inventory_csv`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nodes.inventory_csv import read_csv
from nodes.inventory_yaml import read_yaml
from nodes.pool_spec import POOL_ID, PoolSpec
from rear.documents import DocumentError, quoted, read_text

__all__ = ["DEMO", "GPU_MODELS", "PoolSpec", "load_inventory"]

DEMO: Final = Path(__file__).parent / "samples" / "demo.yaml"
"""The inventory of the demonstration; its head describes the YAML form."""

GPU_MODELS: Final = Path(__file__).parent / "samples" / "gpu-models.csv"
"""Machines with GPUs of several models."""

MAX_BYTES: Final = 16 * 1024 * 1024

_READERS: Final = {".yaml": read_yaml, ".yml": read_yaml, ".csv": read_csv}


def load_inventory(path: Path, *, owner_domain: str, every: int = 1) -> tuple[PoolSpec, ...]:
    """The pools of the file at `path`, in its order; `every` = n takes the pools 0, n, 2n and so on.

    Pools that name no owner belong to `owner_domain`. The whole file is checked, also what `every` leaves
    out. Pools with equal terms share one object.

    Raises `DocumentError` for anything wrong with the file, and `ValueError` where `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"every is {every}; it must be at least 1")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DocumentError(path, 0, "", "is not an inventory by its name; name it .yaml, .yml or .csv")
    text = read_text(path, MAX_BYTES)
    if not text.strip():
        raise DocumentError(path, 0, "", "is empty; it must hold at least one pool")
    specs: list[PoolSpec] = []
    lines: dict[str, int] = {}
    for line, where, spec in reader(path, text, owner_domain):
        if not POOL_ID.fullmatch(spec.pool_id):
            remedy = "write 1 to 64 letters, digits, _ or -"
            raise DocumentError(path, line, where, f"is {quoted(spec.pool_id)}; {remedy}")
        if spec.pool_id in lines:
            raise DocumentError(
                path,
                line,
                where,
                f"is {quoted(spec.pool_id)}, as in line {lines[spec.pool_id]}; a pool id must be unique",
            )
        lines[spec.pool_id] = line
        specs.append(spec)
    if not specs:
        raise DocumentError(path, 0, "", "holds no pools; it must hold at least one")
    return tuple(specs[::every])
