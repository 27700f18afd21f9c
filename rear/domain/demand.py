"""What a buyer asks of one pool: divisible quantities and discrete units together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rear.domain.quantities import NOTHING, Quantities
from rear.domain.units import Attributes, UnitRequest
from rear.domain.value import value


@value
class Demand:
    """A partition that is wanted. The devices of its unit requests are all different devices."""

    quantities: Quantities = NOTHING
    units: tuple[UnitRequest, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing at all is asked for."""
        return not self.quantities.positive and not any(request.count > 0 for request in self.units)


def devices(requests: Iterable[UnitRequest]) -> Counter[tuple[str, Attributes, int]]:
    """How many devices are asked for, by their class, their attributes and the millis of each."""
    counts = Counter[tuple[str, Attributes, int]]()
    for request in requests:
        counts[request.unit_class, request.attributes, request.millis_each] += request.count
    return +counts
