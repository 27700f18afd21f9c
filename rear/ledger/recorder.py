"""A second door to a service's ledger, for the `eventsourcing` library: its recorder, reading.

A ledger is written by its writer only; `rear.persistence` writes, on streams of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from eventsourcing.application import ProjectorFunction, Repository
from eventsourcing.domain import TDomainEvent, TMutableOrImmutableAggregate
from eventsourcing.persistence import ApplicationRecorder, EventStore, Mapper, NotSupportedError, StoredEvent

from rear.domain.events import AggregateType
from rear.ledger.codec import decode, subject_for
from rear.ledger.connection import Endpoint
from rear.ledger.message import Stored
from rear.ledger.store import stream_name, stream_subjects
from rear.ledger.stream import EventStream
from rear.ledger.stream_recorder import PAGE, StreamRecorder
from rear.ledger.stream_thread import StreamThread


class LedgerRecorder(StreamRecorder):
    """Reads one service's ledger for the library: the aggregates of one type, and notifications of all types.

    A notification's id is the event's sequence in the ledger. It reads what is durable, and proves no hashes:
    that is the audit's task.
    """

    def __init__(self, endpoint: Callable[[], Endpoint], service: str, aggregate: AggregateType) -> None:
        """`endpoint` is asked before each attempt to connect."""
        self._service = service
        self._aggregate = aggregate
        thread = StreamThread(endpoint, f"recorder-{service}")
        super().__init__(thread, EventStream(thread.connection, stream_name(service), stream_subjects(service)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops all subscriptions and disconnects."""
        super().close()
        self._thread.close()

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Always raises NotSupportedError, and writes nothing."""
        raise NotSupportedError(
            f"the ledger of {self._service} is written by its writer only; this recorder reads it. "
            "Ask the service to change something, or record your own events with rear.persistence"
        )

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The aggregate's events by version, as asked for; none where there is no such aggregate."""
        subject = self._subject(str(originator_id))
        if subject is None or (limit is not None and limit <= 0):
            return []
        enough = None if desc else limit
        found = self._thread.call(self._of_aggregate(subject, gt, lte, enough))
        return found[::-1][:limit] if desc else found

    def _subject(self, originator_id: str) -> str | None:
        """The aggregate's subject; None where no aggregate can have that id."""
        try:
            return subject_for(self._service, self._aggregate.value, originator_id)
        except ValueError:
            return None

    def _stored_event(self, message: Stored) -> StoredEvent:
        event = decode(message.payload).event
        return StoredEvent(event.originator_id, event.originator_version, type(event).__name__, message.payload)

    async def _of_aggregate(
        self, subject: str, gt: int | None, lte: int | None, enough: int | None
    ) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        async for page in self._stream.pages(1, subject=subject, page=PAGE):
            for message in page:
                event = self._stored_event(message)
                if gt is not None and event.originator_version <= gt:
                    continue
                if lte is not None and event.originator_version > lte:
                    return found
                found.append(event)
                if len(found) == enough:
                    return found
        return found


def repository(recorder: ApplicationRecorder, mapper: Mapper[str]) -> Repository[str]:
    """The library's repository over `recorder`, which gives aggregates as the writer has them.

    `repository(recorder, LedgerMapper(…)).get(pool_id, projector_func=project(pool.evolve))`; with `version` an
    aggregate as it was. It keeps no cache: the values are immutable, but the ledger goes on.
    """
    return Repository(EventStore(mapper, recorder))


def project(
    evolve: Callable[[TMutableOrImmutableAggregate | None, TDomainEvent], TMutableOrImmutableAggregate],
) -> ProjectorFunction[TMutableOrImmutableAggregate, TDomainEvent]:
    """A pure `evolve(aggregate, event)` as the library's projector."""

    def projector(
        aggregate: TMutableOrImmutableAggregate | None, events: Iterable[TDomainEvent]
    ) -> TMutableOrImmutableAggregate | None:
        for event in events:
            aggregate = evolve(aggregate, event)
        return aggregate

    return projector
