"""What would fit where something does not. It binds nobody."""

from __future__ import annotations

from rear.domain.demand import Demand
from rear.domain.value import value
from rear.domain.window import Instant, Window


@value
class CounterOffer:
    """The most that fits in the asked window, and the earliest window of that length for all of it.

    `exhaustive` says whether the search for the window looked at everything up to the provider's horizon.
    """

    flavour_id: str
    most_in_window: Demand | None
    asked_window: Window
    earliest_window: Window | None
    exhaustive: bool
    as_of: Instant
