"""Traces of a service by OpenTelemetry: a span for each call, with what it waited for, and one for each commit.

Needs the extra `rear[otel]`. Everything but the exporter's choice is OpenTelemetry's own: endpoint, headers, sampling
and limits come from its environment variables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from time import perf_counter, time_ns
from typing import Any, Final

import grpc
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from rear import tracing
from rear.domain.refusals import Refusal
from rear.ledger.commit import Mark, Timing
from rear.operations.instrument import Parts
from rear.operations.tallies import code_of
from rear.operations.watching import CannotTrace
from rear.rpc.surrounding import Around, Stream, Unary

FAULTS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that make a server's span one of a failure; a refusal is an answer."""


def provider_for(provider_id: str, environment: Mapping[str, str]) -> TracerProvider:
    """Makes spans of a service, and exports them as the environment says. Raises CannotTrace."""
    try:
        return _provider(provider_id, environment)
    except (CannotTrace, ImportError):
        raise
    except Exception as error:  # OpenTelemetry has no error of its own for variables that it cannot read
        raise CannotTrace(f"OpenTelemetry does not take its OTEL_… variables as they are: {error}") from error


def _provider(provider_id: str, environment: Mapping[str, str]) -> TracerProvider:
    resource = Resource.create(
        {
            SERVICE_NAME: environment.get("OTEL_SERVICE_NAME", "rear"),
            SERVICE_INSTANCE_ID: provider_id,
            SERVICE_VERSION: version("rear"),
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(environment)))
    return provider


def _exporter(environment: Mapping[str, str]) -> SpanExporter:
    chosen = environment.get(tracing.EXPORTER) or "otlp"
    if chosen == "console":
        return ConsoleSpanExporter()
    if chosen != "otlp":
        raise CannotTrace(f"${tracing.EXPORTER} is {chosen!r}; this software knows otlp, console and none")
    said = next(filter(environment.get, tracing.PROTOCOLS), None)
    if said is not None and environment[said] != tracing.PROTOCOL:
        raise CannotTrace(f"${said} is {environment[said]!r}; this software sends OTLP over {tracing.PROTOCOL} only")
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class Tracing:
    """An instrument: stands around the handlers, and follows commands through the writer."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self.around: Around = self
        self._tracer = provider.get_tracer("rear", version("rear"))

    def attach(self, parts: Parts) -> None:
        """Follows the commands of this writer from now on."""
        parts.writer.mark = self._mark
        parts.writer.observers.append(self)

    # -- calls ---------------------------------------------------------------------------------------------

    def unary(self, rpc: str, behaviour: Unary) -> Unary:
        """The handler of a unary call, in a span."""

        async def traced(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with self._call(rpc, context):
                return await behaviour(request, context)

        return traced

    def stream(self, rpc: str, behaviour: Stream) -> Stream:
        """The handler of a call that is answered by a stream: one span, for as long as it lasts."""

        async def traced(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            # Not the current span: whoever takes the answers runs in between.
            span = self._tracer.start_span(rpc, _incoming(context), SpanKind.SERVER, _about(rpc))
            try:
                async for answer in behaviour(request, context):
                    yield answer
            except BaseException as error:
                _end_with(span, error, context)
                raise
            finally:
                span.end()

        return traced

    @contextmanager
    def _call(self, rpc: str, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            rpc,
            _incoming(context),
            SpanKind.SERVER,
            _about(rpc),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                _end_with(span, error, context)
                raise
            span.set_attribute("rpc.grpc.status_code", 0)

    # -- commits -------------------------------------------------------------------------------------------

    def _mark(self) -> Mark | None:
        caller = trace.get_current_span()
        if not caller.is_recording():
            return None
        return CommandMark(self._tracer, caller)

    def timed(self, timing: Timing) -> None:
        """Makes the span of a batch, linked with the calls in it, and in each of these the span of its wait."""
        if not timing.marks:
            return
        to_clock = time_ns() - round(perf_counter() * 1e9)

        def at(instant: float) -> int:
            return to_clock + round(instant * 1e9)

        marks = [mark for mark in timing.marks if isinstance(mark, CommandMark)]
        commit = self._tracer.start_span(
            "ledger commit",
            Context(),
            links=[Link(mark.caller.get_span_context()) for mark in marks],
            attributes={"rear.commands": timing.commands, "rear.events": timing.events},
            start_time=at(timing.began),
        )
        inside = trace.set_span_in_context(commit, Context())
        for name, began, ended in (
            ("append", timing.began, timing.appended),
            ("anchor", timing.appended, timing.anchored),
        ):
            self._tracer.start_span(name, inside, start_time=at(began)).end(at(ended))
        commit.end(at(timing.anchored))
        link = [Link(commit.get_span_context())]
        for mark in marks:
            wait = self._tracer.start_span(
                "await commit",
                trace.set_span_in_context(mark.caller, Context()),
                links=link,
                start_time=mark.decided_at,
            )
            wait.end(at(timing.anchored))


class CommandMark:
    """One command of a call that is traced."""

    __slots__ = ("_deciding", "caller", "decided_at")

    def __init__(self, tracer: trace.Tracer, caller: Span) -> None:
        self.caller = caller
        self.decided_at = 0
        self._deciding = tracer.start_span("decide")

    def decided(self) -> None:
        """Ends the span of the decision."""
        self.decided_at = time_ns()
        self._deciding.end(self.decided_at)


def _incoming(context: grpc.aio.ServicerContext[Any, Any]) -> Context:
    """The trace that the caller's metadata names (W3C trace context)."""
    metadata = context.invocation_metadata() or ()
    return propagate.extract({key: value for key, value in metadata if isinstance(value, str)})


def _about(rpc: str) -> dict[str, str]:
    service, _, method = rpc.rpartition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def _end_with(span: Span, error: BaseException, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    code = code_of(error, context)
    span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
    if isinstance(error.__cause__, Refusal):
        span.set_attribute("rear.reason", error.__cause__.reason)
    if code in FAULTS:
        span.set_status(Status(StatusCode.ERROR, code))
