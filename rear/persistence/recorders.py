"""The library's recorders on JetStream. They may be called from any thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    DataError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)

from rear.ledger.message import Stored
from rear.ledger.stream_recorder import StreamRecorder
from rear.ledger.stream_thread import StreamThread
from rear.persistence.records import Records


class JetStreamRecorder:
    """What recorders have in common: a thread with a connection, and the records of one stream."""

    def __init__(self, thread: StreamThread, records: Records) -> None:
        """The records' stream is over the thread's connection."""
        super().__init__()
        self._thread = thread
        self._records = records

    def _insert(self, events: Sequence[StoredEvent], tracking: Tracking | None = None) -> list[int]:
        try:
            return self._thread.call(self._records.insert(events, tracking))
        except ValueError as error:
            raise DataError(f"{error}; nothing was recorded") from error


class JetStreamAggregateRecorder(JetStreamRecorder, AggregateRecorder):
    """Records the events of aggregates, or their snapshots."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Records all events or none.

        Raises IntegrityError where a version is recorded already, NotSupportedError for more than 1,000 events,
        DataError for one that is too large or whose aggregate's id is too long, and OperationalError where the
        server cannot be reached: its text says whether the outcome is known.
        """
        self._insert(stored_events)
        return None

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
        return self._thread.call(self._records.select(str(originator_id), gt, lte, desc=desc, limit=limit))


class JetStreamApplicationRecorder(JetStreamAggregateRecorder, StreamRecorder):
    """Records the events of an application in one order; a notification's id is its place in the stream."""

    def __init__(self, thread: StreamThread, records: Records) -> None:
        """As for every recorder here."""
        StreamRecorder.__init__(self, thread, records.stream)
        self._records = records

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """The same, and returns the notification ids."""
        found = self._insert(stored_events)
        self._tell_followers()
        return found

    def max_notification_id(self) -> int | None:
        """The newest notification's id; None where there is none."""
        return self._thread.call(self._records.last_event())

    def _stored_event(self, message: Stored) -> StoredEvent | None:
        return self._records.read_event(message)


class JetStreamTrackingRecorder(JetStreamRecorder, TrackingRecorder):
    """Records how far notifications of other applications were processed."""

    def insert_tracking(self, tracking: Tracking) -> None:
        """Raises IntegrityError where the application was tracked as far already."""
        self._insert([], tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """How far the application was tracked; None where it was not."""
        return self._thread.call(self._records.tracked(application_name))


class JetStreamProcessRecorder(JetStreamTrackingRecorder, JetStreamApplicationRecorder, ProcessRecorder):
    """Records events and the tracking of what caused them in one commit.

    A tracking takes a place in the stream, so the ids of notifications have gaps there.
    """

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """The same, together with the tracking that is named `tracking`: both or none."""
        found = self._insert(stored_events, kwargs.get("tracking"))
        self._tell_followers()
        return found
