"""This machine as a resource pool: what of its processor, memory and disk can be lent.

A part stays with the system, so that a sold-out machine can still be reached and runs its node: of each kind
the larger of a tenth and half a core, 1 GiB of memory, 10 GiB of disk; but never more than half.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

import psutil

from nodes.inventory_words import AMD64, ARM64
from nodes.pool_spec import POOL_ID, PoolSpec
from rear.documents import quoted
from rear.domain.flavour import (
    Characteristics,
    FlavourType,
    K8SliceFacts,
    Owner,
    Partitionability,
    Policies,
    PoolTerms,
)
from rear.domain.quantities import CPU_MILLICORES, MEMORY_BYTES, STORAGE_BYTES, Quantities

MIB: Final = 1024**2
GIB: Final = 1024**3

ARCHITECTURES: Final = {"x86_64": AMD64, "amd64": AMD64, "aarch64": ARM64, "arm64": ARM64}
"""What container platforms call the architectures that `platform.machine` names."""

ROOT: Final = Path("/")

_RESERVES: Final = {CPU_MILLICORES: 500, MEMORY_BYTES: GIB, STORAGE_BYTES: 10 * GIB}
_GRAINS: Final = {CPU_MILLICORES: 1, MEMORY_BYTES: MIB, STORAGE_BYTES: GIB}


def this_machine(pool_id: str, *, owner_domain: str = "", disk: Path = Path(), system: Path = ROOT) -> PoolSpec:
    """One K8Slice pool `pool_id` of what this process may use, less the system's part.

    Processor: the CPUs that it may run on, or the quota of its control groups where that is less. Memory:
    all there is, or the groups' limit. Storage: what is free now on the file system of `disk`, in whole GiB,
    which differs from one call to the next. `system` is the directory that holds /proc and /sys.

    Raises `ValueError` for a bad pool id and `OSError` where `disk` cannot be looked at.
    """
    if not POOL_ID.fullmatch(pool_id):
        raise ValueError(f"pool id {quoted(pool_id)}: write 1 to 64 letters, digits, _ or -")
    groups = _control_groups(system)
    found = {
        CPU_MILLICORES: min([_allowed_cpus() * 1_000, *_cpu_quotas(groups)]),
        MEMORY_BYTES: min([psutil.virtual_memory().total, *_memory_limits(groups)]),
        STORAGE_BYTES: psutil.disk_usage(str(disk)).free,
    }
    capacity = Quantities({kind: lent for kind, amount in found.items() if (lent := _lent(kind, amount)) > 0})
    ones = Quantities(dict.fromkeys(capacity, 1))
    machine = platform.machine().lower()
    terms = PoolTerms(
        type=FlavourType.K8SLICE,
        characteristics=Characteristics(ARCHITECTURES.get(machine, machine), K8SliceFacts()),
        policies=Policies(Partitionability(ones, ones)),
        owner=Owner(domain=owner_domain),
    )
    return PoolSpec(pool_id, terms, capacity, ())


def _lent(kind: str, amount: int) -> int:
    reserve = min(max(amount // 10, _RESERVES[kind]), amount // 2)
    return (amount - reserve) // _GRAINS[kind] * _GRAINS[kind]


def _allowed_cpus() -> int:
    process = psutil.Process()
    # Only some systems have an affinity to ask for.
    if hasattr(process, "cpu_affinity"):
        return len(process.cpu_affinity())
    return psutil.cpu_count() or 1


def _control_groups(system: Path) -> list[Path]:
    """The directories of this process's control groups (version 2, then 1) and all above them."""
    mount = system / "sys/fs/cgroup"
    found: list[Path] = []
    for line in _read(system / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        base = mount if number == "0" and not controllers else mount / controllers
        # Within a container the path may be the host's, of which only the root is mounted.
        parts = [part for part in group.split("/") if part not in ("", "..")]
        found.extend(base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))
    return found


def _cpu_quotas(groups: list[Path]) -> list[int]:
    quotas: list[int] = []
    for group in groups:
        version_2 = _read(group / "cpu.max").split()
        version_1 = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        for pair in (version_2, version_1):
            if len(pair) == 2 and pair[0].isdecimal() and pair[1].isdecimal() and int(pair[1]):
                quotas.append(int(pair[0]) * 1_000 // int(pair[1]))
    return quotas


def _memory_limits(groups: list[Path]) -> list[int]:
    texts = (_read(group / name).strip() for group in groups for name in ("memory.max", "memory.limit_in_bytes"))
    return [int(text) for text in texts if text.isdecimal()]


def _read(path: Path) -> str:
    """The file's text; nothing where this system has no such file or does not let us read it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
