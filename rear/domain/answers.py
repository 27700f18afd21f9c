"""What providers answered: to a question for flavours, and to a reservation that they refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from rear.domain.counter_offer import CounterOffer
from rear.domain.value import value
from rear.domain.window import Duration

OK: Final = 0
"""`google.rpc.Code` of an answer."""

SILENCE: Final = frozenset({1, 2, 4, 13, 14})
"""Codes of what was no answer: CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE."""

REFUSALS: Final = frozenset({3, 7, 9, 12})
"""Codes of a plain no: INVALID_ARGUMENT, PERMISSION_DENIED, FAILED_PRECONDITION, UNIMPLEMENTED."""


@value
class ProviderAnswer:
    """How one provider answered a question for flavours (workflow 1, step 13).

    `code` is a number of `google.rpc.Code`, and `message` says for people why it is not OK. `provider_id` is empty
    where the provider did not say who it is. `flavours` counts those that were good enough to be used.
    """

    provider_id: str
    endpoint: str
    code: int
    message: str
    elapsed: Duration
    flavours: int = 0

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return self.code == OK

    @property
    def silent(self) -> bool:
        """Whether it may have more to say when it is asked again."""
        return self.code in SILENCE

    @property
    def refused(self) -> bool:
        """Whether it answered that it will not say."""
        return self.code in REFUSALS


@value
class HeardRefusal:
    """A reservation that was refused, with what would have fitted where that was said.

    `reason` is the stable one of `rear.v1.ErrorReason` without its prefix.
    """

    provider_id: str
    flavour_id: str
    reason: str
    message: str
    counter_offer: CounterOffer | None = None


def same_said(left: Sequence[ProviderAnswer], right: Sequence[ProviderAnswer]) -> bool:
    """Whether all of it is the same, but for the time that it took."""
    return _timeless(left) == _timeless(right)


def _timeless(answers: Sequence[ProviderAnswer]) -> list[ProviderAnswer]:
    return [replace(answer, elapsed=Duration(0)) for answer in answers]
