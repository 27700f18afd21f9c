"""Files that operators write: how they are read, and how an error names the place that is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MAX_TEXT: Final = 256

Signature = tuple[tuple[int, int, int, int], ...]
"""Device, inode, size and time of each file."""


class DocumentError(Exception):
    """A file that cannot be used. One line says where (file, line, key or column) and what to do.

    `line` counts from 1 and is 0 where the file as a whole is meant; `where` is empty where no key or
    column is to blame.
    """

    def __init__(self, path: Path, line: int, where: str, message: str) -> None:
        at = f"{path}:{line}" if line else str(path)
        super().__init__(f"{at}: {where}: {message}" if where else f"{at}: {message}")
        self.path = path
        self.line = line
        self.where = where
        self.message = message


class TextError(ValueError):
    """A text that is not what is asked for; the message says what would be."""


def signature(*paths: Path) -> Signature | None:
    """What files are, as far as can be told without reading them; None while one of them is not there."""
    try:
        found = [os.stat(path) for path in paths]
    except OSError:
        return None
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def quoted(text: str) -> str:
    """`text` for an error message: in quotes, on one line, cut short where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def plain(text: str) -> str:
    """A text of one line."""
    if len(text) > MAX_TEXT:
        raise TextError(f"has {len(text)} characters; {MAX_TEXT} at most")
    if not text.isprintable():
        raise TextError(f"is {quoted(text)}; write one line without control characters")
    return text


def read_text(path: Path, most_bytes: int) -> str:
    """The text of a file of at most `most_bytes`, a whole number of KiB. Raises `DocumentError`."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise DocumentError(path, 0, "", f"cannot be read: {error.strerror or type(error).__name__}") from error
    return decoded(path, content, most_bytes)


def decoded(path: Path, content: bytes, most_bytes: int) -> str:
    """The text of what was read of a file, of which up to one byte more than is allowed. Raises `DocumentError`."""
    if len(content) > most_bytes:
        most = f"{most_bytes // 1024**2} MiB" if most_bytes >= 1024**2 else f"{most_bytes // 1024} KiB"
        raise DocumentError(path, 0, "", f"is larger than {most}; write less")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(path, line, "", "is not UTF-8 text; save it as UTF-8") from error
