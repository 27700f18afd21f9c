"""The library's infrastructure factory: from the environment to recorders."""

from __future__ import annotations

import threading
from typing import TypeVar

from eventsourcing.persistence import InfrastructureFactory, InterfaceError
from eventsourcing.utils import Environment, EnvType, resolve_topic

from rear.ledger.stream_recorder import StreamRecorder
from rear.ledger.stream_thread import StreamThread
from rear.persistence.recorders import (
    JetStreamAggregateRecorder,
    JetStreamApplicationRecorder,
    JetStreamProcessRecorder,
    JetStreamRecorder,
    JetStreamTrackingRecorder,
)
from rear.persistence.records import Records
from rear.persistence.settings import may_create, read_settings
from rear.persistence.stream import RecordStream

R = TypeVar("R", bound=JetStreamRecorder)


class JetStreamFactory(InfrastructureFactory[JetStreamTrackingRecorder]):
    """Makes recorders that share one connection, which is opened with the first and ends with `close`.

    Raises OSError for an environment that is not complete, naming the variable.
    """

    aggregate_recorder_class = JetStreamAggregateRecorder
    application_recorder_class = JetStreamApplicationRecorder
    tracking_recorder_class = JetStreamTrackingRecorder
    process_recorder_class = JetStreamProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        """Reads the environment, and connects to nothing yet."""
        super().__init__(env)
        self._settings = read_settings(self.env)
        self._lock = threading.Lock()
        self._thread: StreamThread | None = None
        self._made: list[StreamRecorder] = []
        self._closed = False

    def aggregate_recorder(self, purpose: str = "events") -> JetStreamAggregateRecorder:
        """A recorder on the stream of that purpose."""
        return self._recorder(self.aggregate_recorder_class, purpose)

    def application_recorder(self) -> JetStreamApplicationRecorder:
        """A recorder of the application's events; APPLICATION_RECORDER_TOPIC names another class."""
        return self._recorder(self._named(self.APPLICATION_RECORDER_TOPIC, self.application_recorder_class), "events")

    def tracking_recorder(
        self, tracking_recorder_class: type[JetStreamTrackingRecorder] | None = None
    ) -> JetStreamTrackingRecorder:
        """A recorder of trackings on a stream of their own; TRACKING_RECORDER_TOPIC names another class."""
        named = tracking_recorder_class or self._named(self.TRACKING_RECORDER_TOPIC, self.tracking_recorder_class)
        return self._recorder(named, "tracking")

    def process_recorder(self) -> JetStreamProcessRecorder:
        """A recorder of events with their trackings; PROCESS_RECORDER_TOPIC names another class."""
        return self._recorder(self._named(self.PROCESS_RECORDER_TOPIC, self.process_recorder_class), "events")

    def close(self) -> None:
        """Stops all subscriptions and disconnects."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        for recorder in self._made:
            recorder.close()
        if thread is not None:
            thread.close()

    def _named(self, key: str, default: type[R]) -> type[R]:
        topic = self.env.get(key)
        named: type[R] = resolve_topic(topic) if topic else default
        if not issubclass(named, default):
            raise TypeError(f"{key} names {topic}, which is no {default.__name__}")
        return named

    def _recorder(self, kind: type[R], purpose: str) -> R:
        name = self._settings.stream(self.env.name, purpose)
        subject = self._settings.subject(self.env.name, purpose)
        thread = self._connected()
        stream = RecordStream(thread.connection, name, [f"{subject}.>"], replicas=self._settings.servers.replicas)
        recorder = kind(thread, Records(stream, subject, patience=self._settings.timeout))
        thread.call(stream.ensure() if may_create(self.env) else stream.verify())
        if isinstance(recorder, StreamRecorder):
            self._made.append(recorder)
        return recorder

    def _connected(self) -> StreamThread:
        with self._lock:
            if self._closed:
                raise InterfaceError("the factory is closed")
            if self._thread is None:
                settings = self._settings
                self._thread = StreamThread(settings.endpoint, "recorder", connect_timeout=settings.connect_timeout)
            return self._thread
