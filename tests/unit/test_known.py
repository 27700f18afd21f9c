"""Contracts that have a row are always found; others are mostly not even looked for."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from rear.domain.events import ContractReserved
from rear.ledger.commit import Committed
from rear.projections.known import KnownContracts
from rear.projections.tables import Tables
from tests.unit.test_lazy_tables import History

some_ids = st.lists(st.text(max_size=40), max_size=50)


@given(added=some_ids, others=some_ids)
def test_what_was_added_is_in_it(added: list[str], others: list[str]) -> None:
    known = KnownContracts()
    known.add(added)
    assert all(each in known for each in (*added, *others))  # not complete: each may have a row

    known.complete = True

    assert all(each in known for each in added)
    assert sum(each in known for each in set(others) - set(added)) <= 1


def test_tables_find_each_of_their_contracts_before_while_and_after_they_learn(tmp_path: Path) -> None:
    history = History(Random(7))
    first, second = history.go_on(40), history.go_on(40)
    Tables(tmp_path / "tables").write(first, history.state.service)
    tables = Tables(tmp_path / "tables")
    begun = [{item.step.event.originator_id for item in part if is_contract(item)} for part in (first, second)]

    assert all(tables.contract(key) for key in begun[0])
    learning = tables.learning()
    next(learning)
    tables.write(second, history.state.service)
    assert all(tables.contract(key) for key in begun[0] | begun[1])
    for _ in learning:
        pass

    assert all(tables.contract(key) for key in begun[0] | begun[1])
    assert tables.contract("another") is None
    tables.close()


def is_contract(item: Committed) -> bool:
    return isinstance(item.step.event, ContractReserved)
