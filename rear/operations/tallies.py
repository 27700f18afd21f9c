"""What is counted while a service works: plain numbers, that a scrape reads when it comes.

They are written by the service's loop alone and read by another thread, one number at a time: a scrape may see a call
in the count and not yet in the sum, and the next one has it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import Any, Final

import grpc

from rear.domain.event import Event
from rear.domain.link import LinkVerb
from rear.domain.link_events import LinkObserved, LinkUndone
from rear.domain.purchase import Purchase
from rear.domain.refusals import Refusal
from rear.domain.request_events import RequestReady
from rear.domain.service_request import ServiceRequest
from rear.domain.window import SECOND
from rear.ledger.commit import Committed, Timing
from rear.rpc.surrounding import Stream, Unary

LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


class Distribution:
    """How many values fell under each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Takes a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class CallTally:
    """The calls of one RPC."""

    __slots__ = ("codes", "open", "reasons", "seconds")

    def __init__(self) -> None:
        self.open = 0
        self.seconds = Distribution(LATENCIES)
        self.codes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def ended(self, error: BaseException, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Counts a call that ended with an error."""
        self.codes[code_of(error, context)] += 1
        if isinstance(error.__cause__, Refusal):
            self.reasons[error.__cause__.reason] += 1


def code_of(error: BaseException, context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The name of the status code with which a call ended that raised `error`."""
    if not isinstance(error, grpc.aio.AbortError):
        return "CANCELLED" if not isinstance(error, Exception) else "UNKNOWN"
    code: Any = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else NAMES.get(code, str(code))


NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}


class Calls:
    """Stands around the handlers of a server, and counts their calls."""

    def __init__(self) -> None:
        self.by_rpc: dict[str, CallTally] = {}

    def unary(self, rpc: str, behaviour: Unary) -> Unary:
        """The handler of a unary call, counted."""
        tally = self.by_rpc[rpc] = CallTally()
        seconds, codes = tally.seconds, tally.codes

        async def counted(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            began = perf_counter()
            tally.open += 1
            try:
                answer = await behaviour(request, context)
            except BaseException as error:
                tally.ended(error, context)
                raise
            else:
                codes["OK"] += 1
                return answer
            finally:
                tally.open -= 1
                seconds.add(perf_counter() - began)

        return counted

    def stream(self, rpc: str, behaviour: Stream) -> Stream:
        """The handler of a call that is answered by a stream, counted. How long one lasts is up to its caller."""
        tally = self.by_rpc[rpc] = CallTally()

        async def counted(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            tally.open += 1
            try:
                async for answer in behaviour(request, context):
                    yield answer
            except GeneratorExit:
                tally.codes["CANCELLED"] += 1
                raise
            except BaseException as error:
                tally.ended(error, context)
                raise
            else:
                tally.codes["OK"] += 1
            finally:
                tally.open -= 1

        return counted


class Commits:
    """A writer's listener and its timekeeper: what was committed, in which batches, and how long that took."""

    def __init__(self) -> None:
        self.events: Counter[type] = Counter()
        self.commands = Distribution(SIZES)
        self.messages = Distribution(SIZES)
        self.append = Distribution(LATENCIES)
        self.anchor = Distribution(LATENCIES)
        self.links: dict[str, Distribution] = {}
        self.ready = Distribution(LATENCIES)

    def committed(self, batch: Sequence[Committed]) -> None:
        """Counts the events of a batch."""
        self.events.update([type(item.step.event) for item in batch])
        for item in batch:
            before = item.step.before
            if isinstance(before, Purchase) and before.pending is not None:
                self._take_link(before.pending.verb, item.step.event)
            elif isinstance(before, ServiceRequest) and isinstance(item.step.event, RequestReady):
                self.ready.add((item.step.event.cause.recorded_at - before.created_at) / SECOND)

    def _take_link(self, verb: LinkVerb, event: Event) -> None:
        if isinstance(event, LinkObserved | LinkUndone) and event.elapsed is not None:
            self.links.setdefault(verb.value, Distribution(LATENCIES)).add(event.elapsed / SECOND)

    def timed(self, timing: Timing) -> None:
        """Takes what a batch held, and how long it took."""
        self.commands.add(timing.commands)
        self.messages.add(timing.events)
        self.append.add(timing.appended - timing.began)
        self.anchor.add(timing.anchored - timing.appended)
