"""The main job on real input: a cluster's machines are offered, and its requests reserved over time.

The short form plays a part of the trace; `make soak` plays the whole of it ($REAR_TRACE=whole).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from nodes.inventory import GPU_MODELS
from rear.domain.events import Cause, PoolReserved
from rear.domain.hold import Hold, HoldKind
from rear.domain.quantities import Quantities
from rear.domain.window import HOUR, Instant, Window
from rear.ledger.anchor import AnchorPoint
from rear.ledger.commit import Identity
from rear.ledger.sealing import seal
from rear.ledger.sources import RandomIds
from rear.ledger.store import open_store
from tests.system.fixtures import NewNode
from tests.system.node_process import NodeProcess, fixed_port, pool
from tests.waiting import eventually

PROVE: Final = Path(__file__).parents[1] / "conformance" / "prove_not_oversold.py"
WHOLE: Final = os.environ.get("REAR_TRACE") == "whole"
PART: Final = () if WHOLE else ("--limit", "500")
"""The trace's first requests, which come at nearly the same time and last long, crowd the machines the most."""


NONE: Final = dict.fromkeys(("ACCEPTED", "COUNTER_OFFER", "REFUSED", "INVALID", "FAILED", "UNREACHABLE"), 0)


async def run(*command: str, expected: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == expected, f"{command}: {process.returncode}\n{out.decode()}\n{err.decode()[-2000:]}"
    return out.decode()


async def play(node: NodeProcess, trace: Path, *arguments: str) -> Mapping[str, Any]:
    command = ("-m", "rear.command.main", "--endpoint", node.endpoint, "--json", "reserve", "--from", str(trace))
    summary: Mapping[str, Any] = json.loads(await run(*command, *arguments))
    return summary


async def prove(node: NodeProcess, expected: int = 0) -> str:
    return await run(str(PROVE), node.endpoint, expected=expected)


async def test_all_machines_take_the_trace_compressed_a_hundredfold(new_node: NewNode, openb: Path) -> None:
    node = new_node()
    node.offer(openb / "openb_node_list_all_node.csv")
    node.start()
    summary = await play(node, openb / "openb_pod_list_default.csv", "--compress", "100", *PART)
    print(json.dumps(summary))
    invalid = 1 if WHOLE else 0  # the request of no length
    assert summary["outcomes"] == {**NONE, "ACCEPTED": summary["requests"] - invalid, "INVALID": invalid}
    assert "not oversold" in await prove(node)


async def test_every_fourth_machine_is_crowded_and_killed_midway(
    new_node: NewNode, openb: Path, tmp_path: Path
) -> None:
    node = new_node(port=fixed_port())
    node.offer(openb / "openb_node_list_all_node.csv", every=4 if WHOLE else 32)
    node.start()
    record = tmp_path / "record.jsonl"
    playing = asyncio.create_task(
        play(node, openb / "openb_pod_list_default.csv", "--compress", "1000", "--record", str(record), *PART)
    )
    midway = 4_000 if WHOLE else 250
    await eventually(lambda: playing.done() or lines(record) >= midway, 1_000)
    assert not playing.done()
    node.kill()
    await node.restart()
    summary = await playing
    print(json.dumps(summary))
    outcomes = summary["outcomes"]
    least, most = (0.15, 0.40) if WHOLE else (0.01, 0.99)
    assert least <= outcomes["COUNTER_OFFER"] / summary["requests"] <= most
    assert outcomes["ACCEPTED"] + outcomes["COUNTER_OFFER"] + outcomes["INVALID"] == summary["requests"]
    assert "not oversold" in await prove(node)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


async def test_the_proof_finds_an_oversell_that_is_planted(new_node: NewNode) -> None:
    node = new_node(pool("p", cpu=4))
    node.start()
    assert "not oversold" in await prove(node)
    assert node.terminate() == 0
    await plant(node, cpu_millicores=3_000)
    await plant(node, cpu_millicores=2_000)
    node.start()
    assert "p has 4000 cpu_millicores, 5000 are promised" in await prove(node, expected=1)


async def plant(node: NodeProcess, *, cpu_millicores: int) -> None:
    """Writes a hold that nobody checked, with a hash and an anchor as they should be."""
    async with AsyncExitStack() as stack:
        store = await open_store(stack, node.directory)
        last = await store.stream.last()
        assert last is not None
        held = [stored async for page in store.stream.pages(1, subject="rear.log.*.pool.p") for stored in page]
        point = store.anchor.read()
        assert point is not None
        window = Window(Instant(2**61), Instant(2**61 + HOUR))
        hold = Hold(RandomIds().new(), HoldKind.CONTRACT, window, Quantities({"cpu_millicores": cpu_millicores}))
        event = PoolReserved("p", len(held) + 1, Cause(window.start, window.start), hold=hold, offer=None)
        message = seal(event, Identity(node.name, node.provider_id), RandomIds(), last.hash)
        await store.stream.append([message], last.sequence, timeout=5)
        store.anchor.write(AnchorPoint(point.log_id, last.sequence + 1, message.hash))


async def test_the_models_of_gpus_are_honoured(new_node: NewNode, tmp_path: Path) -> None:
    node = new_node()
    node.offer(GPU_MODELS)
    node.start()
    trace = tmp_path / "trace.csv"
    header = (
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time"
    )
    wanted = [("a", 1, 500, "T4"), ("b", 2, 1000, "V100M32"), ("c", 1, 300, "A10|G3"), ("d", 1, 1000, "NO-SUCH")]
    rows = [f"{name},1000,1024,{count},{millis},{spec},LS,Running,0,3600,0" for name, count, millis, spec in wanted]
    trace.write_text("\n".join([header, *rows, ""]))
    record = tmp_path / "record.jsonl"
    summary = await play(node, trace, "--compress", "1", "--record", str(record))
    assert summary["outcomes"] == {**NONE, "ACCEPTED": 3, "REFUSED": 1}
    played = {row["request"]: row for row in map(json.loads, record.read_text().splitlines())}
    assert played["a"]["poolId"].startswith("t4-")
    assert played["b"]["poolId"].startswith("v100-01")
    assert played["c"]["poolId"].startswith("a10-")
    assert played["d"]["outcome"] == "REFUSED", "no machine has that model"
