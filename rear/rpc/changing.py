"""What every request for a change has: an id, by which a retry is known, and texts of a bounded length."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from google.protobuf.message import Message

from rear.domain.refusals import InvalidField

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
LONGEST_REASON: Final = 256


def fingerprint(request: Message) -> bytes:
    """SHA-256 over what a request says, whatever its id and whether it is only a question."""
    body = type(request)()
    body.CopyFrom(request)
    for name in ("request_id", "validate_only"):
        if name in body.DESCRIPTOR.fields_by_name:
            body.ClearField(name)
    return sha256(body.SerializeToString(deterministic=True)).digest()


def check_request_id(request_id: str) -> None:
    """Raises InvalidField where a request has no id, or a wrong one."""
    if not request_id:
        raise InvalidField("request_id", "is required: a new UUID for each new attempt, the same one for a retry")
    if REQUEST_ID.fullmatch(request_id) is None:
        raise InvalidField("request_id", "must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'")


def text_from(text: str, field: str, longest: int) -> str:
    """A text that is not too long. Raises InvalidField."""
    if len(text) > longest:
        raise InvalidField(field, f"has {len(text)} characters; {longest} at most")
    return text
