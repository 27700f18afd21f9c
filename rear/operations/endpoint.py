"""The operations endpoint: whether a service lives, whether it is ready and why not, and its metrics, over HTTP.

It has threads of its own, so that it answers also while the service's loop is busy reading a large ledger,
or stands still: then it says so.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from time import monotonic
from typing import Any, Final, Self
from urllib.parse import urlsplit

import structlog

from rear.operations.metrics import Metrics
from rear.operations.watching import OperationsPortTaken
from rear.readiness import Readiness, Reason

log = structlog.get_logger(__name__)

LATE: Final = 2.0
"""Seconds without a turn of the service's loop after which it is not ready."""

DEAD: Final = 60.0
"""Seconds without a turn after which it counts as dead. A large table is read in one piece."""

STOPS_WITHIN: Final = 0.05
"""Seconds between looks at whether it should stop."""

PATIENCE: Final = 10.0
"""Seconds that a client may take for its request."""

MOST: Final = 64
"""Connections at a time. One more ends the oldest: descriptors are needed by the ledger and its buyers."""

PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer over HTTP."""

    status: int
    content_type: str
    body: bytes


class OperationsEndpoint:
    """Answers /livez, /readyz and /metrics from `start` to `stop`. To be used as a context manager."""

    def __init__(
        self, host: str, port: int, provider_id: str, readiness: Readiness, metrics: Metrics, *, late: float = LATE
    ) -> None:
        """`port` 0 takes a free one; `port` says which. `late`: seconds without a turn that make it unready."""
        self.port = port
        self._host = host
        self._provider_id = provider_id
        self._readiness = readiness
        self._metrics = metrics
        self._late = late
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self._host}:{self.port}"

    def start(self) -> None:
        """Begins to answer. Raises OperationsPortTaken."""
        try:
            family, _, _, _, place = socket.getaddrinfo(self._host.strip("[]"), self.port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(family, (str(place[0]), int(place[1])), self)
        except OSError as error:
            raise OperationsPortTaken(
                f"the operations endpoint cannot listen on {self.address}: {error.strerror}"
            ) from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOPS_WITHIN,), name="operations", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Answers no more."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def answer(self, path: str, accept: str) -> Answer:
        """What is said to a GET of `path`."""
        if path == "/livez":
            still = monotonic() - self._readiness.report.seen
            if still > DEAD:
                return Answer(503, PLAIN, f"the event loop has stood still for {still:.0f} s\n".encode())
            return Answer(200, PLAIN, b"ok\n")
        if path == "/readyz":
            document = self.document()
            return Answer(200 if document["ready"] else 503, "application/json", json.dumps(document).encode())
        if path == "/metrics":
            body, content_type = self._metrics.exposed(accept)
            return Answer(200, content_type, body)
        return Answer(404, PLAIN, b"there are /livez, /readyz and /metrics\n")

    def document(self) -> Mapping[str, Any]:
        """What /readyz says."""
        report = self._readiness.report
        reasons = [_reason(reason) for reason in report.reasons]
        still = monotonic() - report.seen
        if still > self._late:
            reasons.append({"what": "event loop", "why": f"it has stood still for {still:.1f} s"})
        return {
            "ready": not reasons,
            "role": report.role.value,
            "provider_id": self._provider_id,
            **report.facts,
            "reasons": reasons,
            "warnings": [_reason(warning) for warning in report.warnings],
        }


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    request_queue_size = 2 * MOST

    def __init__(self, family: socket.AddressFamily, place: tuple[str, int], endpoint: OperationsEndpoint) -> None:
        self.address_family = family
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        super().__init__(place, partial(_Handler, endpoint))

    def server_bind(self) -> None:
        # Not that of HTTPServer, which asks the resolver for a name that nobody needs, and may wait for it.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= MOST:
                self._end(next(iter(self._open)))
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
            super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            for request in list(self._open):
                self._end(request)

    def _end(self, request: socket.socket) -> None:
        """Lets its thread find the connection at its end; under the lock, so that it is not closed meanwhile."""
        del self._open[request]
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):  # a client that went away is nobody's trouble
            log.error("the operations endpoint failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server_version = "rear"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    wbufsize = -1  # an answer goes out as one: its body would wait for the client to acknowledge its head

    def __init__(self, endpoint: OperationsEndpoint, *args: Any) -> None:
        self._endpoint = endpoint
        super().__init__(*args)

    def do_GET(self) -> None:
        answer = self._endpoint.answer(urlsplit(self.path).path, self.headers.get("Accept", ""))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a probe comes every few seconds."""


def _reason(reason: Reason) -> dict[str, str]:
    return {"what": reason.what, "why": reason.why, "since": _written(reason.since)}


def _written(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
