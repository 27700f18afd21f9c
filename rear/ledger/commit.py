"""What passes between a writer, those who ask it, and those who listen to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from rear.domain.events import AnyEvent
from rear.domain.state import Step
from rear.domain.value import value
from rear.domain.window import Instant
from rear.ledger.position import Position

T = TypeVar("T")


@value
class Decision(Generic[T]):
    """What a command comes to: the events that make it so (none: nothing changes), and its answer."""

    events: Sequence[AnyEvent]
    answer: T


@value
class Outcome(Generic[T]):
    """A durable answer, and the position of the ledger at which it stands."""

    answer: T
    position: Position


Decide = Callable[[Instant], Decision[T]]


@value
class Committed:
    """A durable step: the event, its place in the ledger, its bytes there, and the aggregate after it."""

    sequence: int
    hash: str
    payload: bytes
    step: Step


class CommitListener(Protocol):
    """Is told of every batch, in order, once it is durable and before its callers are answered."""

    def committed(self, batch: Sequence[Committed]) -> None:
        """Takes notice of a batch. Must not block."""
        ...


@value
class Identity:
    """Who writes: the service's token in subjects and its `spiffe://` identity."""

    service: str
    source: str


class Mark(Protocol):
    """Stands for one command while it is decided and waits, to whoever follows it."""

    def decided(self) -> None:
        """It is decided, and waits for its batch."""
        ...


@value
class Timing:
    """One batch: what it held, and when (`time.perf_counter`) it began, was acknowledged, and was anchored."""

    commands: int
    events: int
    marks: Sequence[Mark]
    began: float
    appended: float
    anchored: float


class CommitObserver(Protocol):
    """Is told of each batch with events that has become durable, before its callers are answered."""

    def timed(self, timing: Timing) -> None:
        """Takes notice. Must not block."""
        ...
