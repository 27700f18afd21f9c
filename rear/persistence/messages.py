"""What a recorded event is on the wire: a subject for each aggregate, and a payload that any language can read.

The payload is one line of JSON that says what the event is, and after the line break the event's state as the
library's mapper gave it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import StoredEvent, Tracking

from rear.ledger.client import frame

MAX_TOKEN: Final = 512
"""Characters of an aggregate's id as it stands in a subject."""

TRACKING: Final = "tracking"

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_ODD: Final = re.compile(rb"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A message to record; `after` is the sequence of the last one on its subject, None where it has no guard."""

    subject: str
    payload: bytes
    after: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """What a message of the stream says.

    `version` is the event's, or a tracking's notification id; `highest` is the highest on its subject so far, which is
    another one where an older version was recorded later.
    """

    version: int
    highest: int
    insert: str
    event: StoredEvent | None


def token(key: str) -> str:
    """`key` as one token of a subject: what is no letter, digit, `_` or `-` becomes `=` and its bytes in hex.

    Raises ValueError where it is too long.
    """
    plain = key if _PLAIN.fullmatch(key) else _escaped(key)
    if len(plain) > MAX_TOKEN:
        raise ValueError(f"the id {key[:40]!r}… is too long: {len(plain)} characters of at most {MAX_TOKEN}")
    return plain


def _escaped(key: str) -> str:
    return _ODD.sub(lambda odd: b"=%02X" % ord(odd[0]), key.encode()).decode() or "="


def event_payload(event: StoredEvent, insert: str, highest: int) -> bytes:
    """An event as it is recorded."""
    said: dict[str, Any] = {
        "originator_id": str(event.originator_id),
        "originator_version": event.originator_version,
        "topic": event.topic,
        "insert": insert,
    }
    if isinstance(event.originator_id, UUID):
        said["uuid"] = True
    if highest != event.originator_version:
        said["highest"] = highest
    return json.dumps(said).encode() + b"\n" + event.state


def tracking_payload(tracking: Tracking, insert: str) -> bytes:
    """A tracking as it is recorded."""
    said = {TRACKING: tracking.application_name, "notification_id": tracking.notification_id, "insert": insert}
    return json.dumps(said).encode() + b"\n"


def read_record(payload: bytes) -> Record:
    """What a payload says. Raises ValueError or KeyError for one that is not ours."""
    line, _, state = payload.partition(b"\n")
    said = json.loads(line)
    if TRACKING in said:
        place = said["notification_id"]
        return Record(place, place, said["insert"], None)
    version, key = said["originator_version"], said["originator_id"]
    event = StoredEvent(UUID(key) if said.get("uuid") else key, version, said["topic"], state)
    return Record(version, said.get("highest", version), said["insert"], event)


def guarded_frames(messages: Sequence[Guarded], batch: str, limit: int) -> Callable[[bytes], bytes]:
    """All messages as one block to send, of which only the last asks for an answer.

    Raises ValueError where one is larger than `limit` bytes.
    """
    count, blocks = len(messages), []
    for number, message in enumerate(messages, 1):
        guard = "" if message.after is None else f"Nats-Expected-Last-Subject-Sequence: {message.after}\r\n"
        place = f"Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {number}\r\n" if count > 1 else ""
        commit = "Nats-Batch-Commit: 1\r\n" if number == count > 1 else ""
        headers = f"NATS/1.0\r\n{guard}{place}{commit}\r\n".encode() if guard or place else b""
        if len(headers) + len(message.payload) > limit:
            raise ValueError(f"an event of {len(message.payload)} bytes is more than the server takes ({limit})")
        blocks.append((message.subject, headers, message.payload))
    sent = b"".join([frame(subject, b"", headers, payload) for subject, headers, payload in blocks[:-1]])
    return lambda reply: sent + frame(blocks[-1][0], reply, blocks[-1][1], blocks[-1][2])
