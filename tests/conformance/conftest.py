"""A node as a process, for clients that know nothing but its protocol."""

from __future__ import annotations

import pytest

from tests.system.fixtures import NewNode, new_node, new_shared_node, pytest_runtest_makereport
from tests.system.node_process import NodeProcess, pool

__all__ = ["new_node", "new_shared_node", "node", "pytest_runtest_makereport"]


@pytest.fixture(scope="module")
def node(new_shared_node: NewNode) -> NodeProcess:
    """A node that serves."""
    node = new_shared_node(pool("small", cpu=4), pool("gpus", cpu=16, gpus=2))
    node.start()
    return node
