"""The one writer of a ledger: decides in memory, commits in groups, answers only what is durable.

A command is decided at once against the newest state, also where that is not acknowledged yet, and waits. While
one batch is in flight the next one fills. What comes back to the caller (an answer, and a refusal too) waits for
every batch that it rests on. Commands without events pass through the same queue, so that this holds for all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, TypeVar, cast

import structlog

from rear import failpoints
from rear.background import end
from rear.domain.events import AnyEvent
from rear.domain.refusals import InvalidField, NotWriter, OutcomePending, TryAgain
from rear.domain.state import State, Step
from rear.domain.window import SECOND, Duration, Instant
from rear.ledger.anchor import Anchor, AnchorPoint
from rear.ledger.commit import (
    CommitListener,
    CommitObserver,
    Committed,
    Decide,
    Decision,
    Identity,
    Mark,
    Outcome,
    Timing,
)
from rear.ledger.errors import LedgerError, LedgerUnavailable
from rear.ledger.landing import RETRY_PAUSE, Landing, SteppedDown
from rear.ledger.position import Position
from rear.ledger.sealing import seal
from rear.ledger.sources import Clock, Ids
from rear.ledger.stream import MAX_BATCH, EventStream, Outgoing

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_EVENTS: Final = 300
"""Events of one command."""

MAX_WAITING: Final = 20_000
"""Commands that may wait before more are turned away."""

FULL_ENOUGH: Final = 64
"""Commands with which a batch goes out at once."""

QUIET_TURNS: Final = 20
"""Turns of the loop without a new command after which a batch goes out as it is."""

LOOK_AGAIN: Final = 0.5
"""Seconds between looks at whether the ledger can be written again, while nobody tries."""

CLOSE_TIMEOUT: Final = 10.0
"""Seconds that what is under way is given when the writer closes."""


@dataclass(slots=True)
class _Command:
    decide: Callable[[Instant], Decision[object]]
    future: asyncio.Future[Outcome[object]]
    answer: object = None
    refusal: Exception | None = None
    steps: list[Step] = field(default_factory=list)
    messages: list[Outgoing] = field(default_factory=list)
    mark: Mark | None = None


class Writer:
    """Decides, commits and answers for one ledger. Made by `rear.ledger.opening.become_writer`, which fences it."""

    def __init__(
        self,
        stream: EventStream,
        anchor: Anchor,
        state: State,
        identity: Identity,
        *,
        clock: Clock,
        ids: Ids,
        sequence: int,
        hash: str,
        max_payload: int = 900_000,
    ) -> None:
        """`sequence` and `hash` are the ledger's tip, at which `state` stands."""
        self.state = state
        self.listeners: list[CommitListener] = []
        self.observers: list[CommitObserver] = []
        self.mark: Callable[[], Mark | None] | None = None
        """Asked in each caller's context, before its command is decided, for what stands for it in `Timing`."""
        self._landing = Landing(stream, sequence, lambda: state.service.epoch)
        self._anchor = anchor
        self._identity = identity
        self._clock = clock
        self._ids = ids
        self._tip_hash = hash
        self._head_hash = hash
        self._max_payload = max_payload
        self._queue: deque[_Command] = deque()
        self._in_flight: list[_Command] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._stopped: LedgerError | None = None
        self.ended = asyncio.Event()
        """Set once nothing more will be written."""
        self._closing = False
        self._crowded = False
        self._anchoring: asyncio.Future[None] | None = None
        self.reverted = 0
        """Counts how often memory was dropped back to the ledger."""

    # -- for callers ---------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """The newest durable position."""
        return Position(self.state.service.log_id, 1, self._landing.tip)

    @property
    def tip(self) -> tuple[int, str]:
        """The newest durable sequence and its hash."""
        return self._landing.tip, self._tip_hash

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written just now; None while all is well."""
        if self._stopped is not None:
            return str(self._stopped)
        if self.clock_behind > 5 * SECOND:
            return f"the clock is {self.clock_behind / SECOND:.0f} s behind the ledger; set it right"
        return self._landing.trouble

    @property
    def able(self) -> bool:
        """Whether it could write, as far as it knows."""
        return self._stopped is None and not self._closing and self._landing.trouble is None

    @property
    def stepped_down(self) -> SteppedDown | None:
        """Who has become the writer in its place; None while nobody has."""
        return self._stopped if isinstance(self._stopped, SteppedDown) else None

    @property
    def clock_behind(self) -> Duration:
        """By how much the clock is behind the newest recorded time."""
        return Duration(max(0, self.state.last_recorded - self._clock.now()))

    @property
    def waiting(self) -> int:
        """Commands that wait for the batch in flight."""
        return len(self._queue)

    @property
    def unknown_outcomes(self) -> int:
        """Counts how often it was not known whether what was sent had landed."""
        return self._landing.unknown_outcomes

    @property
    def unacknowledged(self) -> bool:
        """Whether memory is ahead of the ledger."""
        return bool(self._in_flight or self._queue)

    def now(self) -> Instant:
        """The clock, but never before the newest recorded time."""
        return Instant(max(self._clock.now(), self.state.last_recorded))

    async def submit(self, decide: Decide[T]) -> Outcome[T]:
        """Decides now, and returns once the answer is durable.

        `decide` is called with the time, may be called again after a failed batch, and raises a Refusal to
        refuse. Raises that refusal once everything that it rests on is durable, or TryAgain where the ledger
        cannot be written. Cancelling the wait does not take the command back.
        """
        future = self.enqueue(decide)
        return future.result() if future.done() else await future

    def enqueue(self, decide: Decide[T]) -> asyncio.Future[Outcome[T]]:
        """Decides now, as `submit` does, and gives what will be the answer. Cancelling it only stops the waiting."""
        future: asyncio.Future[Outcome[object]] = asyncio.get_running_loop().create_future()
        command = _Command(cast("Callable[[Instant], Decision[object]]", decide), future)
        if self._stopped is not None:
            future.set_exception(_unavailable(self._stopped))
        elif self._closing:
            future.set_exception(TryAgain("the service is shutting down", SECOND))
        elif len(self._queue) >= MAX_WAITING:
            future.set_exception(TryAgain("too many requests wait for the ledger", SECOND))
        else:
            if self.mark is not None:
                command.mark = self.mark()
            self._decide(command)
            if command.mark is not None:
                command.mark.decided()
            if command.messages or self.unacknowledged or self._landing.stale:
                self._queue.append(command)
                self._wake.set()
                self._idle.clear()
            else:
                self._answer(command, self._landing.tip)
        return cast("asyncio.Future[Outcome[T]]", future)

    async def settled(self) -> Position:
        """Waits until everything that is in memory now is durable; returns that position."""
        if not self.unacknowledged and self._stopped is None and not self._landing.stale:
            return self.position
        return (await self.submit(_nothing)).position

    async def sure(self) -> None:
        """Returns where this was seen to be the ledger's writer a moment ago; looks where that is longer ago.

        For what others are asked to do. Raises TryAgain as `look` does.
        """
        if self._stopped is not None or self._landing.stale:
            await self.settled()

    async def look(self) -> None:
        """Sees whether this is still the ledger's writer, whatever was seen before; steps down where it is not.

        Raises TryAgain where it is not, or where that cannot be seen.
        """
        self._landing.doubt()
        await self.settled()

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to commit."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="ledger-writer")

    async def close(self) -> None:
        """Takes nothing new, and waits for what is under way, at most CLOSE_TIMEOUT seconds."""
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._idle.wait()
        except TimeoutError:
            log.warning("writer closed with commands under way", commands=len(self._queue) + len(self._in_flight))
        finally:  # also where the wait is cancelled: nothing may be written after this
            await end(self._task)
            if self._anchoring is not None:  # its file must not be closed under it
                await asyncio.wait([self._anchoring])
            self._fail_all(LedgerUnavailable("the service has shut down"))

    # -- deciding ------------------------------------------------------------------------------------------

    def _decide(self, command: _Command) -> None:
        command.refusal = None
        command.steps = []
        command.messages = []
        now = self.now()
        try:
            decision = command.decide(now)
            command.answer = decision.answer
            self._enter(command, decision.events)
        except Exception as error:  # a Refusal, or a fault of `decide`: either is the caller's answer
            command.refusal = error

    def _enter(self, command: _Command, events: Sequence[AnyEvent]) -> None:
        """Encodes the events, checks their sizes, and only then moves the state on."""
        if not events:
            return
        if len(events) > MAX_EVENTS:
            raise InvalidField("request", f"makes {len(events)} events; {MAX_EVENTS} at most fit in one commit")
        head = self._head_hash
        messages = []
        for event in events:
            message = seal(event, self._identity, self._ids, head)
            size = len(message.payload)
            if size > self._max_payload:
                raise InvalidField(
                    "request", f"makes an event of {size} bytes; {self._max_payload} at most can be kept"
                )
            head = message.hash
            messages.append(message)
        try:
            for event in events:
                command.steps.append(self.state.apply(event))
        except BaseException:  # the decision was at fault: none of it stands
            self._take_back(command)
            raise
        command.messages = messages
        self._head_hash = head

    # -- committing ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                if not self._queue:
                    await self._rest()
                if self._crowded:
                    await self._fill()
                self._in_flight = self._take()
                try:
                    await self._commit(self._in_flight)
                except LedgerUnavailable as unavailable:
                    await self._turn_back(unavailable)
        except asyncio.CancelledError:
            raise
        except LedgerError as error:
            self._stop(error)
        except Exception as error:
            log.exception("the writer failed")
            self._stop(LedgerError(f"the writer failed: {error}"))

    async def _rest(self) -> None:
        """Waits for a command. What is wrong is looked at again meanwhile: to a service in trouble nobody writes."""
        self._idle.set()
        self._wake.clear()
        while not self._queue:
            try:
                async with asyncio.timeout(None if self._landing.trouble is None else LOOK_AGAIN):
                    await self._wake.wait()
            except TimeoutError:
                try:
                    await self._landing.look()
                except LedgerUnavailable as error:
                    self._landing.note(str(error))

    async def _fill(self) -> None:
        """Lets in what the loop has ready: a batch costs the server milliseconds, whatever it holds."""
        quiet = 0
        while quiet < QUIET_TURNS and len(self._queue) < FULL_ENOUGH:
            before = len(self._queue)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._queue) == before else 0

    def _take(self) -> list[_Command]:
        batch: list[_Command] = []
        room = MAX_BATCH
        while self._queue and len(self._queue[0].messages) <= room:
            room -= len(self._queue[0].messages)
            batch.append(self._queue.popleft())
        self._crowded = len(batch) > 1
        return batch

    async def _commit(self, batch: list[_Command]) -> None:
        messages = [message for command in batch for message in command.messages]
        if messages:
            began = perf_counter()
            await self._landing.land(messages)
            appended = perf_counter()
            self._tip_hash = messages[-1].hash
            point = AnchorPoint(self.state.service.log_id, self._landing.tip, self._tip_hash)
            self._anchoring = asyncio.get_running_loop().run_in_executor(None, self._anchor.write, point)
            await asyncio.shield(self._anchoring)
            failpoints.reach("writer.after_anchor")
            self._landing.confirm()
            if self.observers:
                self._observe(batch, len(messages), began, appended)
        elif self._landing.stale:
            await self._landing.look()
        self._acknowledge(batch, messages)

    def _observe(self, batch: list[_Command], events: int, began: float, appended: float) -> None:
        marks = [command.mark for command in batch if command.mark is not None]
        timing = Timing(len(batch), events, marks, began, appended, perf_counter())
        for observer in self.observers:
            observer.timed(timing)

    def _acknowledge(self, batch: list[_Command], messages: list[Outgoing]) -> None:
        sequence = self._landing.tip - len(messages)
        committed, ends = [], []
        for command in batch:
            for message, step in zip(command.messages, command.steps, strict=True):
                sequence += 1
                committed.append(Committed(sequence, message.hash, message.payload, step))
            ends.append(sequence)
        self._in_flight = []
        try:
            if committed:
                for listener in self.listeners:
                    listener.committed(committed)
        finally:
            for command, end in zip(batch, ends, strict=True):
                self._answer(command, end)

    def _answer(self, command: _Command, sequence: int) -> None:
        """Answers at the place where the command stood: those behind it in its batch it has not seen."""
        if command.future.done():  # its caller no longer waits
            return
        if command.refusal is not None:
            command.future.set_exception(command.refusal)
        else:
            command.future.set_result(Outcome(command.answer, Position(self.state.service.log_id, 1, sequence)))

    # -- when it fails -------------------------------------------------------------------------------------

    async def _turn_back(self, unavailable: LedgerUnavailable) -> None:
        """A batch was turned away: drops memory back to the ledger, fails its callers, decides the rest again."""
        failed, self._in_flight = self._in_flight, []
        waiting = list(self._queue)
        self._queue.clear()
        self._revert([*failed, *waiting])
        for command in failed:
            if not command.future.done():
                command.future.set_exception(_unavailable(unavailable))
        for command in waiting:
            self._decide(command)
            self._queue.append(command)
        await asyncio.sleep(RETRY_PAUSE)

    def _revert(self, commands: list[_Command]) -> None:
        self.reverted += 1
        for command in reversed(commands):
            self._take_back(command)
        self._head_hash = self._tip_hash

    def _take_back(self, command: _Command) -> None:
        for step in reversed(command.steps):
            self.state.revert(step)
        command.steps, command.messages = [], []

    def _stop(self, error: LedgerError) -> None:
        if isinstance(error, SteppedDown):
            log.warning("stepped down", because=str(error))
        else:
            log.error("the writer has stopped", reason=str(error))
        self._stopped = error
        self._fail_all(error)
        self.ended.set()

    def _fail_all(self, error: LedgerError) -> None:
        """Fails every caller, and says of what was sent and not acknowledged that its outcome is open."""
        sent, waiting = self._in_flight, list(self._queue)
        self._revert([*sent, *waiting])
        self._in_flight = []
        self._queue.clear()
        self._idle.set()
        for command in sent:
            if not command.future.done():
                open_ended = self._landing.open_ended and not isinstance(error, SteppedDown)
                command.future.set_exception(_pending(error) if open_ended else _unavailable(error))
        for command in waiting:
            if not command.future.done():
                command.future.set_exception(_unavailable(error))


def _nothing(_: Instant) -> Decision[None]:
    return Decision((), None)


def _pending(error: LedgerError) -> OutcomePending:
    return OutcomePending("whether the ledger took the request is not known", SECOND, because=str(error))


def _unavailable(error: LedgerError) -> TryAgain:
    if isinstance(error, SteppedDown):
        return NotWriter(error.endpoint, because=str(error))
    return TryAgain("the ledger cannot be written just now; nothing was changed", SECOND, because=str(error))
