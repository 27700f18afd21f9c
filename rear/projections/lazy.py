"""What is read from the tables when it is first asked for, and looks from outside as if it had been there all along.

Sound because a value that nobody has asked for has not changed: whatever changes an aggregate asks for it first, so
the row of one that was never asked for is still the row that a start found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Final, TypeVar

from immutables import Map

from rear.domain.hold import Hold

Value = TypeVar("Value")
Default = TypeVar("Default")


class _Unread:
    """Stands for a value that is not read yet."""


_UNREAD: Final = _Unread()


class Lazily(MutableMapping[str, Value]):
    """A mapping that knows its keys, and reads a value when it is first asked for."""

    __slots__ = ("_read", "_values")

    def __init__(self, keys: Iterable[str], read: Callable[[str], Value]) -> None:
        """`read` gives the value of one of `keys`; what it raises comes to whoever asks."""
        self._read = read
        self._values: dict[str, Value | _Unread] = dict.fromkeys(keys, _UNREAD)

    def __getitem__(self, key: str) -> Value:
        value = self._values[key]
        if isinstance(value, _Unread):
            value = self._values[key] = self._read(key)
        return value

    def get(self, key: str, default: Default | None = None) -> Value | Default | None:  # type: ignore[override]
        """The value, or `default` where there is none."""
        value = self._values.get(key)
        if value is None:
            return default
        return self[key] if isinstance(value, _Unread) else value

    def __setitem__(self, key: str, value: Value) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Lazily({self._values!r})"

    @property
    def unread(self) -> int:
        """How many values were not asked for yet."""
        return sum(value is _UNREAD for value in self._values.values())


class LazyHolds:
    """A pool's holds, read when they are first asked for."""

    __slots__ = ("_holds", "_read")

    def __init__(self, read: Callable[[], Map[str, Hold]]) -> None:
        """What `read` raises comes to whoever asks."""
        self._read = read
        self._holds: Map[str, Hold] | None = None

    @property
    def _there(self) -> Map[str, Hold]:
        if self._holds is None:
            self._holds = self._read()
        return self._holds

    def set(self, key: str, hold: Hold, /) -> Map[str, Hold]:
        """The holds with one more."""
        return self._there.set(key, hold)

    def delete(self, key: str, /) -> Map[str, Hold]:
        """The holds without one; KeyError where it is not there."""
        return self._there.delete(key)

    def __getitem__(self, key: str) -> Hold:
        return self._there[key]

    def get(self, key: str) -> Hold | None:
        """A hold, None where it is not there."""
        return self._there.get(key)

    def values(self) -> Iterable[Hold]:
        """The holds, in no order."""
        return self._there.values()

    def __contains__(self, key: object) -> bool:
        return key in self._there

    def __iter__(self) -> Iterator[str]:
        return iter(self._there)

    def __len__(self) -> int:
        return len(self._there)

    def __eq__(self, other: object) -> bool:
        return self._there == (other._there if isinstance(other, LazyHolds) else other)

    def __hash__(self) -> int:
        return hash(self._there)

    def __repr__(self) -> str:
        return f"LazyHolds({self._there!r})"
