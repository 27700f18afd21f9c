"""The node's secret, from which the credentials of peerings are made."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

BYTES: Final = 32


def load_key(path: Path) -> bytes:
    """The secret in a file that only its owner may read; a new one where there is none, or it is no secret of ours.

    With a new one all credentials are others; consumers get them by asking again, and nothing else depends on it.
    """
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return _make(path)
    if len(found) != BYTES:
        log.warning("the secret of the fabric is damaged and made anew: consumers have to ask again", file=str(path))
        return _make(path)
    return found


def _make(path: Path) -> bytes:
    made = secrets.token_bytes(BYTES)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, made)
        os.fsync(file)
    finally:
        os.close(file)
    partial.rename(path)
    return made
