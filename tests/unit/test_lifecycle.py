"""The life of a contract: every state with every trigger, by the table and by the decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from rear.domain import contract as contracts
from rear.domain.contract import Contract, VerbCommand
from rear.domain.events import (
    Cause,
    ContractActivated,
    ContractCompleted,
    ContractExpired,
    ContractReserved,
    ContractRevoked,
)
from rear.domain.lifecycle import CONTRACT_LIFECYCLE, LIVE_STATES, TERMINAL_STATES, ContractState, Ending, Trigger
from rear.domain.refusals import Refusal, TtpPassed, WrongState
from rear.domain.window import HOUR, MINUTE, Instant, Window, after
from tests.examples import BUYER, EVENTS, NOW

#                        purchase     TTP passes  starts    ends         cancel       revoke     amend
TABLE: Final = """
    RESERVED             CONFIRMED    EXPIRED     -         -            CANCELLED    REVOKED    RESERVED
    CONFIRMED            -            -           ACTIVE    COMPLETED    CANCELLED    REVOKED    CONFIRMED
    ACTIVE               -            -           -         COMPLETED    CANCELLED    REVOKED    ACTIVE
    EXPIRED              -            -           -         -            -            -          -
    CANCELLED            -            -           -         -            -            -          -
    REVOKED              -            -           -         -            -            -          -
    COMPLETED            -            -           -         -            -            -          -
"""
TRIGGERS: Final = (
    Trigger.PURCHASE,
    Trigger.TTP_PASSED,
    Trigger.WINDOW_STARTED,
    Trigger.WINDOW_ENDED,
    Trigger.CANCEL,
    Trigger.REVOKE,
    Trigger.AMEND,
)
CELLS: Final = {
    (ContractState[row.split()[0]], trigger): None if to == "-" else ContractState[to]
    for row in TABLE.strip().splitlines()
    for trigger, to in zip(TRIGGERS, row.split()[1:], strict=True)
}
BY_TIME: Final = {
    ContractExpired: Trigger.TTP_PASSED,
    ContractActivated: Trigger.WINDOW_STARTED,
    ContractCompleted: Trigger.WINDOW_ENDED,
}

START: Final = after(NOW, HOUR)
END: Final = after(START, HOUR)
PURCHASE_BEFORE: Final = after(NOW, 10 * MINUTE)


def standing(state: ContractState) -> Contract:
    """A contract in `state`, with a window that begins an hour from NOW."""
    reserved = next(event for event in EVENTS if isinstance(event, ContractReserved))
    return replace(
        contracts.evolve(None, reserved),
        state=state,
        window=Window(START, END),
        purchase_before=PURCHASE_BEFORE,
        version=5,
    )


def at(now: Instant) -> Cause:
    return Cause(now, now, BUYER, "r9")


COMMAND: Final = VerbCommand("r9", b"body", 5)

each_state = pytest.mark.parametrize("state", ContractState)


def test_every_cell_is_written_down() -> None:
    assert set(CELLS) == {(state, trigger) for state in ContractState for trigger in Trigger}


@pytest.mark.parametrize("trigger", Trigger)
@each_state
def test_the_table_says_what_is_agreed(state: ContractState, trigger: Trigger) -> None:
    assert CONTRACT_LIFECYCLE.get((state, trigger)) == CELLS[state, trigger]


def test_what_lives_can_end_and_what_has_ended_stays() -> None:
    assert {ContractState.RESERVED, ContractState.CONFIRMED, ContractState.ACTIVE} == LIVE_STATES
    assert set(ContractState) - LIVE_STATES == TERMINAL_STATES
    for (state, _), to in CELLS.items():
        assert state in LIVE_STATES or to is None


@each_state
def test_a_purchase_agrees_with_the_table(state: ContractState) -> None:
    contract, to = standing(state), CELLS[state, Trigger.PURCHASE]
    if to is None:
        refusal = TtpPassed if state is ContractState.EXPIRED else WrongState
        with pytest.raises(refusal) as refused:
            contracts.purchase(contract, COMMAND, at(NOW))
        assert refused.value.metadata == {"contract_id": contract.id, "state": state.value}
        return
    event = contracts.purchase(contract, COMMAND, at(NOW))

    assert event is not None
    assert contracts.evolve(contract, event).state is to


@each_state
def test_a_purchase_comes_before_the_ttp_passes(state: ContractState) -> None:
    contract = standing(state)
    late = at(PURCHASE_BEFORE)

    with pytest.raises(Refusal):
        contracts.purchase(contract, COMMAND, late)
    if state is ContractState.RESERVED:
        assert contracts.purchase(contract, COMMAND, at(Instant(PURCHASE_BEFORE - 1))) is not None


@each_state
def test_a_cancel_agrees_with_the_table(state: ContractState) -> None:
    contract, to = standing(state), CELLS[state, Trigger.CANCEL]
    event = contracts.cancel(contract, COMMAND, "no longer needed", at(NOW))
    if to is None:
        assert event is None  # and the answer is the contract as it ended
        return

    assert event is not None
    ended = contracts.evolve(contract, event)
    assert ended.state is to
    assert ended.ending == Ending(BUYER, "no longer needed")


@each_state
def test_a_revocation_agrees_with_the_table(state: ContractState) -> None:
    contract, to = standing(state), CELLS[state, Trigger.REVOKE]
    event = contracts.revoke(contract, COMMAND, "the machine is broken", at(NOW))
    if to is None:
        assert event is None  # and the answer is the contract as it ended
        return

    assert event is not None
    ended = contracts.evolve(contract, event)
    assert ended.state is to
    assert ended.ending == Ending(BUYER, "the machine is broken")


@pytest.mark.parametrize(
    ("now", "triggers"),
    [
        (Instant(PURCHASE_BEFORE - 1), set()),
        (PURCHASE_BEFORE, {Trigger.TTP_PASSED}),
        (Instant(START - 1), {Trigger.TTP_PASSED}),
        (START, {Trigger.TTP_PASSED, Trigger.WINDOW_STARTED}),
        (Instant(END - 1), {Trigger.TTP_PASSED, Trigger.WINDOW_STARTED}),
        (END, {Trigger.TTP_PASSED, Trigger.WINDOW_ENDED}),
        (after(END, HOUR), {Trigger.TTP_PASSED, Trigger.WINDOW_ENDED}),
    ],
)
@each_state
def test_time_agrees_with_the_table(state: ContractState, now: Instant, triggers: set[Trigger]) -> None:
    """Of what has come about by `now`, that happens for which the table has a row, and nothing else."""
    contract = standing(state)
    possible = {trigger: to for trigger in triggers if (to := CELLS[state, trigger]) is not None}

    event = contracts.pass_time(contract, now)

    if not possible:
        assert event is None
        return
    assert event is not None
    trigger = BY_TIME[type(event)]
    assert contracts.evolve(contract, event).state is possible[trigger]
    due = {Trigger.TTP_PASSED: PURCHASE_BEFORE, Trigger.WINDOW_STARTED: START, Trigger.WINDOW_ENDED: END}
    assert (event.cause.at, event.cause.recorded_at) == (due[trigger], now)


@each_state
def test_the_next_due_instant_is_the_first_at_which_time_does_something(state: ContractState) -> None:
    contract = standing(state)
    due = contracts.next_due(contract)

    if due is None:
        assert contracts.pass_time(contract, after(END, HOUR)) is None
        return
    assert contracts.pass_time(contract, Instant(due - 1)) is None
    assert contracts.pass_time(contract, due) is not None


@each_state
def test_an_event_that_the_table_has_no_row_for_cannot_happen(state: ContractState) -> None:
    contract = standing(state)
    for event, trigger in (
        (ContractExpired(contract.id, 6, at(NOW), "late"), Trigger.TTP_PASSED),
        (ContractActivated(contract.id, 6, at(NOW)), Trigger.WINDOW_STARTED),
        (ContractCompleted(contract.id, 6, at(NOW), "over"), Trigger.WINDOW_ENDED),
        (ContractRevoked(contract.id, 6, at(NOW), "seller", "broken", b""), Trigger.REVOKE),
    ):
        if CELLS[state, trigger] is None:
            with pytest.raises(KeyError):
                contracts.evolve(contract, event)
        else:
            assert contracts.evolve(contract, event).state is CELLS[state, trigger]
