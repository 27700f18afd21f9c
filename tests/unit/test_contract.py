"""The contract's verbs: what a repeated request does, and what another revision or body does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

import pytest

from rear.domain import contract as contracts
from rear.domain.contract import CANCEL, PURCHASE, REVOKE, Contract, VerbCommand, VerbRequest, contract_id
from rear.domain.events import Cause, ContractActivated, ContractEvent, ContractExpired, ContractReserved
from rear.domain.lifecycle import ContractState, Ending
from rear.domain.refusals import InvalidField, RequestIdReused, RevisionMismatch, TtpPassed
from rear.domain.window import Instant
from tests.examples import BUYER, EVENTS, NOW

CAUSE: Final = Cause(NOW, NOW, BUYER, "p1")
OTHER: Final = Cause(NOW, NOW, BUYER, "c1")
REVOKING: Final = Cause(NOW, NOW, BUYER, "r1")


def reserved() -> Contract:
    return contracts.evolve(None, next(event for event in EVENTS if isinstance(event, ContractReserved)))


def purchased(contract: Contract) -> Contract:
    event = contracts.purchase(contract, VerbCommand("p1", b"buy", contract.version), CAUSE)
    assert event is not None
    return contracts.evolve(contract, event)


def cancelled(contract: Contract) -> Contract:
    event = contracts.cancel(contract, VerbCommand("c1", b"end", None), "why", OTHER)
    assert event is not None
    return contracts.evolve(contract, event)


def revoked(contract: Contract) -> Contract:
    event = contracts.revoke(contract, VerbCommand("r1", b"end", None), "broken", REVOKING)
    assert event is not None
    return contracts.evolve(contract, event)


class TestId:
    def test_the_buyer_can_compute_it(self) -> None:
        known = contract_id("spiffe://a/node/n", "spiffe://b/node/m", "r1")

        assert known == contract_id("spiffe://a/node/n", "spiffe://b/node/m", "r1")
        assert UUID(known).version == 5

    def test_each_of_seller_buyer_and_request_counts(self) -> None:
        ids = {
            contract_id("s", "b", "r"),
            contract_id("s2", "b", "r"),
            contract_id("s", "b2", "r"),
            contract_id("s", "b", "r2"),
        }
        assert len(ids) == 4


class TestPurchase:
    def test_it_keeps_its_request(self) -> None:
        contract = purchased(reserved())

        assert (contract.state, contract.version) == (ContractState.CONFIRMED, 2)
        assert contract.requests == (VerbRequest(PURCHASE, "p1", b"buy"),)

    def test_the_same_request_again_changes_nothing_whatever_its_revision_was(self) -> None:
        contract = purchased(reserved())

        assert contracts.purchase(contract, VerbCommand("p1", b"buy", 1), CAUSE) is None
        assert contracts.purchase(contract, VerbCommand("p1", b"buy", 99), CAUSE) is None

    def test_the_same_request_again_is_answered_also_after_the_contract_has_moved_on(self) -> None:
        contract = cancelled(purchased(reserved()))
        assert contract.purchase_before is not None
        late = Cause(contract.purchase_before, contract.purchase_before)

        assert contracts.purchase(contract, VerbCommand("p1", b"buy", 1), late) is None

    def test_another_body_under_the_same_id_is_refused(self) -> None:
        with pytest.raises(RequestIdReused) as refused:
            contracts.purchase(purchased(reserved()), VerbCommand("p1", b"other", 2), CAUSE)
        assert refused.value.metadata == {"request_id": "p1"}

    def test_the_reservations_own_id_is_not_free_either(self) -> None:
        contract = reserved()

        with pytest.raises(RequestIdReused, match="reserve"):
            contracts.purchase(contract, VerbCommand(contract.request_id, b"buy", 1), CAUSE)

    def test_it_needs_the_revision(self) -> None:
        with pytest.raises(InvalidField) as refused:
            contracts.purchase(reserved(), VerbCommand("p1", b"buy", None), CAUSE)
        assert refused.value.field == "revision"

    @pytest.mark.parametrize("revision", [0, 2, -1])
    def test_another_revision_is_refused_with_the_one_that_it_has(self, revision: int) -> None:
        contract = reserved()

        with pytest.raises(RevisionMismatch) as refused:
            contracts.purchase(contract, VerbCommand("p1", b"buy", revision), CAUSE)
        assert refused.value.metadata == {"contract_id": contract.id, "revision": "1"}

    def test_after_its_time_it_is_refused_whether_or_not_the_expiry_was_written(self) -> None:
        contract = reserved()
        assert contract.purchase_before is not None
        now = contract.purchase_before
        late = Cause(now, now, BUYER, "p1")
        event = contracts.pass_time(contract, now)
        assert event is not None

        for each in (contract, contracts.evolve(contract, event)):
            with pytest.raises(TtpPassed) as refused:
                contracts.purchase(each, VerbCommand("p1", b"buy", 1), late)
            assert refused.value.metadata["state"] == "EXPIRED"
        just = Cause(Instant(now - 1), Instant(now - 1))
        assert contracts.purchase(contract, VerbCommand("p1", b"buy", 1), just) is not None


class TestCancel:
    def test_it_says_who_and_why(self) -> None:
        contract = cancelled(reserved())

        assert contract.ending == Ending(BUYER, "why")
        assert contract.requests == (VerbRequest(CANCEL, "c1", b"end"),)
        assert not contract.live

    def test_again_it_changes_nothing(self) -> None:
        contract = cancelled(reserved())

        assert contracts.cancel(contract, VerbCommand("c1", b"end", None), "why", OTHER) is None
        assert contracts.cancel(contract, VerbCommand("c2", b"new", 1), "again", OTHER) is None

    def test_another_body_under_the_same_id_is_refused(self) -> None:
        with pytest.raises(RequestIdReused):
            contracts.cancel(cancelled(reserved()), VerbCommand("c1", b"other", None), "", OTHER)

    def test_the_id_of_a_purchase_is_not_one_for_a_cancel(self) -> None:
        with pytest.raises(RequestIdReused, match="purchase"):
            contracts.cancel(purchased(reserved()), VerbCommand("p1", b"buy", None), "", OTHER)

    def test_the_revision_may_be_left_out_and_counts_where_it_is_given(self) -> None:
        contract = purchased(reserved())

        assert contracts.cancel(contract, VerbCommand("c1", b"end", None), "", OTHER) is not None
        assert contracts.cancel(contract, VerbCommand("c1", b"end", 2), "", OTHER) is not None
        with pytest.raises(RevisionMismatch):
            contracts.cancel(contract, VerbCommand("c1", b"end", 1), "", OTHER)


class TestRevoke:
    def test_it_says_who_and_why(self) -> None:
        contract = revoked(reserved())

        assert contract.ending == Ending(BUYER, "broken")
        assert contract.requests == (VerbRequest(REVOKE, "r1", b"end"),)
        assert not contract.live

    def test_again_it_changes_nothing(self) -> None:
        contract = revoked(reserved())

        assert contracts.revoke(contract, VerbCommand("r1", b"end", None), "broken", OTHER) is None
        assert contracts.revoke(contract, VerbCommand("r2", b"new", 1), "again", OTHER) is None

    def test_whichever_of_a_cancel_and_a_revocation_comes_second_changes_nothing(self) -> None:
        assert contracts.cancel(revoked(reserved()), VerbCommand("c1", b"end", 1), "", OTHER) is None
        assert contracts.revoke(cancelled(reserved()), VerbCommand("r1", b"end", 1), "broken", OTHER) is None

    def test_the_id_of_a_cancel_is_not_one_for_a_revocation(self) -> None:
        with pytest.raises(RequestIdReused, match="cancel"):
            contracts.revoke(cancelled(reserved()), VerbCommand("c1", b"end", None), "broken", OTHER)

    def test_the_revision_counts_where_it_is_given(self) -> None:
        with pytest.raises(RevisionMismatch):
            contracts.revoke(purchased(reserved()), VerbCommand("r1", b"end", 1), "broken", OTHER)


def test_every_event_raises_the_revision_by_one_and_keeps_the_terms() -> None:
    contract = reserved()
    steps: list[Callable[[Contract], Contract]] = [purchased, revoked]
    for number, step in enumerate(steps, 2):
        moved = step(contract)
        assert moved.version == number
        assert (moved.partition, moved.window, moved.price) == (contract.partition, contract.window, contract.price)
        assert (moved.created_at, moved.request_id) == (contract.created_at, contract.request_id)
        contract = moved


def test_a_contract_begins_by_being_reserved() -> None:
    later: list[ContractEvent] = [
        ContractActivated("c", 1, CAUSE),
        ContractExpired("c", 1, CAUSE, reason=""),
    ]
    for event in later:
        with pytest.raises(ValueError, match="ContractReserved"):
            contracts.evolve(None, event)
