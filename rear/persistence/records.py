"""Records events and trackings on one stream, all of a commit or none, and knows for certain whether they are there.

Each aggregate has one subject. A commit is guarded, for each aggregate in it, by the sequence of the aggregate's last
message, so writers in any number of processes meet only where they write the same aggregate.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    InternalError,
    NotSupportedError,
    StoredEvent,
    Tracking,
)

from rear.ledger.errors import LedgerUnavailable, OutcomeUnknown, TipConflict
from rear.ledger.message import Stored
from rear.ledger.stream import MAX_BATCH
from rear.persistence.messages import (
    TRACKING,
    Guarded,
    Record,
    event_payload,
    read_record,
    token,
    tracking_payload,
)
from rear.persistence.stream import RecordStream

ATTEMPT: Final = 5.0
"""Seconds to wait for one acknowledgement before its outcome counts as unknown."""

RETRY_PAUSE: Final = 0.1
"""Seconds between attempts."""

HEADS: Final = 10_000
"""Aggregates whose newest place is kept in memory."""

PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Head:
    """The end of one subject: its last message (0: none), and the highest version up to there."""

    sequence: int
    highest: int


NOTHING: Final = Head(0, -(1 << 63))


@dataclass(frozen=True, slots=True)
class _Draft:
    """What goes on one subject; an event, or a tracking."""

    subject: str
    version: int
    what: StoredEvent | Tracking

    def payload(self, insert: str, highest: int) -> bytes:
        """As it is recorded."""
        if isinstance(self.what, Tracking):
            return tracking_payload(self.what, insert)
        return event_payload(self.what, insert, highest)


class Records:
    """One stream's events. Everything here runs on one event loop."""

    def __init__(self, stream: RecordStream, subject: str, *, patience: float) -> None:
        """`subject` is what the stream's subjects begin with; `patience` is in seconds, for one commit."""
        self.stream = stream
        """Where everything goes."""
        self._subject = subject
        self._patience = patience
        self._heads: OrderedDict[str, Head] = OrderedDict()

    # -- writing -------------------------------------------------------------------------------------------

    async def insert(self, events: Sequence[StoredEvent], tracking: Tracking | None = None) -> list[int]:
        """Records all of it or nothing; returns the sequences of the events.

        Raises IntegrityError where one is there already, DataError or NotSupportedError for what cannot be recorded,
        LedgerUnavailable where nothing was recorded, and OutcomeUnknown where that could not be found out in time.
        """
        drafts = self._drafts(events, tracking)
        if not drafts:
            return []
        end = await self._land(drafts, secrets.token_hex(8)) + len(drafts)
        return list(range(end - len(events), end))

    def _drafts(self, events: Sequence[StoredEvent], tracking: Tracking | None) -> list[_Draft]:
        drafts = []
        if tracking is not None:  # before the events, so that a commit with events ends with one
            drafts.append(_Draft(self._tracking(tracking.application_name), tracking.notification_id, tracking))
        drafts += [
            _Draft(self._aggregate(str(event.originator_id)), event.originator_version, event) for event in events
        ]
        if len({(draft.subject, draft.version) for draft in drafts}) < len(drafts):
            raise IntegrityError("an event stands twice among those to be recorded; nothing was recorded")
        if len(drafts) > MAX_BATCH:
            raise NotSupportedError(
                f"{len(drafts)} events cannot be recorded at once: a commit has at most {MAX_BATCH}; "
                "save them in several steps"
            )
        return drafts

    async def _land(self, drafts: Sequence[_Draft], insert: str) -> int:
        """Sends until it is known what became of it; returns the sequence of the first message."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        open_ended: list[int] = []  # guards of the first message, in attempts of which nothing was heard
        heads = self._guess(drafts)
        while True:
            try:
                if heads is None:
                    heads = await self._ask(drafts)
                if open_ended and (first := await self._found(drafts, insert, open_ended)):
                    break
                await self._check(drafts, heads)
                messages, ends = self._messages(drafts, insert, heads)
                last = await self.stream.append_guarded(messages, timeout=min(ATTEMPT, self._patience))
                first = last - len(drafts) + 1
                self._remember({subject: Head(first + at, highest) for subject, (at, highest) in ends.items()})
                break
            except TipConflict:
                heads, trouble = None, LedgerUnavailable("others recorded on the same aggregates again and again")
            except OutcomeUnknown as error:
                assert heads is not None
                open_ended.append(heads[drafts[0].subject].sequence)
                heads, trouble = None, LedgerUnavailable(str(error))
                await asyncio.sleep(RETRY_PAUSE)
            except LedgerUnavailable as error:
                trouble = error
                await asyncio.sleep(RETRY_PAUSE)
            except ValueError as error:
                raise DataError(f"{error}; nothing was recorded") from error
            if loop.time() > deadline:
                if open_ended:
                    raise OutcomeUnknown(f"whether the events were recorded is not known: {trouble}")
                raise trouble
        return first

    def _guess(self, drafts: Sequence[_Draft]) -> dict[str, Head] | None:
        """Where the subjects end, as far as is known here; None where the server must be asked.

        A wrong guess costs a refused commit, after which the server is asked.
        """
        heads: dict[str, Head] = {}
        for draft in drafts:
            known = heads.get(draft.subject) or self._heads.get(draft.subject)
            if known is None:
                if draft.version > 1:
                    return None
                known = NOTHING
            heads[draft.subject] = known
        return heads

    async def _ask(self, drafts: Sequence[_Draft]) -> dict[str, Head]:
        subjects = list({draft.subject for draft in drafts})
        heads: dict[str, Head] = {}
        for some in range(0, len(subjects), 50):
            part = subjects[some : some + 50]
            heads.update(zip(part, await asyncio.gather(*map(self._head, part)), strict=True))
        self._remember(heads)
        return heads

    async def _head(self, subject: str) -> Head:
        last = await self.stream.last_of(subject)
        return NOTHING if last is None else Head(last.sequence, self._read(last).highest)

    async def _check(self, drafts: Sequence[_Draft], heads: Mapping[str, Head]) -> None:
        """Raises IntegrityError where a version is there already, or a tracking does not go forward."""
        taken: dict[str, set[int]] = {}
        for draft in drafts:
            highest = heads[draft.subject].highest
            if draft.version > highest:
                continue
            if isinstance(draft.what, Tracking):
                raise IntegrityError(
                    f"{draft.what.application_name} was tracked up to {highest} already, not to be followed by "
                    f"{draft.version}; nothing was recorded"
                )
            if draft.version < highest and draft.subject not in taken:
                taken[draft.subject] = {each.version async for each in self._records(draft.subject, 1)}
            if draft.version == highest or draft.version in taken[draft.subject]:
                raise IntegrityError(
                    f"version {draft.version} of {draft.what.originator_id} is recorded already; nothing was recorded"
                )

    def _messages(
        self, drafts: Sequence[_Draft], insert: str, heads: Mapping[str, Head]
    ) -> tuple[list[Guarded], dict[str, tuple[int, int]]]:
        """The messages, and for each subject which of them is its last one and its highest version."""
        messages: list[Guarded] = []
        ends: dict[str, tuple[int, int]] = {}
        for at, draft in enumerate(drafts):
            head = heads[draft.subject]
            before = ends.get(draft.subject)
            highest = max(draft.version, before[1] if before else head.highest)
            guard = head.sequence if before is None else None
            messages.append(Guarded(draft.subject, draft.payload(insert, highest), guard))
            ends[draft.subject] = (at, highest)
        return messages, ends

    async def _found(self, drafts: Sequence[_Draft], insert: str, guards: Iterable[int]) -> int | None:
        """The sequence of our first message where an earlier attempt landed; None where that can no longer be."""
        for guard in guards:
            first = await self.stream.next_of(drafts[0].subject, guard + 1)
            if first is None or self._read(first).insert != insert:
                continue
            last = await self.stream.get(first.sequence + len(drafts) - 1)
            if last is None or not last.ends_commit or self._read(last).insert != insert:
                raise LedgerUnavailable("only a part of the commit is visible: the server's disk was full; restart it")
            return first.sequence
        return None

    # -- reading -------------------------------------------------------------------------------------------

    async def select(
        self, key: str, gt: int | None, lte: int | None, *, desc: bool, limit: int | None
    ) -> list[StoredEvent]:
        """An aggregate's events by version."""
        try:
            subject = self._aggregate(key)
        except ValueError:
            return []
        if limit is not None and limit <= 0:
            return []
        if desc and limit == 1 and gt is None and lte is None:
            last = await self.stream.last_of(subject)
            if last is None:
                return []
            record = self._read(last)
            if record.event is not None and record.version == record.highest:
                return [record.event]
        events = [
            record.event
            async for record in self._records(subject, self._start(subject, gt))
            if record.event is not None
            and (gt is None or record.version > gt)
            and (lte is None or record.version <= lte)
        ]
        events.sort(key=lambda event: event.originator_version, reverse=desc)
        return events[:limit]

    async def tracked(self, application_name: str) -> int | None:
        """How far an application was tracked; None where it was not."""
        head = await self._head(self._tracking(application_name))
        return head.highest if head.sequence else None

    async def last_event(self) -> int | None:
        """The sequence of the last event; None where there is none."""
        last = await self.stream.last()
        if last is not None and self._read(last).event is None:
            last = await self.stream.last_of(f"{self._subject}.*")
        return None if last is None else last.sequence

    def read_event(self, message: Stored) -> StoredEvent | None:
        """The event that a message holds; None for a tracking. Raises InternalError for what is not ours."""
        return self._read(message).event

    def _start(self, subject: str, gt: int | None) -> int:
        """From where on a subject is to be read for what is higher than `gt`."""
        head = self._heads.get(subject)
        return head.sequence + 1 if head is not None and gt is not None and gt >= head.highest else 1

    async def _records(self, subject: str, start: int) -> AsyncIterator[Record]:
        async for page in self.stream.pages(start, subject=subject, page=PAGE):
            for message in page:
                record = self._read(message)
                yield record
            self._remember({subject: Head(message.sequence, record.highest)})

    def _read(self, message: Stored) -> Record:
        try:
            return read_record(message.payload)
        except (ValueError, KeyError) as error:
            raise InternalError(
                f"message {message.sequence} of stream {self.stream.name} was not recorded by this module ({error}): "
                "find out who else writes to the stream"
            ) from error

    # -- where it goes -------------------------------------------------------------------------------------

    def _aggregate(self, key: str) -> str:
        return f"{self._subject}.{token(key)}"

    def _tracking(self, application_name: str) -> str:
        return f"{self._subject}.{TRACKING}.{token(application_name)}"

    def _remember(self, heads: Mapping[str, Head]) -> None:
        for subject, head in heads.items():
            known = self._heads.get(subject)
            if known is None or known.sequence < head.sequence:
                self._heads[subject] = head
            self._heads.move_to_end(subject)
        while len(self._heads) > HEADS:
            self._heads.popitem(last=False)
