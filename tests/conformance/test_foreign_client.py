"""Stubs made from proto/ alone, and a client and auditor that has only them."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections import Counter
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from tests.system.node_process import NodeProcess

ROOT = Path(__file__).resolve().parents[2]
CLIENT = Path(__file__).with_name("foreign_client.py")


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what protoc makes of the protos."""
    out = tmp_path_factory.mktemp("stubs")
    protos = ROOT / "proto"
    googleapis = tmp_path_factory.mktemp("googleapis")
    subprocess.run([sys.executable, str(protos / "googleapis.py"), str(googleapis)], check=True, timeout=60)
    with as_file(files("grpc_tools") / "_proto") as well_known:
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"--proto_path={path}" for path in (protos, googleapis, well_known)),
            *(f"--python_out={out}", f"--grpc_python_out={out}"),
            *sorted(path.relative_to(protos).as_posix() for path in protos.glob("rear/**/*.proto")),
        ]
        subprocess.run(command, check=True, timeout=120)
    return out


def test_a_client_made_from_the_protos_buys_watches_and_audits(node: NodeProcess, stubs: Path) -> None:
    site_packages = sysconfig.get_path("purelib")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(CLIENT), str(stubs), site_packages, node.endpoint],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["places"]
    assert all(Path(place).is_relative_to(stubs) for place in seen["places"]), "code of the project was used"
    assert seen["refused"] == ["CAPACITY_EXCEEDED", "rear.v1.CounterOffer"]
    assert seen["revision"] == 2
    assert seen["operation"] == ["CANCELLED", "SERVICE_REQUEST_STATE_CANCELLED"]
    assert seen["watched"] == [seen["contract_id"]]
    events = Counter(seen["events"])
    assert seen["events"][0] == "ledger_opened"
    assert events["pool_registered"] == 2
    assert events["contract_reserved"] == events["contract_purchased"] == 1
    assert events["pool_reserved"] == events["allocation_created"] == 1
