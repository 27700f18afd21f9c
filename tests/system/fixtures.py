"""Nodes for tests, and their logs in the report of a test that fails. For the conftest of a folder to import."""

from __future__ import annotations

import os
import random
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol

import pytest

from tests.system.node_process import NodeProcess, PoolEntry

__all__ = ["new_node", "new_shared_node", "pytest_runtest_makereport", "seed"]

LIVING: Final[list[NodeProcess]] = []
"""Nodes of the test that runs, and those that its module shares."""


class NewNode(Protocol):
    def __call__(self, *pools: PoolEntry, name: str = "n1", port: int = 0) -> NodeProcess: ...


def _factory(stack: ExitStack, folder: Path) -> NewNode:
    def new(*pools: PoolEntry, name: str = "n1", port: int = 0) -> NodeProcess:
        node = NodeProcess(folder / f"{name}-{len(LIVING)}", pools, name=name, port=port)
        LIVING.append(node)
        stack.callback(LIVING.remove, node)
        stack.callback(node.close)
        return node

    return new


@pytest.fixture
def new_node(tmp_path: Path) -> Iterator[NewNode]:
    """Makes nodes that are not started yet, and that end with the test."""
    with ExitStack() as stack:
        yield _factory(stack, tmp_path)


@pytest.fixture(scope="module")
def new_shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewNode]:
    """The same, for nodes that end with the module."""
    with ExitStack() as stack:
        yield _factory(stack, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def seed() -> str:
    """Of all that a test leaves to chance; $REAR_SEED repeats a run as far as the machine's own timing allows."""
    seed = os.environ.get("REAR_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"REAR_SEED={seed}")
    return seed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of each node's log to the report of a failure."""
    report = yield
    if report.failed:
        report.sections += [(f"log of {node.name} in {node.folder}", node.log_tail()) for node in LIVING]
    return report
