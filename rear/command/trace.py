"""The player behind `rear reserve --from`: a recorded trace of requests against a running provider.

Requests begin in the order of their arrival, up to `in_flight` of them at once. So the order in which the
provider sees them is about the trace's; play with one in flight where it has to be exact.

A request keeps one request id for all that it tries. A refusal leaves nothing behind at the provider, so the id
can go on to the next flavour; and since an id makes one contract at most, so does a request, however often it is
sent and whichever run sends it.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import NAMESPACE_OID, uuid4, uuid5

import click

from rear import amounts
from rear.command import failures
from rear.command.output import write_json
from rear.command.parameters import now
from rear.command.settings import DEFAULT_ENDPOINT, Settings
from rear.command.times import show_duration, show_instant
from rear.command.trace_progress import Progress
from rear.command.trace_report import Accepted, Outcome, Played, Report
from rear.command.trace_source import TraceRequest, read_trace
from rear.domain.demand import Demand
from rear.domain.flavour import MODEL
from rear.domain.window import HOUR, MINUTE, SECOND, Duration, Instant, Window
from rear.rpc.refused import CallFailed, Refused, Unreachable
from rear.v1 import contract_pb2, contract_service_pb2, discovery_service_pb2
from rear.wire.values import read_quantities, read_shares, read_window, write_partition, write_window

if TYPE_CHECKING:
    from rear.rpc.client import Client

BEST: Final = 10
"""How many flavours are tried for a request."""

DEFAULT_LEAD: Final = Duration(5 * MINUTE)
"""The first window begins this long after the run, so that none has passed before it is asked for."""


@dataclass(frozen=True, slots=True)
class Run:
    """What makes a run: two with the same values have the effect of one."""

    id: str
    start: Instant
    compress: Fraction
    resumed: bool = False
    """Whether an earlier run with this id may have left contracts."""

    def request_id(self, request: TraceRequest) -> str:
        """The one request id of a request."""
        return str(uuid5(NAMESPACE_OID, f"rear trace\n{self.id}\n{request.name}"))


@dataclass(slots=True)
class _Attempts:
    """What one request has been through so far."""

    began: float
    lists: list[float] = field(default_factory=list)
    reserves: list[float] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)


class Player:
    """Plays requests of one run against one provider."""

    def __init__(self, client: Client, run: Run, requests: Sequence[TraceRequest]) -> None:
        self._client = client
        self._run = run
        self._requests = requests
        self._provider_id = ""
        last = max((request.window(run.start, run.compress).end for request in requests), default=run.start)
        # When all is over: what does not fit here does not fit at any time.
        self._afterwards = Window(last, Instant(last + HOUR))

    async def play(self, in_flight: int, played: Progress) -> None:
        """Play all requests; each is handed to `played` when it is over.

        Ends early where the provider does not come back within the client's patience.
        """
        await self._find_provider()
        queue = iter(self._requests)
        tasks = [asyncio.create_task(self._work(queue, played)) for _ in range(in_flight)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, queue: Iterator[TraceRequest], played: Progress) -> None:
        for request in queue:
            one = await self._play_one(request)
            played.add(one)
            if one.outcome is Outcome.UNREACHABLE:
                # Every worker finds out for itself, and none begins another request.
                return

    async def _find_provider(self) -> None:
        response = await self._client.list_flavours(discovery_service_pb2.ListFlavoursRequest(limit=1))
        for listed in response.flavours:
            self._provider_id = listed.flavour.provider_id

    async def _play_one(self, request: TraceRequest) -> Played:
        attempts = _Attempts(time.perf_counter())
        try:
            return await self._try(request, attempts)
        except Unreachable as failure:
            return _played(request, Outcome.UNREACHABLE, attempts, failure=failure)
        except Refused as refusal:
            return _played(request, _outcome_of(refusal), attempts, failure=refusal)

    async def _try(self, request: TraceRequest, attempts: _Attempts) -> Played:
        if self._run.resumed and self._provider_id:
            earlier = await self._earlier(request)
            if earlier is not None:
                return _played(request, Outcome.ACCEPTED, attempts, contract=earlier, earlier=True)
        window = request.window(self._run.start, self._run.compress)
        for flavour_id, demand in await self._list(request, window, BEST, attempts):
            found = await self._reserve(request, flavour_id, demand, window, attempts)
            if found is not None:
                return found
        if not any(refusal.counter_offer is not None for refusal in attempts.refusals):
            # Ask the best of those on which it would fit at all: it says what it can do.
            for flavour_id, demand in (await self._list(request, self._afterwards, 1, attempts))[:1]:
                found = await self._reserve(request, flavour_id, demand, window, attempts)
                if found is not None:
                    return found
        return self._refused(request, attempts)

    async def _list(
        self, request: TraceRequest, window: Window, limit: int, attempts: _Attempts
    ) -> list[tuple[str, Demand]]:
        """The best flavours with what to ask of each, best first."""
        asked = discovery_service_pb2.ListFlavoursRequest(limit=limit)
        only_model = request.models[0] if len(request.models) == 1 else None
        write_partition(asked.selector.partition, request.demand_for(only_model))
        write_window(asked.selector.window, window)
        if len(request.models) > 1:
            asked.selector.gpu_model.any_of.extend(request.models)
        began = time.perf_counter()
        response = await self._client.list_flavours(asked)
        attempts.lists.append(time.perf_counter() - began)
        found = []
        for listed in response.flavours:
            if len(request.models) <= 1:
                found.append((listed.flavour.flavour_id, request.demand_for(only_model)))
                continue
            # A pool may have GPUs of several models; a contract is for one of those that are accepted.
            has = {offered.unit.attributes.get(MODEL, "") for offered in listed.flavour.units}
            found += [
                (listed.flavour.flavour_id, request.demand_for(model)) for model in request.models if model in has
            ]
        return found

    async def _reserve(
        self, request: TraceRequest, flavour_id: str, demand: Demand, window: Window, attempts: _Attempts
    ) -> Played | None:
        """How the request ended; None where it was refused and another flavour may be tried."""
        asked = contract_service_pb2.ReserveFlavourRequest(
            flavour_id=flavour_id, confirm=True, request_id=self._run.request_id(request)
        )
        write_partition(asked.partition, demand)
        write_window(asked.window, window)
        began = time.perf_counter()
        try:
            response = await self._client.reserve_flavour(asked)
        except Refused as refusal:
            if refusal.reason == "REQUEST_ID_REUSED":
                earlier = await self._earlier(request)
                if earlier is not None:
                    return _played(request, Outcome.ACCEPTED, attempts, contract=earlier, earlier=True)
            if refusal.code.name in failures.FAULTS:
                raise
            attempts.refusals.append(refusal)
            return None
        finally:
            attempts.reserves.append(time.perf_counter() - began)
        return _played(request, Outcome.ACCEPTED, attempts, contract=response.contract)

    async def _earlier(self, request: TraceRequest) -> contract_pb2.Contract | None:
        """The contract that the request has already; None where it has none."""
        contract_id = self._client.contract_id(self._provider_id, self._run.request_id(request))
        try:
            response = await self._client.get_contract(contract_service_pb2.GetContractRequest(contract_id=contract_id))
        except Refused as refusal:
            if refusal.reason == "CONTRACT_NOT_FOUND":
                return None
            raise
        return response.contract

    def _refused(self, request: TraceRequest, attempts: _Attempts) -> Played:
        for refusal in attempts.refusals:
            if refusal.counter_offer is not None:
                return _played(request, Outcome.COUNTER_OFFER, attempts, failure=refusal)
        if attempts.refusals:
            last = attempts.refusals[-1]
            return _played(request, _outcome_of(last), attempts, failure=last)
        return Played(
            request.name,
            Outcome.REFUSED,
            "NO_FLAVOUR",
            "no flavour is large enough at any time",
            took=time.perf_counter() - attempts.began,
            lists=tuple(attempts.lists),
        )


def _outcome_of(refusal: Refused) -> Outcome:
    if refusal.counter_offer is not None:
        return Outcome.COUNTER_OFFER
    if refusal.code.name == "INVALID_ARGUMENT":
        return Outcome.INVALID
    return Outcome.FAILED if refusal.code.name in failures.FAULTS else Outcome.REFUSED


def _played(
    request: TraceRequest,
    outcome: Outcome,
    attempts: _Attempts,
    *,
    contract: contract_pb2.Contract | None = None,
    earlier: bool = False,
    failure: CallFailed | None = None,
) -> Played:
    accepted = None
    if contract is not None:
        accepted = Accepted(
            contract.contract_id,
            contract.pool_id,
            read_window(contract.window),
            read_quantities(contract.partition.quantities),
            read_shares(contract.assigned_units),
        )
    return Played(
        request.name,
        outcome,
        (failure.reason or failure.code.name) if failure is not None else "",
        failure.message if failure is not None else "",
        accepted,
        earlier,
        time.perf_counter() - attempts.began,
        tuple(attempts.lists),
        tuple(attempts.reserves),
    )


async def play(
    chosen: Settings,
    path: Path,
    *,
    start: str | None,
    compress: Fraction,
    in_flight: int,
    limit: int | None,
    patience: Duration,
    run_id: str | None,
    record: Path | None,
) -> int:
    """Play the trace at `path` and write the report; gives the exit code."""
    try:
        requests = read_trace(path)[:limit]
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    begins = Instant(now() + DEFAULT_LEAD) if start is None else amounts.instant(start, now())
    run = Run(run_id or str(uuid4()), begins, compress, resumed=run_id is not None)
    again = _again(chosen, path, run, in_flight, limit, patience)
    click.echo(f"run {run.id}: {len(requests):,} requests, windows from {show_instant(run.start)}", err=True)
    click.echo(f"should it be stopped, this goes on: {again}", err=True)
    report = Report(len(requests))
    began = time.perf_counter()
    async with chosen.client(patience=patience / SECOND) as client:
        with Progress(report, record) as progress:
            await Player(client, run, requests).play(in_flight, progress)
    report.wall = time.perf_counter() - began
    if chosen.json:
        made = {"runId": run.id, "start": show_instant(run.start), "compress": str(compress)}
        write_json(made | report.as_json())
    else:
        for line in report.lines():
            click.echo(line)
    if report.played[Outcome.UNREACHABLE]:
        failures.complain(f"no answer from {chosen.endpoint}; to go on: {again}")
        return failures.UNREACHABLE
    if count := report.played[Outcome.FAILED]:
        failures.complain(f"the provider failed on {count} requests")
        return failures.FAILURE
    return 0


def _again(chosen: Settings, path: Path, run: Run, in_flight: int, limit: int | None, patience: Duration) -> str:
    """The command that goes on with a run."""
    words = ["rear", "reserve", "--from", str(path), "--compress", str(run.compress)]
    words += ["--start", show_instant(run.start), "--run-id", run.id]
    words += ["--in-flight", str(in_flight), "--patience", show_duration(patience)]
    if limit is not None:
        words += ["--limit", str(limit)]
    if chosen.endpoint != DEFAULT_ENDPOINT:
        words += ["--endpoint", chosen.endpoint]
    return shlex.join(words)
