"""The buyer's copy: it follows its seller, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from rear.domain import purchase as purchases
from rear.domain.event import Cause
from rear.domain.lifecycle import LIVE_STATES, TERMINAL_STATES, ContractState, Ending
from rear.domain.link import ContractCopy, LinkVerb, Order
from rear.domain.link_events import LinkEvent, LinkRequested, LinkUndone
from rear.domain.price import Money
from rear.domain.purchase import UNTRUE, Purchase
from rear.domain.quantities import Quantities
from rear.domain.refusals import RequestIdReused, WrongState
from rear.domain.window import DAY, HOUR, AskedWindow, Instant, Window, after
from tests.examples import CONTRACT, COPY, LATER, NOW, ORDER

CAUSE: Final = Cause(NOW, NOW)


def asked(order: Order = ORDER) -> Purchase:
    event = purchases.request_reserve(None, CONTRACT, "r1", order, "request-1", "web", CAUSE)
    assert event is not None
    return purchases.evolve(None, event)


def seen(state: ContractState, revision: int = 1, **changes: Any) -> ContractCopy:
    ending = None if state in LIVE_STATES else Ending("somebody", "somehow")
    return replace(COPY, state=state, revision=revision, ending=ending, **changes)


def after_all(purchase: Purchase, *events: LinkEvent | None) -> Purchase:
    for event in events:
        assert event is not None
        purchase = purchases.evolve(purchase, event)
    return purchase


def observed(purchase: Purchase, copy: ContractCopy) -> Purchase:
    return after_all(purchase, *purchases.observe(purchase, copy, CAUSE))


def held() -> Purchase:
    return observed(asked(), seen(ContractState.RESERVED))


def bought() -> Purchase:
    return after_all(held(), purchases.request_purchase(held(), "p1", CAUSE))


def cancelled(purchase: Purchase) -> Purchase:
    return after_all(purchase, purchases.request_cancel(purchase, "c1", "why", CAUSE))


class TestFollowing:
    @pytest.mark.parametrize("revision", [0, 1, 2])
    def test_only_a_higher_revision_is_applied(self, revision: int) -> None:
        known = observed(asked(), seen(ContractState.CONFIRMED, 2))

        assert purchases.observe(known, seen(ContractState.RESERVED, revision), CAUSE) == ()

    def test_what_came_before_may_be_missed(self) -> None:
        assert observed(asked(), seen(ContractState.COMPLETED, 4)).state is ContractState.COMPLETED

    def test_nothing_ends_by_a_clock_of_the_buyer(self) -> None:
        overdue = Cause(after(Instant(COPY.window.end), DAY), after(Instant(COPY.window.end), DAY))
        known = held()

        assert after_all(known, purchases.request_purchase(known, "p1", overdue)).pending is not None
        assert known.state is ContractState.RESERVED

    def test_another_contract_is_no_copy(self) -> None:
        with pytest.raises(ValueError, match="is not the one"):
            purchases.observe(held(), seen(ContractState.ACTIVE, 9, id="another"), CAUSE)

    @pytest.mark.parametrize("state", ContractState)
    def test_it_is_open_while_the_seller_holds_capacity(self, state: ContractState) -> None:
        assert observed(asked(), seen(state)).open is (state in LIVE_STATES)


class TestPending:
    @pytest.mark.parametrize("state", ContractState)
    def test_any_sight_of_the_contract_tells_what_became_of_a_reserve(self, state: ContractState) -> None:
        assert observed(asked(), seen(state)).pending is None

    @pytest.mark.parametrize("state", ContractState)
    def test_a_purchase_is_settled_once_the_contract_is_not_reserved(self, state: ContractState) -> None:
        pending = observed(bought(), seen(state, 2)).pending

        assert (pending is None) is (state is not ContractState.RESERVED)

    @pytest.mark.parametrize("state", ContractState)
    def test_a_cancel_is_settled_once_the_contract_has_ended(self, state: ContractState) -> None:
        pending = observed(cancelled(bought()), seen(state, 2)).pending

        assert (pending is None) is (state in TERMINAL_STATES)


class TestReserve:
    def test_it_is_decided_once(self) -> None:
        assert purchases.request_reserve(asked(), CONTRACT, "r1", ORDER, "request-1", "web", CAUSE) is None

    def test_an_id_stands_for_one_order(self) -> None:
        other = replace(ORDER, flavour_id="another")
        with pytest.raises(RequestIdReused):
            purchases.request_reserve(asked(), CONTRACT, "r1", other, "request-1", "web", CAUSE)


class TestPurchase:
    def test_it_is_decided_once(self) -> None:
        assert purchases.request_purchase(bought(), "p2", CAUSE) is None

    @pytest.mark.parametrize("state", [ContractState.CONFIRMED, ContractState.ACTIVE])
    def test_what_is_agreed_is_not_bought_again(self, state: ContractState) -> None:
        assert purchases.request_purchase(observed(bought(), seen(state, 2)), "p2", CAUSE) is None

    @pytest.mark.parametrize(
        "purchase",
        [
            pytest.param(asked(), id="unknown"),
            pytest.param(observed(held(), seen(ContractState.EXPIRED, 2)), id="ended"),
            pytest.param(cancelled(held()), id="being cancelled"),
            pytest.param(after_all(asked(), purchases.undo(asked(), "R", "m", CAUSE)), id="undone"),
        ],
    )
    def test_what_is_not_held_cannot_be_bought(self, purchase: Purchase) -> None:
        with pytest.raises(WrongState):
            purchases.request_purchase(purchase, "p1", CAUSE)


class TestCancel:
    @pytest.mark.parametrize("purchase", [asked(), held(), bought()], ids=["asked", "held", "bought"])
    def test_it_replaces_whatever_is_under_way(self, purchase: Purchase) -> None:
        ending = cancelled(purchase)

        assert ending.pending is not None
        assert (ending.pending.verb, ending.pending.reason) == (LinkVerb.CANCEL, "why")
        assert ending.request_id == "r1"  # what the reserve is asked again with

    @pytest.mark.parametrize("state", sorted(TERMINAL_STATES, key=str))
    def test_what_has_ended_is_not_cancelled(self, state: ContractState) -> None:
        assert purchases.request_cancel(observed(asked(), seen(state)), "c1", "", CAUSE) is None

    def test_it_is_decided_once(self) -> None:
        assert purchases.request_cancel(cancelled(held()), "c2", "", CAUSE) is None


class TestUndone:
    def test_a_refusal_leaves_nothing_open(self) -> None:
        undone = after_all(asked(), purchases.undo(asked(), "CAPACITY_EXCEEDED", "no room", CAUSE))

        assert not undone.open
        assert undone.state is None
        assert undone.undone is not None
        assert undone.undone.reason == "CAPACITY_EXCEEDED"
        assert purchases.undo(undone, "AGAIN", "", CAUSE) is None
        assert purchases.request_cancel(undone, "c1", "", CAUSE) is None

    @pytest.mark.parametrize("state", ContractState)
    def test_nothing_is_written_of_what_is_not_open_any_more(self, state: ContractState) -> None:
        undone = after_all(asked(), purchases.undo(asked(), "PERMISSION_DENIED", "", CAUSE))
        ended = observed(asked(), seen(ContractState.EXPIRED, 2))

        assert purchases.observe(undone, seen(state, 5), CAUSE) == ()
        assert purchases.observe(ended, seen(state, 5), CAUSE) == ()

    @pytest.mark.parametrize(
        "untrue",
        [
            {"provider_id": "spiffe://other.example/node/n9"},
            {"partition": replace(ORDER.partition, quantities=Quantities({"cpu_millicores": 1}))},
            {"partition": replace(ORDER.partition, units=())},
            {"assigned_units": ()},
            {"assigned_units": (*COPY.assigned_units, *COPY.assigned_units)},
            {"window": Window(NOW, after(NOW, DAY))},
            {"window": Window(after(NOW, HOUR), after(NOW, 2 * HOUR))},
            {"price": Money("EUR", 2_000_000_001)},
            {"price": Money("USD", 1)},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_a_contract_that_the_order_cannot_have_led_to_is_given_up_and_cancelled(
        self, untrue: dict[str, Any]
    ) -> None:
        events = purchases.observe(asked(), seen(ContractState.RESERVED, **untrue), CAUSE)

        assert [type(event) for event in events] == [LinkUndone, LinkRequested]
        given_up = after_all(asked(), *events)
        assert given_up.cancelling
        assert given_up.undone is not None
        assert given_up.undone.reason == UNTRUE
        assert given_up.state is None
        assert given_up.copy is None
        assert not observed(given_up, seen(ContractState.CANCELLED, 2, **untrue)).open

    @pytest.mark.parametrize(
        "untrue",
        [
            {"state": ContractState.RESERVED},
            {"state": ContractState.EXPIRED},
            {"price": Money("EUR", 1_580_000_001)},
            {"price": None},
            {"window": Window(COPY.window.start, after(COPY.window.end, 1))},
            {"assigned_units": tuple(replace(share, name="another") for share in COPY.assigned_units)},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_a_contract_that_cannot_have_become_so_is_given_up_and_cancelled(self, untrue: dict[str, Any]) -> None:
        known = observed(bought(), seen(ContractState.CONFIRMED, 2))

        given_up = observed(known, replace(seen(ContractState.CONFIRMED, 3), **untrue))

        assert given_up.cancelling
        assert given_up.undone is not None
        assert given_up.undone.reason == UNTRUE

    def test_what_a_seller_leaves_open_to_itself_is_believed(self) -> None:
        later = replace(ORDER, window=AskedWindow(None, None, None), max_price=None)
        copy = seen(ContractState.RESERVED, price=None, window=Window(COPY.created_at, after(NOW, 3 * DAY)))

        assert observed(asked(later), copy).state is ContractState.RESERVED

    def test_a_window_that_begins_at_once_begins_when_the_contract_does(self) -> None:
        at_once = replace(ORDER, window=AskedWindow(None, None, HOUR))
        next_day = Window(after(NOW, DAY), after(NOW, DAY + HOUR))

        assert observed(asked(at_once), seen(ContractState.RESERVED, window=next_day)).undone is not None

    def test_a_seller_cannot_change_a_contract_without_end(self) -> None:
        purchase = held()
        for revision in range(2, 300):
            purchase = after_all(purchase, *purchases.observe(purchase, seen(ContractState.RESERVED, revision), CAUSE))

        assert purchase.undone is not None
        assert purchase.version <= purchases.MOST_EVENTS + 2
        assert purchase.cancelling

    def test_why_it_was_given_up_first_stays(self) -> None:
        given_up = after_all(asked(), *purchases.give_up(asked(), UNTRUE, "another contract", CAUSE))

        gone = after_all(given_up, purchases.undo(given_up, "CONTRACT_NOT_FOUND", "", CAUSE))

        assert not gone.open
        assert gone.undone is not None
        assert gone.undone.reason == UNTRUE


def test_a_purchase_begins_with_its_order() -> None:
    with pytest.raises(ValueError, match="with an order"):
        purchases.evolve(None, LinkUndone(CONTRACT, 1, CAUSE, "R", ""))


def test_it_was_changed_when_it_last_changed() -> None:
    later = purchases.observe(asked(), seen(ContractState.RESERVED), Cause(LATER, LATER))

    changed = after_all(asked(), *later)
    assert (changed.requested_at, changed.updated_at) == (NOW, LATER)
