"""AuditService: the ledger as it is, at the edge."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from rear.domain.events import AggregateType
from rear.domain.refusals import InvalidField, NotWriter
from rear.event.v1.envelope_pb2 import Envelope
from rear.ledger.commit import Committed
from rear.ledger.position import Position, parse_position
from rear.ledger.stream import EventStream, Stored
from rear.managers.provider.provider import Provider
from rear.rpc.answering import Context, Gate, streamed
from rear.v1 import audit_service_pb2 as pb
from rear.v1 import audit_service_pb2_grpc

LARGEST_LAST: Final = 100_000
LARGEST_RESPONSE: Final = 1024 * 1024
"""Bytes of events in one message of the stream: clients take 4 MiB by default."""
SUBJECT_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
AGGREGATE_TYPES: Final = tuple(kind.value for kind in AggregateType)


class CommitSignal:
    """A writer's listener that wakes whoever follows the ledger, for news and for the end."""

    def __init__(self) -> None:
        self._moved = asyncio.Event()

    def committed(self, batch: Sequence[Committed]) -> None:
        """Wakes all, for a new batch."""
        self.wake()

    def wake(self) -> None:
        """Wakes all, to look again."""
        self._moved.set()
        self._moved = asyncio.Event()

    def waiting(self) -> asyncio.Event:
        """Set at the next batch or `wake` after this call."""
        return self._moved


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Reads this service's ledger."""

    def __init__(self, stream: EventStream, provider: Provider, service: str, signal: CommitSignal, gate: Gate) -> None:
        self.gate = gate
        self._stream = stream
        self._provider = provider
        self._service = service
        self._signal = signal

    @streamed
    async def ReadEvents(
        self, request: pb.ReadEventsRequest, context: Context
    ) -> AsyncGenerator[pb.ReadEventsResponse, None]:
        """Streams events in their order."""
        async with aclosing(self._read(request)) as responses:
            async for response in responses:
                yield response

    async def _read(self, request: pb.ReadEventsRequest) -> AsyncGenerator[pb.ReadEventsResponse, None]:
        subject = self._subject(request)
        after = self._after(request)
        if request.last:
            after = await self._before_last(request.last, subject)
        left = request.limit if request.limit > 0 else None
        while True:
            moved = self._signal.waiting()
            end = self._provider.writer.position.sequence
            if end > after:
                async for page in self._stream.pages(after + 1, end=end, subject=subject):
                    chosen = page if left is None else page[:left]
                    for part in _parts(chosen):
                        yield pb.ReadEventsResponse(events=[self._recorded(stored) for stored in part])
                    if left is not None:
                        left -= len(chosen)
                        if left <= 0:
                            return
                after = end
            if not request.follow:
                return
            self.gate.check()  # a service that stops does not wait for those who would follow it for ever
            lost = self._provider.writer.stepped_down
            if lost is not None:  # and may be the writer again by now, but not this one
                raise NotWriter(lost.endpoint, because=str(lost))
            await moved.wait()

    def _after(self, request: pb.ReadEventsRequest) -> int:
        own = self._provider.writer.position
        if request.limit < 0:
            raise InvalidField("limit", f"is {request.limit}; it must not be negative")
        if request.last:
            if request.after_position:
                raise InvalidField("last", "does not go with after_position")
            if not 0 < request.last <= LARGEST_LAST:
                raise InvalidField("last", f"is {request.last}; it must be from 1 to {LARGEST_LAST}")
            return 0
        if not request.after_position:
            return 0
        position = parse_position(request.after_position)
        if position is None:
            raise InvalidField("after_position", "is not a position")
        if position.log_id != own.log_id or position.segment != own.segment:
            raise InvalidField("after_position", "is a position of another ledger")
        if position.sequence > own.sequence:
            raise InvalidField("after_position", "is a position that this ledger has not reached")
        return position.sequence

    async def _before_last(self, count: int, subject: str | None) -> int:
        """The sequence before the last `count` events of a subject: looks back ever further for them."""
        end = self._provider.writer.position.sequence
        if subject is None:
            return max(0, end - count)
        span = max(1_000, 4 * count)
        while True:
            start = max(1, end - span + 1)
            found = [one.sequence async for page in self._stream.pages(start, end=end, subject=subject) for one in page]
            if len(found) >= count:
                return found[-count] - 1
            if start == 1:
                return 0
            span *= 4

    def _subject(self, request: pb.ReadEventsRequest) -> str | None:
        kind, key = request.aggregate_type, request.aggregate_id
        if key and not kind:
            raise InvalidField("aggregate_type", "is required with aggregate_id")
        if not kind:
            return None
        if kind not in AGGREGATE_TYPES:
            raise InvalidField("aggregate_type", f"must be one of {', '.join(AGGREGATE_TYPES)}")
        if key and SUBJECT_TOKEN.fullmatch(key) is None:
            raise InvalidField("aggregate_id", "is not the id of an aggregate")
        return f"rear.log.{self._service}.{kind}.{key or '*'}"

    def _recorded(self, stored: Stored) -> pb.RecordedEvent:
        envelope = Envelope.FromString(stored.payload)
        body = envelope.WhichOneof("body")
        own = self._provider.writer.position
        return pb.RecordedEvent(
            position=str(Position(own.log_id, own.segment, stored.sequence)),
            sequence=stored.sequence,
            subject=stored.subject,
            payload=stored.payload,
            hash=bytes.fromhex(stored.hash),
            event_type=type(getattr(envelope, body)).__name__ if body else "",
            time=envelope.time,
        )


def _parts(page: Sequence[Stored]) -> Iterator[Sequence[Stored]]:
    """The page in parts that fit into a message."""
    begin = size = 0
    for index, stored in enumerate(page):
        if size and size + len(stored.payload) > LARGEST_RESPONSE:
            yield page[begin:index]
            begin, size = index, 0
        size += len(stored.payload)
    if begin < len(page):
        yield page[begin:]
