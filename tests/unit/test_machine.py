"""This machine as a pool: within what it has, within what its control groups allow."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from nodes.machine import this_machine
from rear.domain.quantities import CPU_MILLICORES, MEMORY_BYTES, STORAGE_BYTES

GIB = 1024**3


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_it_lends_less_than_the_machine_has(tmp_path: Path) -> None:
    spec = this_machine("here", owner_domain="site.example", disk=tmp_path, system=tmp_path)
    assert (spec.pool_id, spec.terms.owner.domain, spec.units) == ("here", "site.example", ())
    assert 0 < spec.capacity[CPU_MILLICORES] < (psutil.cpu_count() or 1) * 1_000
    assert psutil.virtual_memory().total // 2 - 1024**2 <= spec.capacity[MEMORY_BYTES]
    assert spec.capacity[MEMORY_BYTES] < psutil.virtual_memory().total
    assert spec.capacity.of(STORAGE_BYTES) % GIB == 0


def test_limits_of_version_2_groups_count_also_where_a_parent_sets_them(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/outer/inner\n")
    groups = tmp_path / "sys/fs/cgroup"
    write(groups / "outer/cpu.max", "80000 100000\n")
    write(groups / "outer/inner/cpu.max", "max 100000\n")
    write(groups / "outer/inner/memory.max", f"{GIB}\n")
    write(groups / "outer/memory.max", "max\n")
    spec = this_machine("here", disk=tmp_path, system=tmp_path)
    assert spec.capacity[CPU_MILLICORES] == 400
    assert spec.capacity[MEMORY_BYTES] == GIB // 2


def test_limits_of_version_1_groups_count_where_only_the_root_is_mounted(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "4:memory:/host/abc\n1:cpu,cpuacct:/host/abc\n")
    groups = tmp_path / "sys/fs/cgroup"
    write(groups / "cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
    write(groups / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(groups / "memory/memory.limit_in_bytes", f"{2 * GIB}\n")
    spec = this_machine("here", disk=tmp_path, system=tmp_path)
    assert spec.capacity[CPU_MILLICORES] == 250
    assert spec.capacity[MEMORY_BYTES] == GIB


def test_a_quota_of_minus_one_is_none(tmp_path: Path) -> None:
    unlimited = this_machine("here", disk=tmp_path, system=tmp_path)
    write(tmp_path / "proc/self/cgroup", "1:cpu:/\n")
    write(tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    limited = this_machine("here", disk=tmp_path, system=tmp_path)
    assert limited.capacity[CPU_MILLICORES] == unlimited.capacity[CPU_MILLICORES]


def test_a_bad_pool_id_is_refused() -> None:
    with pytest.raises(ValueError, match="write 1 to 64"):
        this_machine("not an id")
