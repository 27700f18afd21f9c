"""The heap of what time will do: what is due comes out, in order, and no more than asked for."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rear.domain import contract as contracts
from rear.domain.contract import Contract
from rear.domain.events import ContractReserved
from rear.domain.lifecycle import ContractState
from rear.domain.window import Instant, Window
from rear.managers.provider.timers import Timers
from tests.examples import EVENTS


def reserved(key: str, purchase_before: int) -> Contract:
    event = next(event for event in EVENTS if isinstance(event, ContractReserved))
    began = contracts.evolve(None, event)
    return replace(began, id=key, purchase_before=Instant(purchase_before), window=Window(Instant(100), Instant(200)))


def watching(*contracts_: Contract) -> Timers:
    timers = Timers()
    for contract in contracts_:
        timers.watch(contract)
    return timers


def test_each_state_waits_for_its_own_instant() -> None:
    contract = reserved("c", 50)
    timers = watching(contract)
    assert timers.next_due() == 50

    for state, due in ((ContractState.CONFIRMED, 100), (ContractState.ACTIVE, 200)):
        timers = Timers()
        assert timers.watch(replace(contract, state=state))
        assert timers.next_due() == due


def test_what_has_ended_is_not_watched() -> None:
    timers = Timers()

    for state in (ContractState.EXPIRED, ContractState.CANCELLED, ContractState.REVOKED, ContractState.COMPLETED):
        assert not timers.watch(replace(reserved("c", 5), state=state))

    assert len(timers) == 0
    assert timers.next_due() is None
    assert timers.pop_due(Instant(10**9), 10) == []


def test_watch_says_whether_the_first_due_instant_moved() -> None:
    timers = Timers()

    assert timers.watch(reserved("b", 20))
    assert not timers.watch(reserved("c", 30))
    assert timers.watch(reserved("a", 10))


def test_what_is_due_comes_out_once_the_longest_overdue_first() -> None:
    timers = watching(reserved("b", 20), reserved("d", 41), reserved("a", 10), reserved("c", 30))

    assert timers.pop_due(Instant(9), 10) == []
    assert timers.pop_due(Instant(30), 2) == ["a", "b"]
    assert timers.pop_due(Instant(30), 2) == ["c"]
    assert timers.pop_due(Instant(40), 2) == []
    assert timers.next_due() == 41


def test_overdue_ones_are_shown_and_stay() -> None:
    timers = watching(reserved("b", 20), reserved("a", 10), reserved("c", 30))

    assert timers.overdue(Instant(20)) == ["a", "b"]
    assert len(timers) == 3
    assert timers.pop_due(Instant(20), 5) == ["a", "b"]


@given(dues=st.lists(st.integers(0, 60), max_size=40), now=st.integers(0, 60), most=st.integers(1, 10))
def test_the_heap_agrees_with_a_sorted_list(dues: list[int], now: int, most: int) -> None:
    contracts_ = [reserved(f"{number:03}", due) for number, due in enumerate(dues)]
    at_once, one_by_one = Timers((Instant(due), each.id) for due, each in zip(dues, contracts_, strict=True)), Timers()
    for contract in contracts_:
        one_by_one.watch(contract)
    due = sorted((due, f"{number:03}") for number, due in enumerate(dues) if due <= now)

    for timers in (at_once, one_by_one):
        assert timers.overdue(Instant(now)) == [key for _, key in due]
        popped = []
        while taken := timers.pop_due(Instant(now), most):
            assert len(taken) <= most
            popped += taken
        assert popped == [key for _, key in due]
        assert len(timers) == len(dues) - len(due)
