"""The life of an allocation: every state with every trigger, by the table and by the decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import pytest

from rear.domain import allocation as allocations
from rear.domain.allocation import ALLOCATION_LIFECYCLE, Allocation, AllocationState, AllocationTrigger, Peering
from rear.domain.events import (
    AllocationActivated,
    AllocationCreated,
    AllocationEvent,
    AllocationFailed,
    AllocationPeered,
    AllocationReleased,
    Cause,
)
from rear.domain.lifecycle import ContractState
from tests.examples import BUYER, EVENTS, NOW

#                        peer         activate   fail       release
TABLE: Final = """
    INACTIVE             INACTIVE     ACTIVE     FAILED     RELEASED
    ACTIVE               ACTIVE       -          FAILED     RELEASED
    FAILED               -            -          -          RELEASED
    RELEASED             -            -          -          -
"""
TRIGGERS: Final = (
    AllocationTrigger.PEER,
    AllocationTrigger.ACTIVATE,
    AllocationTrigger.FAIL,
    AllocationTrigger.RELEASE,
)
CELLS: Final = {
    (AllocationState[row.split()[0]], trigger): None if to == "-" else AllocationState[to]
    for row in TABLE.strip().splitlines()
    for trigger, to in zip(TRIGGERS, row.split()[1:], strict=True)
}
PEERING: Final = Peering(BUYER, "embedded", "10.0.0.7:7000")
CAUSE: Final = Cause(NOW, NOW, BUYER, "r9")

MADE: Final[Mapping[AllocationTrigger, Callable[[Allocation], AllocationEvent]]] = {
    AllocationTrigger.PEER: lambda it: AllocationPeered(it.id, 6, CAUSE, BUYER, "embedded", "10.0.0.7:7000"),
    AllocationTrigger.ACTIVATE: lambda it: AllocationActivated(it.id, 6, CAUSE),
    AllocationTrigger.FAIL: lambda it: AllocationFailed(it.id, 6, CAUSE, "no fabric"),
    AllocationTrigger.RELEASE: lambda it: AllocationReleased(it.id, 6, CAUSE, "over"),
}
DECIDED: Final[Mapping[AllocationTrigger, Callable[[Allocation], AllocationEvent | None]]] = {
    AllocationTrigger.PEER: lambda it: allocations.peer(it, replace(PEERING, endpoint="10.0.0.8:7000"), CAUSE),
    AllocationTrigger.ACTIVATE: lambda it: allocations.activate_if_due(it, ContractState.ACTIVE, CAUSE),
    AllocationTrigger.FAIL: lambda it: allocations.fail(it, "no fabric", CAUSE),
}

each_state = pytest.mark.parametrize("state", AllocationState)


def standing(state: AllocationState, peered: Peering | None = PEERING) -> Allocation:
    created = next(event for event in EVENTS if isinstance(event, AllocationCreated))
    return replace(allocations.evolve(None, created), state=state, version=5, peered=peered)


def test_every_cell_is_written_down() -> None:
    assert set(CELLS) == {(state, trigger) for state in AllocationState for trigger in AllocationTrigger}


@pytest.mark.parametrize("trigger", AllocationTrigger)
@each_state
def test_the_table_says_what_is_agreed(state: AllocationState, trigger: AllocationTrigger) -> None:
    to = CELLS[state, trigger]
    event = MADE[trigger](standing(state))

    assert ALLOCATION_LIFECYCLE.get((state, trigger)) == to
    if to is None:
        with pytest.raises(KeyError):
            allocations.evolve(standing(state), event)
    else:
        assert allocations.evolve(standing(state), event).state is to


@pytest.mark.parametrize("trigger", DECIDED)
@each_state
def test_decisions_agree_with_the_table(state: AllocationState, trigger: AllocationTrigger) -> None:
    stands, to = standing(state), CELLS[state, trigger]
    event = DECIDED[trigger](stands)

    if to is None:
        assert event is None
    else:
        assert event is not None
        assert event.originator_version == stands.version + 1
        assert allocations.evolve(stands, event).state is to


def test_an_allocation_that_began_is_inactive_and_not_peered() -> None:
    created = next(event for event in EVENTS if isinstance(event, AllocationCreated))
    began = allocations.evolve(None, created)

    assert (began.state, began.peered, began.stands) == (AllocationState.INACTIVE, None, True)


def test_peering_again_in_the_same_way_is_nothing_new() -> None:
    assert allocations.peer(standing(AllocationState.INACTIVE), PEERING, CAUSE) is None
    assert allocations.peer(standing(AllocationState.ACTIVE), PEERING, CAUSE) is None


@each_state
def test_what_carries_an_allocation_is_known_until_the_end(state: AllocationState) -> None:
    stands = standing(AllocationState.INACTIVE, peered=None)
    peered = allocations.peer(stands, PEERING, CAUSE)
    assert peered is not None
    carried = allocations.evolve(stands, peered)

    assert carried.peered == PEERING
    for trigger, event in MADE.items():
        if CELLS[state, trigger] is not None:
            assert allocations.evolve(replace(carried, state=state), event(carried)).peered == PEERING


@pytest.mark.parametrize("contract_state", ContractState)
@pytest.mark.parametrize("peered", [None, PEERING], ids=["not peered", "peered"])
def test_only_what_is_peered_for_an_active_contract_becomes_active(
    contract_state: ContractState, peered: Peering | None
) -> None:
    event = allocations.activate_if_due(standing(AllocationState.INACTIVE, peered), contract_state, CAUSE)

    assert (event is not None) == (peered is not None and contract_state is ContractState.ACTIVE)


@each_state
def test_all_but_what_was_released_stands_for_what_is_held(state: AllocationState) -> None:
    assert standing(state).stands == (state is not AllocationState.RELEASED)
