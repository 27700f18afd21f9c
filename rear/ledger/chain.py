"""The hash chain over a ledger: each event's hash covers the hash before it, its subject and its bytes."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

GENESIS: Final = "0" * 64
"""The hash before the first event."""


def link(previous: str, subject: str, payload: bytes) -> str:
    """SHA-256, in hex, over the previous hash (32 bytes), the subject's length (4 bytes, big-endian), the subject
    (UTF-8) and the payload.
    """
    name = subject.encode()
    return sha256(b"".join((bytes.fromhex(previous), len(name).to_bytes(4, "big"), name, payload))).hexdigest()
