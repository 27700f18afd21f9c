"""Messages of an event stream, and what they look like on the wire."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from rear.domain.value import value
from rear.ledger.client import frame

_PLACE: Final = re.compile(rb"\r\nNats-Stream: [^\r]*\r\nNats-Subject: ([^\r]+)\r\nNats-Sequence: (\d+)\r\n")
_SUBJECT: Final = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*")


@value
class Outgoing:
    """A message to append; `hash` becomes its header `rear-hash` (hex)."""

    subject: str
    payload: bytes
    hash: str


@value
class Stored:
    """A message as it stands in the stream; `hash` is empty where it carries none, which is not ours then."""

    sequence: int
    subject: str
    payload: bytes
    hash: str
    ends_commit: bool = True
    """Whether its commit ends here. A stream whose last message does not end one holds a torn batch."""


def batch_frames(messages: Sequence[Outgoing], expected_last: int, limit: int) -> Callable[[bytes], bytes]:
    """All messages as one block to send, of which only the last asks for an answer."""
    count, blocks, last = len(messages), [], messages[-1]
    guard = f"Nats-Expected-Last-Sequence: {expected_last}\r\n"
    place = f"Nats-Batch-Id: {secrets.token_hex(16)}\r\nNats-Batch-Sequence: "
    for number, message in enumerate(messages, 1):
        if not _SUBJECT.fullmatch(message.subject) or not message.hash.isalnum():
            raise ValueError(f"not a subject and a hash: {message.subject!r}, {message.hash!r}")
        in_batch = f"{place}{number}\r\n" if count > 1 else ""
        commit = "Nats-Batch-Commit: 1\r\n" if number == count > 1 else ""
        headers = f"NATS/1.0\r\nrear-hash: {message.hash}\r\n{guard}{in_batch}{commit}\r\n".encode()
        if len(headers) + len(message.payload) > limit:
            raise ValueError(f"a message of {len(message.payload)} bytes is more than the server takes ({limit})")
        if number < count:
            blocks.append(frame(message.subject, b"", headers, message.payload))
        guard = ""
    sent = b"".join(blocks)
    return lambda reply: sent + frame(last.subject, reply, headers, last.payload)


def stored(headers: bytes, payload: bytes) -> Stored:
    """The message in an answer to a direct get."""
    found = _PLACE.match(headers, headers.rfind(b"\r\nNats-Stream:"))  # the server appends its own, in this order
    if found is not None:
        return message_at(int(found[2]), found[1].decode(), payload, headers)
    return message_at(int(_last(headers, b"Nats-Sequence")), _last(headers, b"Nats-Subject").decode(), payload, headers)


def message_at(sequence: int, subject: str, payload: bytes, headers: bytes) -> Stored:
    """The message at `sequence` with its raw header block."""
    return Stored(
        sequence,
        subject,
        payload,
        _last(headers, b"rear-hash").decode("ascii", "replace"),
        b"\r\nNats-Batch-Id:" not in headers or b"\r\nNats-Batch-Commit:" in headers,
    )


def _last(headers: bytes, name: bytes) -> bytes:
    """The value of a header, empty where there is none. The last counts: the server appends its own."""
    begin = headers.rfind(b"\r\n" + name + b":")
    if begin < 0:
        return b""
    begin += len(name) + 3
    return headers[begin : headers.index(b"\r\n", begin)].strip()
