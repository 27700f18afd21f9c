"""Fills a ledger in bulk: contracts that have ended, and contracts that live, as a node would have made them.

`python -m benchmarks.filled DIRECTORY` runs a node whose calls come from inside and whose clock is moved by hand:
every event is decided, chained, committed and put into the tables as always.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import click
import psutil
import structlog

from benchmarks.market import Buyer, machines, write_inventory
from nodes.inventory import load_inventory
from nodes.server import Node, NodeSettings
from nodes.tenure import Tenure
from rear.domain.contract import Contract, VerbCommand, contract_id
from rear.domain.reservation import Promises, ReserveCommand
from rear.domain.window import DAY, HOUR, MINUTE, SECOND, AskedWindow, Duration, Instant
from rear.process import run
from rear.v1.contract_service_pb2 import ReserveFlavourRequest
from rear.wire.requests import partition_from

NAME: Final = "node-1"
DOMAIN: Final = "local.test"
"""As `rear up` names a node that is not told otherwise."""

CALLER: Final = f"spiffe://{DOMAIN}/local/anonymous"
AT_ONCE: Final = 2_000
"""Calls side by side."""

LONG: Final = Duration(30 * DAY)
"""How long a live reservation may wait for its purchase, and how far windows lie in the future."""

BEFORE: Final = Duration(12 * HOUR)
"""How long ago the first contract was made."""


@dataclass(slots=True)
class HandClock:
    """A clock that stands still until it is moved."""

    at: Instant

    def now(self) -> Instant:
        """The instant that it was moved to."""
        return self.at

    def advance(self, by: int) -> None:
        """Moves it on."""
        self.at = Instant(self.at + by)


async def fill(directory: Path, pools: int, ended: int, live: int, progress: Callable[[int], None]) -> int:
    """A state directory in `directory` with so many contracts over so many pools: a third each of cancelled, expired
    and completed ones, and of reserved, confirmed and active ones. Returns the bytes of memory that it took at its end.
    """
    clock = HandClock(Instant(time.time_ns() - BEFORE))
    market = machines(pools)
    inventory = load_inventory(write_inventory(directory, market), owner_domain=DOMAIN)
    settings = NodeSettings(NAME, DOMAIN, directory / "state", promises=Promises(maximum_ttp=LONG))

    async def prepare(tenure: Tenure) -> None:
        await tenure.take(inventory)

    async with Node(settings, prepare, lambda _: None, clock=clock) as node:
        await node.tenure.timekeeper.stop()  # time passes by hand
        work = _Work(node.tenure, clock, Buyer(market))
        for count in _parts(ended):
            await work.begin_and_end(count)
            progress(count)
        clock.at = Instant(time.time_ns())
        for count in _parts(live):
            await work.begin(count)
            progress(count)
        return int(psutil.Process().memory_info().rss)


class _Work:
    """What a node is told to do, many things side by side."""

    def __init__(self, tenure: Tenure, clock: HandClock, buyer: Buyer) -> None:
        self._tenure = tenure
        self._clock = clock
        self._buyer = buyer
        self._days = itertools.cycle(range(1, 29))

    async def begin_and_end(self, count: int) -> None:
        """Contracts of which a third each are cancelled, expire, and are bought and run to their end."""
        short = AskedWindow(duration=Duration(2 * MINUTE))
        made = await self._reserve(
            (short, Duration(MINUTE), kind == 2) for kind in itertools.islice(itertools.cycle(range(3)), count)
        )
        cancelled = made[0::3]
        await asyncio.gather(*map(self._cancel, cancelled))
        await self._tenure.timekeeper.work_off()  # begins what was bought
        self._clock.advance(3 * MINUTE // 2)
        await self._tenure.timekeeper.work_off()  # what was not bought expires
        self._clock.advance(MINUTE)
        await self._tenure.timekeeper.work_off()  # what was bought comes to its end

    async def begin(self, count: int) -> None:
        """Contracts of which a third each are reserved for later, bought for later, and bought for now."""
        now = self._clock.now()
        wishes: list[tuple[AskedWindow, Duration | None, bool]] = []
        for index in range(count):
            later = Instant(now + next(self._days) * DAY)
            reserved = (AskedWindow(later, duration=Duration(DAY)), Duration(DAY + index * SECOND), False)
            confirmed = (AskedWindow(later, duration=Duration(DAY)), None, True)
            active = (AskedWindow(duration=Duration(LONG + index * SECOND)), None, True)
            wishes.append((reserved, confirmed, active)[index % 3])
        await self._reserve(wishes)
        await self._tenure.timekeeper.work_off()  # begins what was bought for now

    async def _reserve(self, wishes: Iterable[tuple[AskedWindow, Duration | None, bool]]) -> list[Contract]:
        wanted = list(wishes)
        requests = self._buyer.reservations(len(wanted))
        calls = [self._one(request, *wish) for request, wish in zip(requests, wanted, strict=True)]
        return list(await asyncio.gather(*calls))

    async def _one(
        self, request: ReserveFlavourRequest, window: AskedWindow, ttp: Duration | None, confirm: bool
    ) -> Contract:
        provider = self._tenure.provider.provider_id
        command = ReserveCommand(
            contract_id(provider, CALLER, request.request_id),
            request.flavour_id,
            partition_from(request.partition, "partition"),
            window,
            ttp,
            confirm,
            None,
            0,
            sha256(request.SerializeToString(deterministic=True)).digest(),
            "",
        )
        answer = await self._tenure.contracts.reserve(
            command, caller=CALLER, request_id=request.request_id, validate_only=False
        )
        return answer.contract

    async def _cancel(self, contract: Contract) -> None:
        command = VerbCommand(f"cancel-{contract.id}", sha256(contract.id.encode()).digest(), None)
        await self._tenure.contracts.cancel(contract.id, command, "", caller=CALLER, owner=CALLER, validate_only=False)


def _parts(count: int) -> Iterator[int]:
    """How many at a time."""
    while count > 0:
        yield min(count, AT_ONCE)
        count -= AT_ONCE


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--pools", type=click.IntRange(1), default=1_523, show_default=True)
@click.option("--ended", type=click.IntRange(0), default=250_000, show_default=True)
@click.option("--live", type=click.IntRange(0), default=100_000, show_default=True)
def main(directory: Path, pools: int, ended: int, live: int) -> None:
    """Fill a new ledger in DIRECTORY/state, with its tables; the inventory is DIRECTORY/pools.csv."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(open(os.devnull, "w")))  # noqa: SIM115
    with click.progressbar(length=ended + live, label="filling a ledger", file=sys.stderr) as bar:
        resident = run(fill(directory, pools, ended, live, bar.update))
    click.echo(json.dumps({"resident": resident}))


if __name__ == "__main__":
    main()
