"""The operations endpoint: whether a service lives, whether it is ready and why not, and its metrics, over HTTP.

It has a thread and a loop of its own, so that it answers also while the service's loop is busy reading a large ledger,
or stands still: then it says so.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Any, Final, Self

from aiohttp import web

from rear.operations.metrics import Metrics
from rear.operations.watching import OperationsPortTaken
from rear.readiness import Readiness, Reason

LATE: Final = 2.0
"""Seconds without a turn of the service's loop after which it is not ready."""

DEAD: Final = 60.0
"""Seconds without a turn after which it counts as dead. A large table is read in one piece."""

ENDS_WITHIN: Final = 5.0


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
        self._loop = asyncio.new_event_loop()
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
            family, kind, protocol, _, place = socket.getaddrinfo(
                self._host.strip("[]"), self.port, type=socket.SOCK_STREAM
            )[0]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(place)
                listener.listen()
            except OSError:
                listener.close()
                raise
        except OSError as error:
            raise OperationsPortTaken(
                f"the operations endpoint cannot listen on {self.address}: {error.strerror}"
            ) from error
        self.port = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(listener,), name="operations", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answers no more."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(ENDS_WITHIN)

    def _serve(self, listener: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._show_metrics),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.SockSite(runner, listener).start())
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    async def _livez(self, _: web.Request) -> web.Response:
        still = monotonic() - self._readiness.report.seen
        if still > DEAD:
            return web.Response(status=503, text=f"the event loop has stood still for {still:.0f} s\n")
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        document = self.document()
        return web.json_response(document, status=200 if document["ready"] else 503)

    async def _show_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposed(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

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


def _reason(reason: Reason) -> dict[str, str]:
    return {"what": reason.what, "why": reason.why, "since": _written(reason.since)}


def _written(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
