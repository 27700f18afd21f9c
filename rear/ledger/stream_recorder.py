"""Notifications of a stream for the `eventsourcing` library: selected, and followed."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from eventsourcing.persistence import (
    ApplicationRecorder,
    ListenNotifySubscription,
    Notification,
    StoredEvent,
    Subscription,
)

from rear.ledger.message import Stored
from rear.ledger.stream import EventStream
from rear.ledger.stream_thread import StreamThread

LOOK_EVERY: Final = 0.1
"""Seconds between looks for what subscribers have not seen yet."""

PAGE: Final = 1_000
"""Messages that are asked for at once."""


class StreamRecorder(ApplicationRecorder):
    """A recorder over one stream. A notification's id is its message's sequence.

    Errors are the library's: OperationalError where the stream cannot be reached, ProgrammingError where there is
    none, DatabaseError where it cannot be read, InterfaceError once it is closed.
    """

    def __init__(self, thread: StreamThread, stream: EventStream) -> None:
        """`stream` is one over the thread's connection."""
        super().__init__()
        self._thread = thread
        self._stream = stream
        self._following: set[TailSubscription] = set()
        self._lock = threading.Lock()

    @abstractmethod
    def _stored_event(self, message: Stored) -> StoredEvent | None:
        """The message as the library keeps an event; None where it is none."""

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """At most `limit` events by their place in the stream; topics are names of event classes."""
        first = 1 if start is None else start
        if start is not None and not inclusive_of_start:
            first += 1
        if limit <= 0:
            return []
        return self._thread.call(self._in_order(max(first, 1), limit, stop, frozenset(topics)))

    def max_notification_id(self) -> int | None:
        """The stream's last sequence; None where it is empty."""
        return self._thread.call(self._stream.tip()) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Notifications after `gt`, and then those to come, until it is stopped or the recorder is closed."""
        return TailSubscription(self, gt, topics)

    def close(self) -> None:
        """Stops all subscriptions."""
        for subscription in self._followers():
            subscription.finish()

    def _tell_followers(self) -> None:
        """Lets subscriptions look at once."""
        for subscription in self._followers():
            subscription.look()

    async def _in_order(self, first: int, limit: int, stop: int | None, topics: frozenset[str]) -> list[Notification]:
        found: list[Notification] = []
        size = PAGE if topics else min(limit, PAGE)
        async for page in self._stream.pages(first, end=stop, page=size):
            for message in page:
                event = self._stored_event(message)
                if event is None or (topics and event.topic not in topics):
                    continue
                found.append(Notification(**vars(event), id=message.sequence))
                if len(found) == limit:
                    return found
        return found

    def _followers(self) -> list[TailSubscription]:
        with self._lock:
            return list(self._following)

    def _follow(self, subscription: TailSubscription) -> None:
        with self._lock:
            self._following.add(subscription)

    def _unfollow(self, subscription: TailSubscription) -> None:
        with self._lock:
            self._following.discard(subscription)


class TailSubscription(ListenNotifySubscription[StreamRecorder]):
    """Follows a stream: looks for new events every LOOK_EVERY seconds, and when it is told to."""

    def __init__(self, recorder: StreamRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        self._stopping = threading.Event()
        super().__init__(recorder, gt, topics)
        recorder._follow(self)
        self._ticking = threading.Thread(target=self._tick, name="recorder-tail", daemon=True)
        self._ticking.start()

    def look(self) -> None:
        """Looks for new events now."""
        self._has_been_notified.set()

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
            self.look()
