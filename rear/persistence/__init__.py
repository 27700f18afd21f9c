"""A persistence module for the `eventsourcing` library on NATS JetStream: `PERSISTENCE_MODULE=rear.persistence`.

It records on streams of its own, one for each application and purpose, and needs nothing of this package but a
NATS server. docs/persistence.md has its environment variables, its guarantees and its limits.
"""

from rear.persistence.factory import JetStreamFactory
from rear.persistence.recorders import (
    JetStreamAggregateRecorder,
    JetStreamApplicationRecorder,
    JetStreamProcessRecorder,
    JetStreamTrackingRecorder,
)

__all__ = [
    "Factory",
    "JetStreamAggregateRecorder",
    "JetStreamApplicationRecorder",
    "JetStreamFactory",
    "JetStreamProcessRecorder",
    "JetStreamTrackingRecorder",
]

Factory = JetStreamFactory
