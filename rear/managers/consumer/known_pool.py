"""What is known of one pool of another provider, in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rear.domain.candidate import Candidate, Route
from rear.domain.window import Duration, Instant
from rear.wire.heard import Unusable
from rear.wire.offers import Withdrawn, read_news


@dataclass(slots=True)
class KnownPool:
    """What is known of one pool. `sequence` is 0 where the stream does not have it, `written_at` when it got it.

    `heard_at` is when it was last offered.
    """

    provider_id: str
    pool_id: str
    sequence: int
    written_at: Instant
    heard_at: Instant
    candidate: Candidate | None
    payload: bytes

    def read(self) -> Candidate:
        """The candidate, decoded only now where it is from before a restart. Raises Unusable."""
        if self.candidate is None:
            said = read_news(self.payload)
            if isinstance(said, Withdrawn):
                raise Unusable("it is withdrawn")
            self.candidate, self.payload = said, b""
        return self.candidate


def says_the_same(one: Candidate, other: Candidate) -> bool:
    """Whether they say the same but for when and of which window."""
    return (
        one.flavour == other.flavour
        and one.available == other.available
        and one.available_units == other.available_units
        and [_ageless(route) for route in one.routes] == [_ageless(route) for route in other.routes]
    )


def _ageless(route: Route) -> Route:
    return route if not route.age else replace(route, age=Duration(0))
