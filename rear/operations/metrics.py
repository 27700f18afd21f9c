"""Metrics for Prometheus: read from the service's own objects when somebody scrapes, and at no other time.

What only the tables can tell is asked of them by SQL, on a connection of its own that can only read, at most every few
seconds. Nothing here runs on the service's loop, and nothing in it waits for a scrape.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Final

import psutil
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from rear.domain.window import SECOND
from rear.ledger.embedded import EmbeddedServer
from rear.operations.instrument import Parts
from rear.operations.tallies import LATENCIES, Calls, CallTally, Commits, Distribution
from rear.projections.tables import TablesError, read_only
from rear.readiness import Readiness, Role
from rear.rpc.surrounding import Around

COUNTED_EVERY: Final = 5.0
"""Seconds for which counts of table rows are kept."""

COUNTS: Final[Mapping[str, str]] = {
    "contracts": "SELECT state, COUNT(*) FROM contracts WHERE live GROUP BY state",
    "holds": "SELECT kind, COUNT(*) FROM holds GROUP BY kind",
    "purchases": "SELECT coalesce(state, 'ASKED'), COUNT(*) FROM purchases WHERE open GROUP BY 1",
    "service_requests": "SELECT state, COUNT(*) FROM service_requests GROUP BY state",
}


class Metrics:
    """Everything that one service shows, in a registry of its own.

    An instrument: `calls` goes around the handlers. What is shown before `attach` is what is there by then.
    """

    def __init__(self, readiness: Readiness) -> None:
        self.calls = Calls()
        self.around: Around = self.calls
        self._commits = Commits()
        self._lateness = Distribution(LATENCIES)
        readiness.late = self._lateness.add
        self._registry = CollectorRegistry(auto_describe=False)
        self._live = LiveCollector(readiness, self.calls, self._commits, self._lateness)
        self._registry.register(self._live)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def attach(self, parts: Parts) -> None:
        """Reads from these parts from now on."""
        parts.writer.listeners.append(self._commits)
        parts.writer.observers.append(self._commits)
        self._live.parts = parts

    def exposed(self, accept: str) -> tuple[bytes, str]:
        """All of it in the format that the `Accept` header asks for, and that format's content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class LiveCollector(Collector):
    """Reads what is, at each scrape."""

    def __init__(self, readiness: Readiness, calls: Calls, commits: Commits, lateness: Distribution) -> None:
        self.parts: Parts | None = None
        self._readiness = readiness
        self._calls = calls
        self._commits = commits
        self._lateness = lateness
        self._rows = RowCounts()

    def collect(self) -> Iterator[Metric]:
        """Everything that is there by now."""
        yield from self._service()
        yield from self._rpc()
        yield histogram("rear_event_loop_lag_seconds", "How late the event loop came to a timer.", self._lateness)
        parts = self.parts
        if parts is not None:
            yield from self._committed()
            yield from self._ledger(parts)
            yield from self._market(parts)
            if isinstance(parts.store.server, EmbeddedServer):
                yield from _server(parts.store.server)

    def _service(self) -> Iterator[Metric]:
        report = self._readiness.report
        yield labelled("rear_build_info", "The version that runs.", "version", {version("rear"): 1})
        yield gauge("rear_ready", "1 where requests can be served.", int(report.ready))
        roles = {role.value: int(role is report.role) for role in Role}
        yield labelled("rear_role", "1 for what the service is to its ledger.", "role", roles)
        failing = {reason.what: 1 for reason in report.reasons}
        yield labelled("rear_not_ready", "1 for each condition that keeps it from serving.", "what", failing)
        scrubbed = report.facts.get("scrub")
        if isinstance(scrubbed, int):
            yield gauge("rear_scrub_position", "The sequence up to which the scrub has read.", scrubbed)
        neighbours = report.facts.get("neighbours")
        if isinstance(neighbours, int):
            yield gauge("rear_neighbours", "Nodes that may be asked for flavours.", neighbours)
        warnings = {reason.what: 1 for reason in report.warnings}
        yield labelled("rear_warning", "1 for each finding that an operator should look at.", "what", warnings)

    def _rpc(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("rear_rpc_calls", "Calls that ended.", labels=("rpc", "code"))
        refusals = CounterMetricFamily("rear_rpc_refusals", "Calls that were refused.", labels=("rpc", "reason"))
        seconds = HistogramMetricFamily("rear_rpc_duration_seconds", "Time in the handler.", labels=("rpc",))
        open_ = GaugeMetricFamily("rear_rpc_open", "Calls under way.", labels=("rpc",))
        for rpc, tally in dict(self._calls.by_rpc).items():
            for code, count in dict(tally.codes).items():
                calls.add_metric((rpc, code), count)
            for reason, count in dict(tally.reasons).items():
                refusals.add_metric((rpc, reason), count)
            open_.add_metric((rpc,), tally.open)
            if timed(tally):
                seconds.add_metric((rpc,), *buckets(tally.seconds))
        yield from (calls, refusals, seconds, open_)

    def _committed(self) -> Iterator[Metric]:
        commits = self._commits
        events = {kind.__name__: count for kind, count in dict(commits.events).items()}
        yield labelled_counter("rear_events", "Events committed since the start.", "event", events)
        yield histogram("rear_commit_commands", "Commands in one commit.", commits.commands)
        yield histogram("rear_commit_events", "Events in one commit.", commits.messages)
        yield histogram(
            "rear_commit_duration_seconds", "From a commit's publish to its acknowledgement.", commits.append
        )
        answered = HistogramMetricFamily(
            "rear_link_answer_seconds", "From a request to another provider to what became of it.", labels=("verb",)
        )
        for verb, seconds in dict(commits.links).items():
            answered.add_metric((verb,), *buckets(seconds))
        yield answered
        yield histogram(
            "rear_service_request_ready_seconds", "From accepting an intent to all of it being active.", commits.ready
        )
        yield histogram("rear_anchor_write_duration_seconds", "To write and sync the anchor.", commits.anchor)

    def _ledger(self, parts: Parts) -> Iterator[Metric]:
        writer, feed = parts.writer, parts.feed
        tip = writer.tip[0]
        yield gauge("rear_ledger_position", "The newest durable sequence.", tip)
        yield gauge("rear_ledger_epoch", "The writer's epoch.", writer.state.service.epoch)
        yield gauge("rear_tables_position", "The sequence that the tables stand at.", feed.sequence)
        yield gauge(
            "rear_tables_lag_events", "Durable events that the tables do not have.", max(0, tip - feed.sequence)
        )
        yield gauge("rear_writer_queue_commands", "Commands that wait for the next commit.", writer.waiting)
        yield counter("rear_writer_reverts", "Times that memory was dropped back to the ledger.", writer.reverted)
        yield counter(
            "rear_writer_unknown_outcomes",
            "Times that it was not known whether a commit had landed, and it was sent again.",
            writer.unknown_outcomes,
        )
        yield gauge("rear_clock_behind_seconds", "The clock, behind the ledger.", writer.clock_behind / SECOND)
        connection = parts.store.connection
        yield gauge("rear_ledger_connected", "1 with a connection to the ledger's server.", int(connection.connected))
        yield counter("rear_ledger_connections", "Connections made to the ledger's server.", connection.generation)

    def _market(self, parts: Parts) -> Iterator[Metric]:
        yield gauge("rear_pools", "Pools, also those that are retired.", len(parts.writer.state.pools))
        yield gauge("rear_timers_pending", "Entries of the timers.", len(parts.timers))
        overdue = parts.timers.count_overdue(parts.writer.now())
        yield gauge("rear_timers_overdue", "Entries of the timers whose time has come.", overdue)
        counts = self._rows.of(parts.feed.tables.path)
        if counts is not None:
            yield labelled("rear_contracts", "Contracts that live, in the tables.", "state", counts["contracts"])
            yield labelled("rear_holds", "What blocks capacity, in the tables.", "kind", counts["holds"])
            purchases = counts["purchases"]
            requests = counts["service_requests"]
            yield labelled("rear_service_requests", "Runs of intents, also those that ended.", "state", requests)
            yield labelled("rear_purchases", "Purchases from other providers that are open.", "state", purchases)


class RowCounts:
    """Counts rows of the tables, and keeps the counts for a while."""

    def __init__(self) -> None:
        self._counted: Mapping[str, Mapping[str, int]] | None = None
        self._at = 0.0

    def of(self, path: Path) -> Mapping[str, Mapping[str, int]] | None:
        """Rows by their kind for each of COUNTS; None where the tables cannot be read just now."""
        if self._counted is None or monotonic() - self._at > COUNTED_EVERY:
            try:
                with closing(read_only(path)) as tables:
                    self._counted = {name: dict(tables.execute(statement)) for name, statement in COUNTS.items()}
            except (TablesError, sqlite3.Error):
                self._counted = None
            self._at = monotonic()
        return self._counted


def _server(server: EmbeddedServer) -> Iterator[Metric]:
    yield gauge("rear_disk_free_bytes", "Room on the disk of the ledger.", server.room)
    yield counter("rear_nats_server_restarts", "Times that the embedded nats-server was started anew.", server.restarts)
    pid = server.pid
    if pid is None:
        return
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            used, memory = process.cpu_times(), process.memory_info().rss
    except psutil.Error:
        return
    yield counter("rear_nats_server_cpu_seconds", "Its processor time, since its start.", used.user + used.system)
    yield gauge("rear_nats_server_resident_memory_bytes", "Its resident memory.", memory)


def gauge(name: str, about: str, value: float) -> Metric:
    """One number that goes up and down."""
    return GaugeMetricFamily(name, about, value=value)


def counter(name: str, about: str, value: float) -> Metric:
    """One number that only grows; `_total` is added to its name."""
    return CounterMetricFamily(name, about, value=value)


def labelled(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    """Numbers by one label."""
    family = GaugeMetricFamily(name, about, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def labelled_counter(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    """Numbers by one label that only grow."""
    family = CounterMetricFamily(name, about, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def histogram(name: str, about: str, values: Distribution) -> Metric:
    """A distribution."""
    family = HistogramMetricFamily(name, about, labels=())
    family.add_metric((), *buckets(values))
    return family


def timed(tally: CallTally) -> bool:
    """Whether anything was timed: what never was is not shown."""
    return any(tally.seconds.counts)


def buckets(values: Distribution) -> tuple[Sequence[tuple[str, float]], float]:
    """The cumulative buckets and the sum, as Prometheus wants them."""
    found, total = [], 0
    for bound, count in zip((*map(float, values.bounds), float("inf")), list(values.counts), strict=True):
        total += count
        found.append(("+Inf" if bound == float("inf") else repr(bound), float(total)))
    return found, values.sum
