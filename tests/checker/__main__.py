"""Judges a recorded history against the ledger of the service that answered.

    python -m tests.checker HISTORY --endpoint HOST:PORT | --state DIRECTORY [--after SEQUENCE] [--skew SECONDS]

HISTORY has a call a line, as `tests.checker.history.save` writes them. With --state the service is stopped, and its
ledger is opened by hand. The exit code is 1 where something is not explained.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from rear.event.v1.envelope_pb2 import Envelope
from rear.ledger.store import StateDirectory, open_store
from rear.rpc.client import Client
from rear.v1.audit_service_pb2 import ReadEventsRequest, RecordedEvent
from tests.checker.history import load
from tests.checker.judgement import judge

SECOND = 10**9


async def served(endpoint: str) -> list[RecordedEvent]:
    """The ledger of a service that runs."""
    async with Client(endpoint) as client:
        return [event async for event in client.events(ReadEventsRequest())]


async def kept(state: Path) -> list[RecordedEvent]:
    """The ledger of a service that is stopped."""
    found: list[RecordedEvent] = []
    log_id = ""
    async with AsyncExitStack() as stack:
        store = await open_store(stack, StateDirectory(state), lock_timeout=1.0)
        async for page in store.stream.pages(1):
            for stored in page:
                envelope = Envelope.FromString(stored.payload)
                log_id = log_id or envelope.ledger_opened.log_id
                found.append(
                    RecordedEvent(
                        position=f"{log_id}.1.{stored.sequence}",
                        sequence=stored.sequence,
                        subject=stored.subject,
                        payload=stored.payload,
                        hash=bytes.fromhex(stored.hash),
                        event_type=envelope.WhichOneof("body") or "",
                    )
                )
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.checker", description=__doc__)
    parser.add_argument("history", type=Path)
    ledger = parser.add_mutually_exclusive_group(required=True)
    ledger.add_argument("--endpoint")
    ledger.add_argument("--state", type=Path)
    parser.add_argument("--after", type=int, default=0, help="effects up to there were asked for by others")
    parser.add_argument("--skew", type=float, default=0.0, help="seconds that the service's clock may be ahead")
    chosen = parser.parse_args()
    recorded = asyncio.run(served(chosen.endpoint) if chosen.endpoint else kept(chosen.state))
    judgement = judge(load(chosen.history), recorded, after=chosen.after, skew=round(chosen.skew * SECOND))
    print(f"{len(recorded)} events, {judgement}")
    for finding in judgement.findings:
        print(finding)
    sys.exit(1 if judgement.findings else 0)


if __name__ == "__main__":
    main()
