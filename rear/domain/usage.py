"""Usage by name, which costs memory only while something is in use."""

from __future__ import annotations

from typing import Final

from rear.domain.step_function import StepFunction
from rear.domain.window import Duration, Instant, Window

IDLE: Final = StepFunction()
"""Zero throughout, for what nothing is held on. Never add to it."""


def add_to(functions: dict[str, StepFunction], name: str, window: Window, amount: int) -> None:
    """Add to the function of `name`, which exists only while it is other than zero somewhere."""
    function = functions.get(name)
    if function is None:
        function = functions[name] = StepFunction()
    function.add(window, amount)
    if not function:
        del functions[name]


def next_at_most(usage: StepFunction, limit: int, candidate: Instant, duration: Duration) -> Instant | None:
    """`candidate` where usage stays at most `limit` for `duration`, else where the blocked stretch ends.

    Of several blocked stretches the last one counts: every start before its end has some of it in its window.
    None where it never ends.
    """
    blocked = usage.last_above(candidate, Instant(candidate + duration), limit)
    return candidate if blocked is None else usage.first_at_most(blocked, limit)
