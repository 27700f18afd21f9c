"""Nodes of one ledger in one process: each waits for its turn, whatever becomes of servers and disks meanwhile."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from nodes.server import Node
from nodes.settings import NodeSettings
from nodes.tenure import Tenure
from rear.domain.state import Service
from rear.ledger.commit import Committed
from rear.projections.tables import Tables, digest_of, read_only
from rear.readiness import Role
from tests.nats_servers import NatsCluster
from tests.seller import BUYER, MACHINE, cpus, verb, wish
from tests.waiting import eventually


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path / "servers") as servers:
        yield servers


def new_node(nats: NatsCluster, folder: Path, *, take_over: bool = False) -> Node:
    settings = NodeSettings("n1", "campus.example", folder, servers=nats.servers(), standby=True, take_over=take_over)
    return Node(settings, _offer_nothing, lambda _: None)


async def _offer_nothing(_: Tenure) -> None:
    """An inventory that changes nothing."""


def said_of(node: Node) -> str:
    """Its role, and what keeps it from serving."""
    report = node.readiness.look()
    return f"{report.role.value}: {'; '.join(reason.why for reason in report.reasons)}"


async def stands_by(node: Node, *, behind: Node) -> None:
    await eventually(lambda: said_of(node).endswith(f"the writer is at {behind.endpoint}"))


async def caught_up(node: Node, *, behind: Node) -> None:
    """Waits until the node's own tables have all that the other one wrote."""
    await eventually(lambda: node.readiness.look().facts["position"] == behind.tenure.writer.tip[0])


async def test_servers_that_stand_still_are_waited_out(
    tmp_path: Path, nats: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rear.ledger.stream.READ_TIMEOUT", 0.3)
    async with new_node(nats, tmp_path / "a", take_over=True) as a, new_node(nats, tmp_path / "b") as b:
        await stands_by(b, behind=a)
        nats.signal(0, signal.SIGSTOP)  # nobody is heard, and nothing can be taken over, nor read
        await eventually(lambda: "cannot follow the ledger" in said_of(b))
        nats.signal(0, signal.SIGCONT)
        await eventually(lambda: sorted(node.readiness.look().role.value for node in (a, b)) == ["standby", "writer"])
        first, second = (a, b) if a.readiness.look().role is Role.WRITER else (b, a)
        await stands_by(second, behind=first)


async def test_a_full_disk_is_waited_out(tmp_path: Path, nats: NatsCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async with new_node(nats, tmp_path / "a", take_over=True) as a, new_node(nats, tmp_path / "b") as b:
        await stands_by(b, behind=a)
        with monkeypatch.context() as disk:
            real = Tables.write

            def write(self: Tables, batch: Sequence[Committed], service: Service) -> None:
                if self.path.is_relative_to(tmp_path / "b"):
                    raise sqlite3.OperationalError("database or disk is full")
                real(self, batch, service)

            disk.setattr(Tables, "write", write)
            await a.tenure.take([MACHINE])
            await eventually(lambda: "disk is full" in said_of(b))
        await stands_by(b, behind=a)
        await caught_up(b, behind=a)


async def test_damaged_tables_are_rebuilt_without_a_restart(tmp_path: Path, nats: NatsCluster) -> None:
    async with new_node(nats, tmp_path / "a", take_over=True) as a:
        await a.tenure.take([MACHINE])
        contracts = a.tenure.contracts
        command = wish("r", cpus(1_000))
        await contracts.reserve(command, caller=BUYER, request_id="r", validate_only=False)
        async with new_node(nats, tmp_path / "b") as b:
            await stands_by(b, behind=a)
            with closing(sqlite3.connect(tmp_path / "b" / "tables.sqlite")) as stranger, stranger:
                stranger.execute("DELETE FROM contracts")
            await contracts.cancel(command.contract_id, verb("c"), "", caller=BUYER, owner=BUYER, validate_only=False)
            await caught_up(b, behind=a)
            await a.tenure.feed.at_least(a.tenure.writer.tip[0])
            with (
                closing(read_only(tmp_path / "a" / "tables.sqlite")) as its,
                closing(read_only(tmp_path / "b" / "tables.sqlite")) as own,
            ):
                assert digest_of(own) == digest_of(its)


async def test_a_ledger_that_others_began_meanwhile_is_followed(tmp_path: Path, nats: NatsCluster) -> None:
    """A standby that had found an empty ledger was refused for ever after: its anchor was gone, it was told."""
    async with new_node(nats, tmp_path / "b"):
        pass
    async with new_node(nats, tmp_path / "a", take_over=True) as a, new_node(nats, tmp_path / "b") as b:
        await stands_by(b, behind=a)
        await caught_up(b, behind=a)
