"""Prices: exact arithmetic on money, rounded up once at the end."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Final

from rear.domain.demand import Demand
from rear.domain.value import value
from rear.domain.window import Duration

NANOS_PER_UNIT: Final = 1_000_000_000

MOST_NANOS: Final = 2**63 * NANOS_PER_UNIT - 1
"""The largest amount that `google.type.Money` can say."""


@value
class Money:
    """An amount in billionths (nanos) of a currency's unit, as `google.type.Money` counts it."""

    currency: str
    nanos: int


@value
class PriceComponent:
    """`amount` for `per_amount` of `kind` over `per_duration`.

    An empty `kind` is a fixed part; no `per_duration` means that it is paid once. For a unit class the
    amount is counted in millis.
    """

    kind: str
    amount: Money
    per_amount: int = 1
    per_duration: Duration | None = None


@value
class Price:
    """The sum of its components, which all have one currency."""

    components: tuple[PriceComponent, ...] = ()

    def total(self, demand: Demand, duration: Duration) -> Money | None:
        """What `demand` costs for `duration`, rounded up to one nano; None where there is no price."""
        if not self.components:
            return None
        total = Fraction(0)
        for component in self.components:
            amount = 1 if not component.kind else _amount_of(demand, component.kind)
            part = Fraction(component.amount.nanos * amount, component.per_amount)
            if component.per_duration is not None:
                part = part * duration / component.per_duration
            total += part
        return Money(self.components[0].amount.currency, ceil(total))


def _amount_of(demand: Demand, kind: str) -> int:
    millis = sum(request.count * request.millis_each for request in demand.units if request.unit_class == kind)
    return demand.quantities.of(kind) + millis
