"""`rear intent`, as it is typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rear.intent_schema import SCHEMA
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.system.test_intents import LATER

REAR = str(Path(sys.executable).with_name("rear"))


@pytest.fixture(scope="module")
def node(new_shared_node: NewNode) -> NodeProcess:
    node = new_shared_node(pool("machine", cpu=64))
    node.start()
    return node


def rear(node: NodeProcess, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"REAR_ENDPOINT": node.endpoint}
    return subprocess.run(
        [REAR, "intent", *words], env=environment, input=text, capture_output=True, text=True, timeout=30
    )


def submitted(node: NodeProcess) -> str:
    done = rear(node, "submit", "-", "--json", text=LATER)
    assert done.returncode == 0, done.stderr
    name: str = json.loads(done.stdout)["name"]
    return name.removeprefix("operations/")


def test_what_is_wrong_in_a_file_is_told_with_its_name_and_line(node: NodeProcess, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(LATER.replace("500m", "many"))

    done = rear(node, "submit", str(path))

    assert done.returncode == 3
    assert done.stderr.startswith(f"rear: {path}:4: components[0].quantities.cpu: is 'many'; write cores")
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"#" * 10_000_000, "is larger than 128 KiB"), (b"a: \xff", ":1: is not UTF-8 text"), (None, "cannot be read")],
)
def test_a_file_that_is_no_document_is_not_sent(
    node: NodeProcess, tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "intent.yaml"
    if content is not None:
        path.write_bytes(content)

    done = rear(node, "submit", str(path))

    assert done.returncode == 1
    assert told in done.stderr


def test_a_service_request_is_shown_listed_and_cancelled(node: NodeProcess) -> None:
    key = submitted(node)

    assert "in progress" in rear(node, "show", key).stdout
    assert key in rear(node, "list", "--state", "in_progress").stdout
    cancelled = rear(node, "cancel", key, "--reason", "no more")
    assert cancelled.returncode == 0
    assert "no more" in cancelled.stdout
    assert key not in rear(node, "list", "--state", "in_progress").stdout
    assert key in [json.loads(line)["serviceRequestId"] for line in rear(node, "list", "--json").stdout.splitlines()]


def test_a_watch_of_one_that_was_cancelled_says_so_by_its_exit_code(node: NodeProcess) -> None:
    key = submitted(node)
    rear(node, "cancel", key, "--reason", "no more")

    watched = rear(node, "watch", key)

    assert watched.returncode == 1
    assert "Cancelled: no more" in watched.stdout


def test_an_interrupted_wait_leaves_the_request_running_and_says_how_to_go_on(
    node: NodeProcess, tmp_path: Path
) -> None:
    path = tmp_path / "later.yaml"
    path.write_text(LATER)
    waiting = subprocess.Popen(
        [REAR, "intent", "submit", str(path), "--wait"],
        env=os.environ | {"REAR_ENDPOINT": node.endpoint, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdout is not None
    first, step = waiting.stdout.readline(), waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=20)

    key = first.split()[2]
    assert step.split() == ["web", "looks", "for", "resources"]
    assert waiting.returncode == 130
    assert f"rear intent watch {key} --endpoint {node.endpoint}" in errors
    assert "in progress" in rear(node, "show", key).stdout


def test_who_follows_outlives_a_restart_of_the_node(new_node: NewNode) -> None:
    node = new_node(pool("machine"), port=fixed_port())
    node.start()
    key = submitted(node)
    watching = subprocess.Popen(
        [REAR, "intent", "watch", key],
        env=os.environ | {"REAR_ENDPOINT": node.endpoint, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    step = watching.stdout.readline()
    node.kill()
    time.sleep(2.5)  # longer than a client's usual patience
    node.start()
    rear(node, "cancel", key, "--reason", "no more")
    rest, _ = watching.communicate(timeout=30)

    assert "looks for resources" in step
    assert "looks for resources" not in rest
    assert "Cancelled: no more" in rest
    assert watching.returncode == 1


def test_the_schema_is_printed(node: NodeProcess) -> None:
    assert rear(node, "schema").stdout == SCHEMA.read_text()
