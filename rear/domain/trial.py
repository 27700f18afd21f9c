"""Trying out what events would do, where later events of a decision rest on earlier ones."""

from __future__ import annotations

from types import TracebackType

from rear.domain.events import AnyEvent
from rear.domain.state import State, Step


class Trial:
    """A context in which events are applied to a state as they are decided; leaving it takes all of them back.

    The writer applies them again, once the decision stands.
    """

    def __init__(self, state: State) -> None:
        self.events: list[AnyEvent] = []
        """What was added so far."""
        self._state = state
        self._steps: list[Step] = []

    def add(self, *events: AnyEvent) -> None:
        """Moves the state on by these."""
        for event in events:
            self._steps.append(self._state.apply(event))
            self.events.append(event)

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for step in reversed(self._steps):
            self._state.revert(step)
        self._steps.clear()
