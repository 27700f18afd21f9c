"""Lists in pages (AIP-158): sizes, and tokens that go on where a page ended, for the same question only."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

from rear.domain.refusals import InvalidField

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1_000


def page_size_from(asked: int) -> int:
    """How much a page has. Raises InvalidField."""
    size = asked or DEFAULT_PAGE
    if not 1 <= size <= LARGEST_PAGE:
        raise InvalidField("page_size", f"is {size}; it must be from 1 to {LARGEST_PAGE}")
    return size


def filters_of(*texts: str) -> str:
    """What a page token belongs to, in few characters."""
    return sha256("\n".join(texts).encode()).hexdigest()[:12]


def page_token(after: int | None, filters: str) -> str:
    """The token of the page after a sequence; empty where there is none."""
    return "" if after is None else urlsafe_b64encode(f"{after}.{filters}".encode()).decode().rstrip("=")


def after_from(token: str, filters: str) -> int:
    """The sequence after which a page begins. Raises InvalidField for a token that is none, or of other filters."""
    if not token:
        return 0
    try:
        text = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
    except ValueError:
        raise InvalidField("page_token", "is not a page token of this service") from None
    sequence, _, belongs_to = text.partition(".")
    if not sequence.isdecimal() or len(sequence) > 18:
        raise InvalidField("page_token", "is not a page token of this service")
    if belongs_to != filters:
        raise InvalidField("page_token", "belongs to a list with other filters; begin again without it")
    return int(sequence)
