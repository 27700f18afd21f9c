"""A node as its operator sees it from outside: ready or why not, its metrics, and the command that asks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rear.rpc.client import Client
from rear.rpc.refused import CallFailed
from tests.system.asking import cancel, reserve
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually

ROOT: Final = Path(__file__).resolve().parents[2]
REAR: Final = str(Path(sys.executable).with_name("rear"))


class Watched:
    """A node with its operations endpoint."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
        self.ops = f"127.0.0.1:{fixed_port()}"
        node.options = ["--ops", self.ops]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://{self.ops}/{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (URLError, OSError):
            return 0, ""

    def readyz(self) -> dict[str, Any]:
        document = json.loads(self.get("readyz")[1] or "{}")
        assert isinstance(document, dict)
        return document

    def whys(self) -> list[str]:
        """Why it is not ready."""
        return [reason["why"] for reason in self.readyz().get("reasons", [])]

    def metrics(self) -> dict[str, float]:
        """Every sample by its name and labels."""
        return {
            "".join([sample.name, *(f" {value}" for _, value in sorted(sample.labels.items()))]): sample.value
            for family in text_string_to_metric_families(self.get("metrics")[1])
            for sample in family.samples
        }

    def status(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([REAR, *options, "status", self.ops], capture_output=True, text=True, timeout=30)


@pytest.fixture(scope="module")
def watched(new_shared_node: NewNode) -> Iterator[Watched]:
    watched = Watched(new_shared_node(pool("p", cpu=100)))
    watched.node.start()
    yield watched
    assert watched.node.terminate() == 0


async def test_metrics_tell_of_every_call_and_commit(watched: Watched) -> None:
    before = await asyncio.to_thread(watched.metrics)
    async with Client(watched.node.endpoint, patience=0) as client:
        requests = [client.reserve_flavour(reserve("p-1", confirm=number < 4)) for number in range(10)]
        contracts = [answer.contract for answer in await asyncio.gather(*requests)]
        await client.cancel_contract(cancel(contracts[0]))
        with pytest.raises(CallFailed):
            await client.reserve_flavour(reserve("p-1", cores=1_000))
    after = await asyncio.to_thread(watched.metrics)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    rpc = "rear.v1.ContractService/ReserveFlavour"
    assert grown(f"rear_rpc_calls_total OK {rpc}") == 10
    assert grown(f"rear_rpc_calls_total RESOURCE_EXHAUSTED {rpc}") == 1
    assert grown(f"rear_rpc_refusals_total CAPACITY_EXCEEDED {rpc}") == 1
    assert grown(f"rear_rpc_duration_seconds_count {rpc}") == 11
    assert grown("rear_events_total ContractReserved") == 10
    assert grown("rear_events_total ContractCancelled") == 1
    assert grown("rear_commit_events_sum") == grown("rear_ledger_position") > 30
    assert grown("rear_commit_duration_seconds_count") == grown("rear_anchor_write_duration_seconds_count") > 0
    assert after["rear_pools"] == 1
    assert after["rear_timers_pending"] >= 9
    assert after["rear_ready"] == after["rear_role writer"] == after["rear_ledger_connected"] == 1
    assert after["rear_disk_free_bytes"] > 0
    assert after["rear_nats_server_resident_memory_bytes"] > 0


def test_every_metric_is_in_the_documents(watched: Watched) -> None:
    families = text_string_to_metric_families(watched.get("metrics")[1])
    shown = {family.name for family in families if family.name.startswith("rear_")}
    documents = (ROOT / "docs" / "operations.md").read_text()
    told = set(re.findall(r"`(rear_\w+?)(?:_total)?(?:\{[^}]+\})?`", documents))
    assert shown <= told
    assert {
        name for name in told - shown if not name.startswith(("rear_scrub", "rear_warning", "rear_not_ready"))
    } == set()


async def test_the_command_says_that_it_is_ready(watched: Watched) -> None:
    # What is told was seen at the last look, up to a quarter of a second ago.
    tip = f"{watched.metrics()['rear_ledger_position']:.0f}"
    await eventually(lambda: watched.readyz()["position"].endswith(f".{tip}"))
    done = watched.status()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ready\n")
    assert watched.node.provider_id in done.stdout
    document = json.loads(watched.status("--json").stdout)
    assert document["ready"]
    assert document["position"].endswith(f".{tip}")


async def test_while_the_ledger_is_gone_it_is_not_ready_and_says_so_and_recovers(watched: Watched) -> None:
    documents: list[dict[str, Any]] = []
    told = subprocess.CompletedProcess([], 0, "", "")

    def named() -> bool:
        """Kills the server until that is seen: each time it stays away for longer."""
        nonlocal told
        if pid := watched.node.nats_pid:
            os.kill(pid, signal.SIGKILL)
        status, body = watched.get("readyz")
        if status == 503:
            documents.append(json.loads(body))
            told = watched.status()
        return told.returncode == 1

    await eventually(named)
    reason = documents[-1]["reasons"][0]
    assert reason["what"] == "ledger connection"
    assert "no connection to the ledger's server" in reason["why"]
    assert reason["since"].endswith("Z")
    assert "not ready" in told.stdout
    assert "no connection to the ledger's server" in told.stdout
    await eventually(lambda: watched.get("readyz")[0] == 200)
    assert watched.metrics()["rear_nats_server_restarts_total"] >= 1


async def test_it_answers_while_the_node_starts_and_while_it_drains(new_node: NewNode) -> None:
    watched = Watched(new_node(pool("p", cpu=10)))
    node = watched.node
    node.start()
    assert node.terminate() == 0
    lock = node.directory.nats / "lock"
    holder = await asyncio.create_subprocess_exec("flock", str(lock), "sleep", "60")
    try:
        await eventually(lambda: subprocess.run(["flock", "-n", str(lock), "true"]).returncode != 0)
        node.spawn()
        await eventually(lambda: watched.whys() == ["it is starting: opening the ledger"])
        assert watched.readyz()["role"] == "starting"
        assert watched.get("readyz")[0] == 503
        assert watched.get("livez")[0] == 200
        assert watched.get("metrics")[0] == 200
    finally:
        for child in psutil.Process(holder.pid).children():
            child.kill()
        holder.kill()
        await holder.wait()
    await eventually(lambda: watched.get("readyz")[0] == 200)
    async with Client(node.endpoint, patience=0) as client:
        os.kill(node.nats_pid, signal.SIGSTOP)  # so that the call holds up the end
        try:
            call = asyncio.create_task(client.reserve_flavour(reserve("p-1", confirm=True)))
            await asyncio.sleep(0.2)
            node.signal_end()
            await eventually(lambda: watched.whys() == ["it is shutting down"])
            assert watched.readyz()["role"] == "stopping"
        finally:
            os.kill(node.nats_pid, signal.SIGCONT)
        await call
    assert await asyncio.to_thread(node.wait) == 0
    assert watched.get("livez")[0] == 0


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("7480", "use HOST:PORT"),
        ("127.0.0.1:70000", "use HOST:PORT"),
        ("0.0.0.0:0", "add --ops-any-address"),
        ("192.0.2.1:0", "add --ops-any-address"),
    ],
)
def test_a_wrong_address_is_wrong_usage(tmp_path: Path, value: str, complaint: str) -> None:
    command = [REAR, "up", "--state", str(tmp_path / "state"), "--listen", "127.0.0.1:0", "--ops", value]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_port_that_is_taken_stops_the_start_in_one_line(watched: Watched, tmp_path: Path) -> None:
    command = [REAR, "up", "--state", str(tmp_path / "state"), "--listen", "127.0.0.1:0", "--ops", watched.ops]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == f"rear: the operations endpoint cannot listen on {watched.ops}: Address already in use\n"
    assert not (tmp_path / "state").exists()


def test_nobody_there_is_no_answer() -> None:
    done = subprocess.run([REAR, "status", f"127.0.0.1:{fixed_port()}"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 4
    assert "Connection refused" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_no_operations_endpoint_is_said(watched: Watched) -> None:
    done = subprocess.run([REAR, "status", watched.node.endpoint], capture_output=True, text=True, timeout=30)
    assert done.returncode == 4
    assert done.stderr.startswith("rear: ")
    assert done.stderr.count("\n") == 1
