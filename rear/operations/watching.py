"""Puts the instruments that an operator asked for on a service, and takes them off. Imports none that was not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from rear import tracing

if TYPE_CHECKING:
    from rear.operations.instrument import Instrument
    from rear.readiness import Readiness


class CannotWatch(Exception):
    """What an operator asked to see of the service cannot be shown."""


class OperationsPortTaken(CannotWatch):
    """The operations endpoint cannot listen where it should."""


class CannotTrace(CannotWatch):
    """Traces were asked for and cannot be had."""


log = structlog.get_logger(__name__)


LAST_SPANS: Final = 2.0
"""Seconds that the last spans of a service have to reach the collector."""


@dataclass(frozen=True, slots=True)
class View:
    """What an operator wants to see of a service: over HTTP at `ops`, a host and a port; and `traces`."""

    ops: tuple[str, int] | None = None
    traces: bool = False


@contextmanager
def watched(view: View, provider_id: str, readiness: Readiness, instruments: list[Instrument]) -> Iterator[None]:
    """Adds to `instruments`, for a service that has not begun. Raises CannotWatch."""
    with ExitStack() as stack:
        if view.traces:
            instruments.append(stack.enter_context(_traced(provider_id)))
        if view.ops is not None:
            from rear.operations.endpoint import OperationsEndpoint
            from rear.operations.metrics import Metrics

            metrics = Metrics(readiness)
            instruments.append(metrics)
            host, port = view.ops
            endpoint = stack.enter_context(OperationsEndpoint(host, port, provider_id, readiness, metrics))
            log.info("operations endpoint", address=endpoint.address)
        yield


@contextmanager
def _traced(provider_id: str) -> Iterator[Instrument]:
    try:
        from opentelemetry import trace

        from rear.operations.spans import Tracing, provider_for

        provider = provider_for(provider_id, os.environ)
    except ImportError as error:
        raise CannotTrace(
            f"traces need OpenTelemetry, and {error.name} is not installed: install rear[otel]"
        ) from error
    trace.set_tracer_provider(provider)  # so that `rear.tracing` and other libraries take part
    log.info("tracing", exporter=os.environ.get(tracing.EXPORTER) or "otlp")
    try:
        yield Tracing(provider)
    finally:
        _end(provider.shutdown)


def _end(shutdown: Callable[[], None]) -> None:
    """Sends what waits. A collector that does not answer must not keep the service from ending."""
    sending = threading.Thread(target=shutdown, name="last spans", daemon=True)
    sending.start()
    sending.join(LAST_SPANS)
    if sending.is_alive():
        log.warning("the last spans were not sent: the collector does not answer")
