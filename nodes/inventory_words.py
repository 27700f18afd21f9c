"""What words in an inventory must look like, whichever file form they come from."""

from __future__ import annotations

import re
from typing import Final

from rear.documents import TextError, quoted

AMD64: Final = "amd64"
ARM64: Final = "arm64"

_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_ARCHITECTURE: Final = re.compile(r"[a-z0-9_]{1,32}")
_UNIT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_KIND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")


def country(text: str) -> str:
    """An ISO 3166-1 alpha-2 code."""
    return _checked(text, _COUNTRY, "write a country by its two capital letters, as in DE")


def architecture(text: str) -> str:
    """A processor architecture by its usual name in container platforms."""
    return _checked(text, _ARCHITECTURE, "write an architecture, as in amd64 or arm64")


def unit_class(text: str) -> str:
    """The class of a discrete unit."""
    return _checked(text, _UNIT_NAME, "write a class of 1 to 64 letters, digits, . _ : or -, as in gpu")


def unit_name(text: str) -> str:
    """The name of a discrete unit."""
    return _checked(text, _UNIT_NAME, "write a name of 1 to 64 letters, digits, . _ : or -, as in gpu-0")


def extended_kind(text: str) -> str:
    """The name of an extended kind of quantity."""
    return _checked(text, _KIND, "write a kind of 1 to 64 letters, digits, . _ / or -")


def _checked(text: str, pattern: re.Pattern[str], remedy: str) -> str:
    if not pattern.fullmatch(text):
        raise TextError(f"is {quoted(text)}; {remedy}")
    return text
