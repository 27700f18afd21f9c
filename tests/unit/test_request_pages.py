"""Lists of service requests from the tables: whole, in order, and never too much in memory at a time."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from rear.domain import request_decisions as decisions
from rear.domain.event import AggregateType, Cause
from rear.domain.request_decisions import RequestFilter
from rear.domain.service_request import evolve
from rear.ledger.codec import encode
from rear.projections import histories, schema
from rear.projections.histories import history_row, new_request_row, requests_of
from tests.examples import INTENT, NOW, SOURCE

ALL = RequestFilter()
COUNT = 10
LARGE = 300_000
"""Bytes, about, of each of them: seven fit into what is read at a time."""


@pytest.fixture(scope="module")
def connection() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    made.executescript(schema.TABLES_DDL)
    (component, *_) = INTENT.components
    for number in range(1, COUNT + 1):
        workload = replace(component.workload, command=("serve", "x" * LARGE))
        intent = replace(INTENT, components=(replace(component, workload=workload, depends_on=()),))
        event = decisions.accept(f"request-{number}", intent, b"body", Cause(NOW, NOW, SOURCE, "r"))
        written = encode(event, event_id=SOURCE, source=SOURCE, subject="s")
        made.execute(schema.NEW_REQUEST, new_request_row(number, evolve(None, event)))
        made.execute(schema.NEW_HISTORY, history_row(number, AggregateType.REQUEST, event.originator_id, written))
    return made


@pytest.mark.parametrize("limit", [1, 3, 6, 7, 8, COUNT, COUNT + 1, 1_000])
def test_whatever_their_size_all_come_in_order(connection: sqlite3.Connection, limit: int) -> None:
    listed: list[int] = []
    more = True
    while more:
        page = requests_of(connection, ALL, listed[-1] if listed else 0, limit)
        more = page.more
        assert 1 <= len(page.rows) <= limit
        assert sum(len(request.intent.components[0].workload.command[1]) for _, request in page.rows) < (
            histories.LARGEST_READ
        )
        listed += [sequence for sequence, _ in page.rows]

    assert listed == [*range(1, COUNT + 1)]


def test_one_that_is_larger_than_all_that_is_read_at_a_time_comes_alone(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "LARGEST_READ", 1)

    page = requests_of(connection, ALL, 3, 1_000)

    assert ([sequence for sequence, _ in page.rows], page.more) == ([4], True)


def test_after_the_last_one_there_is_nothing(connection: sqlite3.Connection) -> None:
    page = requests_of(connection, ALL, COUNT, 1_000)

    assert (list(page.rows), page.more) == ([], False)
