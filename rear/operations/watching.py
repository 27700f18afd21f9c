"""Puts the instruments that an operator asked for on a service, and takes them off. Imports none that was not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from rear.operations.instrument import Instrument
    from rear.readiness import Readiness


class OperationsPortTaken(Exception):
    """The operations endpoint cannot listen where it should."""


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """What an operator wants to see of a service: over HTTP at `ops`, a host and a port."""

    ops: tuple[str, int] | None = None


@contextmanager
def watched(view: View, provider_id: str, readiness: Readiness, instruments: list[Instrument]) -> Iterator[None]:
    """Adds to `instruments`, for a service that has not begun. Raises OperationsPortTaken."""
    with ExitStack() as stack:
        if view.ops is not None:
            from rear.operations.endpoint import OperationsEndpoint
            from rear.operations.metrics import Metrics

            metrics = Metrics(readiness)
            instruments.append(metrics)
            host, port = view.ops
            endpoint = stack.enter_context(OperationsEndpoint(host, port, provider_id, readiness, metrics))
            log.info("operations endpoint", address=endpoint.address)
        yield
