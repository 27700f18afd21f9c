"""A counter-offer for people: what fits, when all of it fits, and the commands that take it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rear.command.amounts import demand_flags, show_demand
from rear.command.times import show_duration, show_instant, show_moment, show_roughly
from rear.domain.demand import Demand
from rear.domain.window import AskedWindow, Duration, Instant, Window
from rear.wire.values import read_instant, read_partition, read_window

if TYPE_CHECKING:
    from rear.v1 import contract_pb2


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that would fit, and the command that asks for it."""

    said: str
    demand: Demand
    window: Window
    command: str


def offers(
    counter_offer: contract_pb2.CounterOffer, demand: Demand, asked: AskedWindow, extra: Sequence[str]
) -> list[Offer]:
    """What the buyer of `demand` can take instead; `extra` are the flags of the asking command to keep."""
    found = []
    flavour_id = counter_offer.flavour_id
    as_of = read_instant(counter_offer.as_of)
    window = read_window(counter_offer.asked_window)
    if counter_offer.HasField("most_in_window"):
        most = read_partition(counter_offer.most_in_window)
        if not most.empty:
            start = None if asked.start is None else window.start
            found.append(
                Offer(
                    f"{show_demand(most)} fits in the window asked for",
                    most,
                    window,
                    _command(flavour_id, most, start, window.duration, extra),
                )
            )
    if counter_offer.HasField("earliest_window"):
        earliest = read_window(counter_offer.earliest_window)
        begins_now = earliest.start <= as_of
        wait = "now" if begins_now else f"in {show_roughly(earliest.start - as_of)}"
        found.append(
            Offer(
                f"all of it fits from {show_moment(earliest.start)} ({wait}) to {show_moment(earliest.end)}",
                demand,
                earliest,
                _command(flavour_id, demand, None if begins_now else earliest.start, earliest.duration, extra),
            )
        )
    return found


def explain(counter_offer: contract_pb2.CounterOffer, found: Sequence[Offer]) -> list[str]:
    """The lines that say it."""
    lines = [f"Counter-offer on {counter_offer.flavour_id} (it binds nobody):"]
    for offer in found:
        lines += [f"  {offer.said}:", f"    {offer.command}"]
    if not counter_offer.HasField("most_in_window"):
        lines.append("  nothing of it fits in the window asked for")
    if not counter_offer.HasField("earliest_window"):
        where = "within the provider's horizon" if counter_offer.exhaustive else "as far as was searched"
        lines.append(f"  no window was found in which all of it fits, {where}")
    return lines


def _command(flavour_id: str, demand: Demand, start: Instant | None, duration: Duration, extra: Sequence[str]) -> str:
    words = ["rear", "reserve", flavour_id, *demand_flags(demand)]
    if start is not None:
        words += ["--start", show_instant(start)]
    return shlex.join([*words, "--for", show_duration(duration), *extra])
