"""Nodes as processes."""

from __future__ import annotations

from tests.system.fixtures import new_node, new_shared_node, pytest_runtest_makereport, seed

__all__ = ["new_node", "new_shared_node", "pytest_runtest_makereport", "seed"]
