"""How long to wait before something is tried again that does not come on: longer each time."""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.1
LONGEST: Final = 5.0
"""Seconds."""


class Pauses:
    """The pauses of many things, by key."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def next(self, key: str, at_least: float = 0.0) -> float:
        """Seconds to wait now, `at_least` so many."""
        pause = self._next.get(key, FIRST)
        self._next[key] = min(2 * pause, LONGEST)
        return max(pause, at_least)

    def forget(self, key: str) -> None:
        """It has come on: the next pause is a short one."""
        self._next.pop(key, None)
