"""How many watches one caller may have open at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rear.domain.refusals import TooManyWatches

MOST_WATCHES: Final = 200
"""Of one kind and one caller."""


class OpenWatches:
    """Counts the watches of one kind. What changes is looked at for each of them, so nobody may have any number."""

    def __init__(self) -> None:
        self._open = Counter[str]()

    @contextmanager
    def counted(self, caller: str) -> Iterator[None]:
        """One watch of a caller's, for as long as it lasts. Raises TooManyWatches."""
        if self._open[caller] >= MOST_WATCHES:
            raise TooManyWatches(
                f"{caller} has {MOST_WATCHES} watches open, the most that one caller may have: end one of them",
                {"caller": caller},
            )
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
