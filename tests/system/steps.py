"""The steps of workflow 1 (docs/workflows.md), and where a node can be told to fail at each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Step:
    """A failpoint that a node comes to at a step; `visit` counts from the moment at which an intent is handed in."""

    side: str
    point: str
    visit: int = 1


CONSUMER: Final = "consumer"
PROVIDER: Final = "provider"

STEPS: Final[Mapping[int, Step]] = {
    1: Step(CONSUMER, "intents.received"),
    2: Step(CONSUMER, "intents.checked"),
    3: Step(CONSUMER, "intents.recorded"),
    4: Step(CONSUMER, "rpc.before_reply"),
    5: Step(CONSUMER, "orchestrator.looking"),
    6: Step(CONSUMER, "writer.before_publish", 2),
    7: Step(CONSUMER, "orchestrator.planned"),
    8: Step(CONSUMER, "candidates.selected"),
    9: Step(CONSUMER, "candidates.looked"),
    10: Step(CONSUMER, "discovery.before_asking"),
    11: Step(PROVIDER, "rpc.before_reply"),
    12: Step(CONSUMER, "candidates.written"),
    13: Step(CONSUMER, "orchestrator.asked"),
    14: Step(CONSUMER, "orchestrator.chosen"),
    15: Step(CONSUMER, "links.before_sending"),
    16: Step(PROVIDER, "writer.before_publish"),
    17: Step(PROVIDER, "writer.after_publish"),
    18: Step(PROVIDER, "writer.after_ack"),
    19: Step(PROVIDER, "rpc.before_reply", 2),
    20: Step(CONSUMER, "links.answered"),
    21: Step(CONSUMER, "links.observed"),
    22: Step(CONSUMER, "orchestrator.purchasing"),
    23: Step(PROVIDER, "rpc.before_reply", 3),
    24: Step(CONSUMER, "writer.after_ack", 6),
    25: Step(CONSUMER, "fabric.before_asking"),
    26: Step(PROVIDER, "fabric.granted"),
    27: Step(CONSUMER, "fabric.offered"),
    28: Step(CONSUMER, "orchestrator.ready"),
}
"""Where each step is failed. Of the consumer's commits the first accepts the intent, the second says where resources
are to come from, the third chooses an offer, and the sixth records that it is agreed. A provider answers the questions
for flavours, for a reservation and for a purchase one after the other, and its first commit is the reservation.
"""

GIVING_BACK: Final[Mapping[str, Step]] = {
    "cancelled": Step(CONSUMER, "writer.after_ack"),
    "cancel-sent": Step(CONSUMER, "links.before_sending"),
    "cancel-decided": Step(PROVIDER, "writer.after_publish"),
    "cancel-durable": Step(PROVIDER, "rpc.before_reply"),
    "cancel-answered": Step(CONSUMER, "links.answered"),
}
"""Where a node is failed while a service request that was ready gives everything back; visits count from its
cancellation on.
"""
