"""An event stream on JetStream: guarded appends, exact reads, pages. It knows nothing of meaning."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from rear.ledger.client import (
    ConnectionLost,
    LedgerClient,
    NotConnected,
    frame,
    status,
)
from rear.ledger.connection import Connection
from rear.ledger.errors import (
    EventLost,
    LedgerDamaged,
    LedgerError,
    LedgerMissing,
    LedgerUnavailable,
    OutcomeUnknown,
    TipConflict,
)
from rear.ledger.message import Outgoing, Stored, batch_frames, message_at, stored
from rear.ledger.settings import LEDGER_SETTINGS, StreamSettings

__all__ = ["MAX_BATCH", "EventStream", "Outgoing", "Stored"]

T = TypeVar("T")

MAX_BATCH: Final = 1_000
"""Messages in one atomic batch: the server's limit."""

READ_TIMEOUT: Final = 5.0
"""Seconds to wait for a connection, and for any answer but the acknowledgement of an append."""

ASK_AGAIN: Final = 1.0
"""Seconds after which a question to JetStream's API is put again: while nobody leads a stream it is lost silently."""

PAGE_BYTES: Final = 8 << 20
"""A page ends after this many bytes, well below what the server lets a client fall behind."""

CONFLICTS: Final = frozenset({10071, 10164, 10201})
"""A guard failed. 10201 is a batch that holds a message which is there already."""

AMBIGUOUS: Final = frozenset({10077})
"""The store failed: of a batch a part may be there, which a restart of the server completes."""

REMEDIES: Final[Mapping[int, str]] = {
    10005: "as many servers as replicas must be up",
    10039: "switch JetStream on for the account",
    10074: "a single server keeps one replica: name a cluster, or fewer replicas",
    10065: "another stream has subjects of this ledger: remove them there, or give the service another name",
    10113: "the account asks for a limit of bytes, which a ledger must not have: lift it",
}
"""What to do where the server refuses to give or create the stream, by its code."""

PASSING: Final = frozenset({10005, 10008, 10009})
"""Refusals of a cluster that is still coming up, or a part of which is down."""

NOT_FOUND: Final = 10059
NAME_IN_USE: Final = 10058
NO_MESSAGE: Final = 10037


class _Refused(Exception):
    """The server answered with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


def _remedy(refused: _Refused) -> str:
    return f"; {REMEDIES[refused.code]}" if refused.code in REMEDIES else ""


class EventStream:
    """One stream, by name, through `connection`. Writes report its loss as it is; reads are repeated after it."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        subjects: Sequence[str],
        *,
        replicas: int = 1,
        admit: Callable[[], None] | None = None,
        settings: StreamSettings = LEDGER_SETTINGS,
    ) -> None:
        """`admit` is called before each append; it raises LedgerUnavailable where there is no room."""
        self.name = name
        self._connection = connection
        self._subjects = tuple(subjects)
        self._replicas = replicas
        self._admit = admit
        self._settings = settings
        self._direct = f"$JS.API.DIRECT.GET.{name}"

    @property
    def generation(self) -> int:
        """How many connections there were so far."""
        return self._connection.generation

    def admit(self) -> None:
        """Raises LedgerUnavailable where there is no room for another append."""
        if self._admit is not None:
            self._admit()

    # -- settings ------------------------------------------------------------------------------------------

    async def ensure(self) -> None:
        """Create the stream, or hold its settings against those that matter.

        Raises LedgerError where one differs, naming it; LedgerUnavailable where the server does not answer.
        """
        try:
            answer = await self._api(f"STREAM.INFO.{self.name}")
        except _Refused as refused:
            if refused.code != NOT_FOUND:
                raise LedgerUnavailable(f"stream {self.name}: {refused}{_remedy(refused)}") from refused
            answer = await self._create()
        self._verify(answer["config"])

    async def _create(self) -> dict[str, Any]:
        wanted = {
            "name": self.name,
            "subjects": list(self._subjects),
            "num_replicas": self._replicas,
            **self._settings.required,
        }
        try:
            return await self._api(f"STREAM.CREATE.{self.name}", wanted)
        except _Refused as refused:
            if refused.code == NAME_IN_USE:  # somebody was faster
                return await self._info()
            kind = LedgerUnavailable if refused.code in PASSING else LedgerError
            raise kind(f"the server refuses to create stream {self.name}: {refused}{_remedy(refused)}") from refused

    def _verify(self, config: dict[str, Any]) -> None:
        wrong = self._settings.differences(config, self._subjects, self._replicas)
        if wrong:
            raise LedgerError(
                f"stream {self.name} has settings under which it cannot {self._settings.purpose}: {'; '.join(wrong)}. "
                "Correct them with `nats stream edit`, or name another stream"
            )

    # -- writing -------------------------------------------------------------------------------------------

    async def append(
        self,
        messages: Sequence[Outgoing],
        expected_last: int,
        *,
        timeout: float,  # noqa: ASYNC109
        sent: Callable[[], None] | None = None,
    ) -> int:
        """Write all messages or none directly after sequence `expected_last`; returns the last sequence.

        `sent` is called when all is sent, and before the acknowledgement is looked at.

        Raises TipConflict where the stream's tip is another, LedgerUnavailable where nothing was written, and
        OutcomeUnknown where no acknowledgement came within `timeout` seconds after that: then they may be there,
        may appear later, and where the disk was full a part of them may be there until the server restarts.
        Raises ValueError for more than 1,000 messages, or one that is too large or malformed.
        """
        last = expected_last + len(messages)
        acknowledged = await self._send(
            len(messages),
            lambda limit: batch_frames(messages, expected_last, limit),
            f"after {expected_last}",
            timeout,
            sent,
        )
        if acknowledged != last:
            raise self._astray(f"what must end at {last} was acknowledged at {acknowledged}")
        return last

    async def _send(
        self,
        count: int,
        frames: Callable[[int], Callable[[bytes], bytes]],
        where: str,
        timeout: float,  # noqa: ASYNC109
        sent: Callable[[], None] | None = None,
    ) -> int:
        """Sends `count` guarded messages as one commit; the sequence of the last one, or what `append` raises.

        `frames` is told how large a message may be; `where` says in errors where the messages should go.
        """
        if not 1 <= count <= MAX_BATCH:
            raise ValueError(f"a batch has 1 to {MAX_BATCH} messages, not {count}")
        self.admit()
        client = await self._connection.client(READ_TIMEOUT)
        block = frames(client.max_payload)
        try:
            async with asyncio.timeout(timeout):
                headers, payload = await client.request_one(block, sent)
        except NotConnected as error:
            raise LedgerUnavailable(f"stream {self.name}: nothing was sent: {error}") from error
        except (TimeoutError, ConnectionLost) as error:
            reason = str(error) or f"no acknowledgement within {timeout} s"
            raise OutcomeUnknown(f"stream {self.name}: {count} message(s) {where}: {reason}") from error
        return self._acknowledged(headers, payload, where)

    def _acknowledged(self, headers: bytes, payload: bytes, where: str) -> int:
        if code := status(headers):
            raise LedgerUnavailable(f"stream {self.name}: nobody takes messages for it (status {code})")
        answer = json.loads(payload)
        if "error" in answer:
            code = answer["error"].get("err_code", 0)
            text = f"stream {self.name}: {answer['error'].get('description', 'refused')} ({code})"
            if code in CONFLICTS:
                raise TipConflict(f"{text}, expected {where}")
            if code in AMBIGUOUS:
                raise OutcomeUnknown(text)
            raise LedgerUnavailable(text)
        if answer["stream"] != self.name:
            raise self._astray(f"what was sent was acknowledged by stream {answer['stream']}")
        return int(answer["seq"])

    def _astray(self, what: str) -> LedgerDamaged:
        return LedgerDamaged(
            f"stream {self.name}: {what}: find out what else takes these subjects, and write nothing until then"
        )

    # -- reading -------------------------------------------------------------------------------------------

    async def tip(self) -> int:
        """The last sequence, 0 for an empty stream, from the replica that leads. Never the middle of a commit,
        unless the stream ends in a torn batch.
        """
        return (await self._end())[0]

    async def get(self, sequence: int) -> Stored | None:
        """The message at `sequence`, None where there is none."""
        if sequence < 1:
            return None
        page = await self._page({"seq": sequence, "batch": 1})
        if page and page[0].sequence == sequence:
            return page[0]
        # Any replica answers a direct get, also one that is behind: only the leader's no is a no.
        return await self._get_from_leader({"seq": sequence})

    async def last(self) -> Stored | None:
        """The last message, None for an empty stream. Raises LedgerDamaged where it cannot be read."""
        tip, found = await self._end()
        if tip and found is None:
            raise self._missing(tip, tip)
        return found

    async def _end(self) -> tuple[int, Stored | None]:
        """The last sequence and its message.

        While a batch is being stored the stream's state names a sequence inside of it. Reading that message
        waits until the batch is whole, and from there its end is in sight.
        """
        tip = int((await self._info())["state"]["last_seq"])
        found = await self.get(tip)
        while found is not None and not found.ends_commit:
            rest = await self._page({"seq": found.sequence + 1, "batch": MAX_BATCH})
            following = rest[-1] if rest else await self._get_from_leader({"seq": found.sequence + 1})
            if following is None:
                break
            found = next((item for item in rest if item.ends_commit), following)
        return (tip if found is None else found.sequence), found

    async def pages(
        self, start: int, *, end: int | None = None, subject: str | None = None, page: int = 1000
    ) -> AsyncIterator[list[Stored]]:
        """All messages from `start` to `end` or to the tip as it is now, in order, in non-empty pages.

        `subject` (with wildcards) leaves out all others. Without it no sequence may be missing: LedgerDamaged
        names the first that is. Raises LedgerUnavailable where the server stops answering.
        """
        following = max(start, 1)
        tip = await self.tip() if subject is None else await self._last_of(subject)
        bound = tip if end is None else min(end, tip)
        while following <= bound:
            request: dict[str, Any] = {"seq": following, "batch": min(page, bound - following + 1)}
            if subject is None:
                found = await self._contiguous(await self._page(request), following, tip)
            else:
                found = await self._page({**request, "next_by_subj": subject})
                if not found:  # a replica that is behind: the leader has at least the one at `tip`
                    found = [await self._next_from_leader(following, subject, tip)]
                if found[-1].sequence > bound:
                    found = [item for item in found if item.sequence <= bound]
                    if not found:
                        return
            following = found[-1].sequence + 1
            yield found

    async def part(self, start: int, end: int) -> list[Stored]:
        """What stands from `start` to `end`, as much of it as one answer holds, but at least the first message.

        `end` is a sequence that the stream is known to have. Raises EventLost where `start` is missing.
        """
        return await self._contiguous(await self._page({"seq": start, "batch": end - start + 1}), start, end)

    async def next_of(self, subject: str, start: int) -> Stored | None:
        """The first message of `subject` (with wildcards) at `start` or later, from the replica that leads."""
        return await self._get_from_leader({"seq": start, "next_by_subj": subject})

    async def last_of(self, subject: str) -> Stored | None:
        """The last message of `subject`, which may have wildcards, from the replica that leads; None for none."""
        return await self._get_from_leader({"last_by_subj": subject})

    async def _last_of(self, subject: str) -> int:
        last = await self.last_of(subject)
        return 0 if last is None else last.sequence

    async def _next_from_leader(self, start: int, subject: str, tip: int) -> Stored:
        found = await self.next_of(subject, start)
        if found is None:
            raise self._missing(tip, tip)
        return found

    async def _contiguous(self, found: list[Stored], start: int, tip: int) -> list[Stored]:
        """What of `found` follows on without a gap from `start`, at least one message."""
        count = len(found)
        if found and found[0].sequence == start and found[-1].sequence == start + count - 1:
            return found
        whole = [item for at, item in enumerate(found, start) if item.sequence == at]
        if whole:
            return whole
        # A replica that is behind leaves out what the leader has; what the leader has not is gone.
        first = await self._get_from_leader({"seq": start})
        if first is None:
            raise self._missing(start, tip)
        return [first]

    def _missing(self, sequence: int, tip: int) -> EventLost:
        return EventLost(
            f"stream {self.name}: message {sequence} is missing or cannot be read, but the stream goes up to "
            f"{tip}: restore the store from a copy that has it",
            sequence,
        )

    async def _page(self, request: dict[str, Any]) -> list[Stored]:
        """One batch direct get."""
        body = json.dumps({"max_bytes": PAGE_BYTES, **request}).encode()

        async def read(client: LedgerClient) -> list[Stored]:
            found: list[Stored] = []

            def take(headers: bytes, payload: bytes) -> bool:
                code = status(headers)
                if code == 0:
                    found.append(stored(headers, payload))
                    return False
                if code not in (204, 404):  # the end, or nothing there
                    raise LedgerUnavailable(f"stream {self.name}: status {code} for a read of {request}")
                return True

            await client.exchange(lambda reply: frame(self._direct, reply, b"", body), take)
            return found

        return await self._ask(read)

    async def _get_from_leader(self, request: Mapping[str, object]) -> Stored | None:
        try:
            answer = await self._api(f"STREAM.MSG.GET.{self.name}", request)
        except _Refused as refused:
            if refused.code == NO_MESSAGE:
                return None
            if refused.code == NOT_FOUND:
                raise self._not_there() from refused
            raise LedgerUnavailable(f"stream {self.name}: message {dict(request)}: {refused}") from refused
        message = answer["message"]
        return message_at(
            message["seq"],
            message["subject"],
            base64.b64decode(message.get("data") or ""),
            base64.b64decode(message.get("hdrs") or ""),
        )

    # -- asking --------------------------------------------------------------------------------------------

    async def _info(self) -> dict[str, Any]:
        try:
            return await self._api(f"STREAM.INFO.{self.name}")
        except _Refused as refused:
            if refused.code == NOT_FOUND:
                raise self._not_there() from refused
            raise LedgerUnavailable(f"stream {self.name}: {refused}") from refused

    def _not_there(self) -> LedgerDamaged:
        return LedgerMissing(f"stream {self.name} is not there: name the store or the server that holds the ledger")

    async def _api(self, call: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        payload = json.dumps(body).encode() if body is not None else b""
        headers, data = await self._ask(
            lambda client: client.request_one(lambda reply: frame(f"$JS.API.{call}", reply, b"", payload)),
            again_after=ASK_AGAIN,
        )
        if code := status(headers):
            raise LedgerUnavailable(
                f"stream {self.name}: JetStream does not answer {call} (status {code}): it has no leader just "
                "now, or it is not there: switch it on"
            )
        answer: dict[str, Any] = json.loads(data)
        if "error" in answer:
            raise _Refused(answer["error"].get("err_code", 0), answer["error"].get("description", "refused"))
        return answer

    async def _ask(self, question: Callable[[LedgerClient], Awaitable[T]], *, again_after: float | None = None) -> T:
        """The answer to a question that changes nothing: where the connection is lost meanwhile it is put again.

        So it is after `again_after` seconds without an answer.
        """
        asked: LedgerClient | None = None
        why: object = None
        clock = asyncio.get_running_loop().time
        give_up = clock() + READ_TIMEOUT
        while True:
            client = await self._connection.client(READ_TIMEOUT)
            left = give_up - clock()
            if client is asked or left <= 0:
                raise LedgerUnavailable(f"stream {self.name}: {why}")
            try:
                async with asyncio.timeout(min(left, again_after or left)):
                    try:
                        return await question(client)
                    except (NotConnected, ConnectionLost) as error:
                        asked, why = client, error
                        await client.lost.wait()
            except TimeoutError:
                why = f"no answer within {READ_TIMEOUT} s"
