"""A second door to a service's ledger, for the `eventsourcing` library: its recorder, reading.

The library is synchronous and threaded; a recorder runs its own connection on an event loop in a thread of its own,
and may be called from any thread. A ledger is written by its writer only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from eventsourcing.application import ProjectorFunction, Repository
from eventsourcing.domain import TDomainEvent, TMutableOrImmutableAggregate
from eventsourcing.persistence import (
    ApplicationRecorder,
    DatabaseError,
    EventStore,
    InterfaceError,
    ListenNotifySubscription,
    Mapper,
    Notification,
    NotSupportedError,
    OperationalError,
    StoredEvent,
    Subscription,
)

from rear.domain.events import AggregateType
from rear.ledger.codec import decode, subject_for
from rear.ledger.connection import Connection, Endpoint
from rear.ledger.errors import LedgerError, LedgerUnavailable, OutcomeUnknown
from rear.ledger.store import stream_name, stream_subjects
from rear.ledger.stream import EventStream, Stored

T = TypeVar("T")

CONNECT_TIMEOUT: Final = 20.0
"""Seconds to wait for the server when a recorder is made."""

LOOK_EVERY: Final = 0.1
"""Seconds between looks for what subscribers have not seen yet."""

PAGE: Final = 1_000
"""Messages that are asked for at once."""


class StreamThread:
    """One stream and its connection, on an event loop in a thread of its own; for callers without a loop."""

    def __init__(self, endpoint: Callable[[], Endpoint], name: str, subjects: Sequence[str]) -> None:
        """Connects. Raises the library's OperationalError where there is no server within CONNECT_TIMEOUT."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"recorder-{name}", daemon=True)
        self._thread.start()
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._connection, self.stream = self.call(self._open(endpoint, name, subjects))
        except BaseException:
            self._end()
            raise

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns. Ledger errors come as the library's; must not be called on the thread itself."""
        with self._lock:
            if self._closed:
                work.close()
                raise InterfaceError("the recorder is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except (LedgerUnavailable, OutcomeUnknown) as error:
            if self._closed:
                raise InterfaceError("the recorder was closed") from error
            raise OperationalError(str(error)) from error
        except LedgerError as error:
            raise DatabaseError(str(error)) from error
        except asyncio.CancelledError as error:
            raise InterfaceError("the recorder was closed") from error

    def close(self) -> None:
        """Disconnects and ends the thread. Whoever waits for an answer gets an InterfaceError."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result()
        self._end()

    async def _open(
        self, endpoint: Callable[[], Endpoint], name: str, subjects: Sequence[str]
    ) -> tuple[Connection, EventStream]:
        connection = Connection(endpoint, name=f"recorder-{name}")
        await connection.open(CONNECT_TIMEOUT)
        return connection, EventStream(connection, name, subjects)

    async def _leave(self) -> None:
        await self._connection.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class LedgerRecorder(ApplicationRecorder):
    """Reads one service's ledger for the library: the aggregates of one type, and notifications of all types.

    A notification's id is the event's sequence in the ledger. It reads what is durable, and proves no hashes:
    that is the audit's task. Errors are the library's: OperationalError where the ledger cannot be reached,
    DatabaseError where it cannot be read, InterfaceError once it is closed.
    """

    def __init__(self, endpoint: Callable[[], Endpoint], service: str, aggregate: AggregateType) -> None:
        """`endpoint` is asked before each attempt to connect."""
        self._service = service
        self._aggregate = aggregate
        self._following: set[TailSubscription] = set()
        self._lock = threading.Lock()
        self._events = StreamThread(endpoint, stream_name(service), stream_subjects(service))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops all subscriptions and disconnects."""
        with self._lock:
            following = list(self._following)
        for subscription in following:
            subscription.finish()
        self._events.close()

    # -- writing -------------------------------------------------------------------------------------------

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Always raises NotSupportedError, and writes nothing."""
        raise NotSupportedError(
            f"the ledger of {self._service} is written by its writer only; this recorder reads it. "
            "Ask the service to change something, or record your own events on a stream of their own"
        )

    # -- reading -------------------------------------------------------------------------------------------

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
        found = self._events.call(self._of_aggregate(subject, gt, lte, enough))
        return found[::-1][:limit] if desc else found

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """At most `limit` events by their place in the ledger; topics are names of event classes."""
        first = 1 if start is None else start
        if start is not None and not inclusive_of_start:
            first += 1
        if limit <= 0:
            return []
        return self._events.call(self._in_order(max(first, 1), limit, stop, frozenset(topics)))

    def max_notification_id(self) -> int | None:
        """The ledger's last sequence; None where it is empty."""
        return self._events.call(self._events.stream.tip()) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Notifications after `gt`, and then those to come, until it is stopped or the recorder is closed."""
        return TailSubscription(self, gt, topics)

    # -- what a recorder on other streams does differently ---------------------------------------------------

    def _subject(self, originator_id: str) -> str | None:
        """The aggregate's subject; None where no aggregate can have that id."""
        try:
            return subject_for(self._service, self._aggregate.value, originator_id)
        except ValueError:
            return None

    def _stored_event(self, message: Stored) -> StoredEvent:
        """The message as the library keeps an event."""
        event = decode(message.payload).event
        return StoredEvent(event.originator_id, event.originator_version, type(event).__name__, message.payload)

    # -- on the thread -------------------------------------------------------------------------------------

    async def _of_aggregate(
        self, subject: str, gt: int | None, lte: int | None, enough: int | None
    ) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        async for page in self._events.stream.pages(1, subject=subject, page=PAGE):
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

    async def _in_order(self, first: int, limit: int, stop: int | None, topics: frozenset[str]) -> list[Notification]:
        found: list[Notification] = []
        size = PAGE if topics else min(limit, PAGE)
        async for page in self._events.stream.pages(first, end=stop, page=size):
            for message in page:
                event = self._stored_event(message)
                if topics and event.topic not in topics:
                    continue
                found.append(Notification(**vars(event), id=message.sequence))
                if len(found) == limit:
                    return found
        return found

    def _follow(self, subscription: TailSubscription) -> None:
        with self._lock:
            self._following.add(subscription)

    def _unfollow(self, subscription: TailSubscription) -> None:
        with self._lock:
            self._following.discard(subscription)


class TailSubscription(ListenNotifySubscription[LedgerRecorder]):
    """Follows a ledger: looks for new events every LOOK_EVERY seconds."""

    def __init__(self, recorder: LedgerRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        self._stopping = threading.Event()
        super().__init__(recorder, gt, topics)
        recorder._follow(self)
        self._ticking = threading.Thread(target=self._tick, name="recorder-tail", daemon=True)
        self._ticking.start()

    def stop(self) -> None:
        """Ends the iteration."""
        self._stopping.set()
        super().stop()
        self._recorder._unfollow(self)

    def finish(self) -> None:
        """Ends the iteration, and waits for what it is just reading."""
        self.stop()
        self._pull_thread.join()

    def _tick(self) -> None:
        while not self._stopping.wait(LOOK_EVERY):
            self._has_been_notified.set()


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
