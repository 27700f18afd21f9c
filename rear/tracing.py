"""Traces, as the rest of the code sees them. Without OpenTelemetry in the process all of this is next to nothing.

A step that should be seen in a trace is put into a `span`; what goes to another service takes `outgoing` along. Both
follow the process's own OpenTelemetry, whoever set it up: `rear up --traces`, or the program that uses our client.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

EXPORTER: Final = "OTEL_TRACES_EXPORTER"
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "grpc"
"""What spans are sent over."""

_NOTHING: Final = nullcontext()


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard environment asks for traces: it names an exporter, or where to send them."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get(EXPORTER, "")
    return exporter != "none" and any(environment.get(name) for name in (EXPORTER, *ENDPOINTS))


def span(name: str, kind: str = "INTERNAL", **attributes: str | int) -> AbstractContextManager[Any]:
    """A step of the trace that runs here; `kind` is INTERNAL, CLIENT, SERVER, PRODUCER or CONSUMER."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return _NOTHING
    started: AbstractContextManager[Any] = trace.get_tracer("rear").start_as_current_span(
        name, kind=trace.SpanKind[kind], attributes=attributes
    )
    return started


def outgoing() -> tuple[tuple[str, str], ...] | None:
    """The metadata that makes a call to another service part of the trace that runs here; None where none does."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        return None
    propagate = importlib.import_module("opentelemetry.propagate")
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())
