"""Where a client asks next."""

from __future__ import annotations

import grpc
import pytest

from rear.rpc.refused import Refused, Unreachable
from rear.rpc.route import MOST_NAMED, Route, read_endpoints


def failure(reason: str = "", endpoint: str = "") -> Unreachable:
    metadata = {"endpoint": endpoint} if endpoint else {}
    return Unreachable(grpc.StatusCode.UNAVAILABLE, "", reason=reason, metadata=metadata)


def test_it_goes_where_the_writer_is_said_to_be_at_once() -> None:
    route = Route(("a", "b"))
    assert route.move(route.endpoint, failure("NOT_WRITER", "c"))
    assert route.endpoint == "c"


def test_two_that_send_it_to_each_other_are_asked_with_a_pause() -> None:
    route = Route(("a",))
    assert route.move(route.endpoint, failure("NOT_WRITER", "b"))
    assert not route.move(route.endpoint, failure("NOT_WRITER", "a"))
    assert route.endpoint == "a"
    route.answered()
    assert route.move(route.endpoint, failure("NOT_WRITER", "b"))


@pytest.mark.parametrize("reason", ["", "NOT_READY", "LEDGER_UNAVAILABLE", "NOT_WRITER"])
def test_the_named_ones_take_turns_where_one_cannot_answer(reason: str) -> None:
    route = Route(("a", "b"))
    asked = []
    for _ in range(4):
        assert not route.move(route.endpoint, failure(reason))
        asked.append(route.endpoint)
    assert asked == ["b", "a", "b", "a"]


def test_it_comes_back_to_a_named_one_from_a_writer_that_is_gone() -> None:
    route = Route(("a",))
    route.move(route.endpoint, failure("NOT_WRITER", "b"))
    assert not route.move(route.endpoint, failure())
    assert route.endpoint == "a"


def test_calls_that_fail_together_move_once() -> None:
    route = Route(("a", "b"))
    for _ in range(4):
        assert not route.move("a", failure())
    assert route.endpoint == "b"


def test_calls_that_are_sent_on_together_all_go_there_at_once() -> None:
    route = Route(("a", "b"))
    assert all(route.move("a", failure("NOT_WRITER", "b")) for _ in range(4))
    assert route.endpoint == "b"


@pytest.mark.parametrize("reason", ["OUTCOME_PENDING", "CLEARING_OVERDUE", "FABRIC_NOT_READY"])
def test_it_stays_where_the_request_is_in_hand(reason: str) -> None:
    route = Route(("a", "b"))
    assert not route.move(route.endpoint, failure(reason))
    assert route.endpoint == "a"


def test_a_refusal_moves_nobody() -> None:
    route = Route(("a", "b"))
    assert not route.move(route.endpoint, Refused(grpc.StatusCode.NOT_FOUND, ""))
    assert route.endpoint == "a"


def test_endpoints_are_read_from_a_list() -> None:
    assert read_endpoints("a:1, b:2,") == ("a:1", "b:2")
    assert read_endpoints("") == ("",)


@pytest.mark.parametrize("nowhere", [":1", "unix:/run/x.sock", "a:b:1", "host:123456", "a" * 300 + ":1"])
def test_nobody_is_sent_to_where_nothing_can_be(nowhere: str) -> None:
    route = Route(("a:1", "b:1"))

    assert not route.move("a:1", failure("NOT_WRITER", nowhere))
    assert route.endpoint == "b:1"


def test_an_endpoint_that_was_added_is_asked_in_its_turn() -> None:
    route = Route(("a",))
    route.add("b")
    route.add("b")
    assert route.endpoint == "a"
    asked = []
    for _ in range(3):
        route.move(route.endpoint, failure())
        asked.append(route.endpoint)
    assert asked == ["b", "a", "b"]


def test_of_many_that_are_added_the_newest_is_asked() -> None:
    route = Route(("a",))
    for number in range(2 * MOST_NAMED):
        route.add(f"b{number}")
    assert route.named("a")
    assert [route.named(f"b{number}") for number in (MOST_NAMED, 2 * MOST_NAMED - 1)] == [False, True]
