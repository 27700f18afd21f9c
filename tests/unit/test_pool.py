"""The pool: its capacity, its holds, and the lineage of its flavours."""

from __future__ import annotations

from typing import Final

import pytest

from rear.domain import pool as pools
from rear.domain.events import CapacityChanged, Cause, PoolEvent, PoolRegistered
from rear.domain.flavour import flavour_id, parse_flavour_id
from rear.domain.hold import Hold, HoldKind
from rear.domain.pool import Pool, change_capacity, change_terms, evolve, hold, register, release, retire
from rear.domain.quantities import Quantities
from rear.domain.units import Unit, UnitShare
from rear.domain.window import DAY, FOREVER, HOUR, Instant, Window, after
from tests.seller import T0, divisible, gpus

CAPACITY: Final = Quantities({"cpu_millicores": 8_000, "memory_bytes": 16})
CAUSE: Final = Cause(T0, T0)
TODAY: Final = Window(T0, after(T0, DAY))


def machine(units: tuple[Unit, ...] = gpus("T4", "T4")) -> Pool:
    return evolve(None, register("m", divisible(), CAPACITY, units, CAUSE))


def cpu_hold(key: str, millicores: int, window: Window = TODAY, *shares: UnitShare) -> Hold:
    return Hold(key, HoldKind.CONTRACT, window, Quantities({"cpu_millicores": millicores}), shares)


def with_holds(pool: Pool, *holds: Hold) -> Pool:
    for each in holds:
        pool = evolve(pool, hold(pool, pool.calendar(), each, DAY, CAUSE))
    return pool


def test_a_new_pool_offers_all_that_it_has() -> None:
    pool = machine()

    assert (pool.id, pool.version, pool.offers, pool.terms_since_offer) == ("m", 1, 1, 1)
    assert pool.flavour is not None
    assert (pool.flavour.id, pool.flavour.pool_id) == ("m-1", "m")
    assert pool.flavour.offer.quantities == CAPACITY
    assert pool.flavour.offer.units == (UnitShare("gpu", "gpu-0", 1_000), UnitShare("gpu", "gpu-1", 1_000))
    assert (pool.flavour.offer.parent_id, pool.flavour.offer.advertised_at) == ("", T0)


def test_a_hold_leaves_the_pool_before_it_as_it_was() -> None:
    before = machine()
    after_it = with_holds(before, cpu_hold("h", 3_000, TODAY, UnitShare("gpu", "gpu-1", 400)))

    assert not before.holds
    assert before.offer is not None
    assert before.offer.flavour_id == "m-1"
    assert after_it.version == 2
    assert after_it.offer is not None
    assert (after_it.offer.flavour_id, after_it.offer.parent_id) == ("m-2", "m-1")
    assert after_it.offer.quantities == Quantities({"cpu_millicores": 5_000, "memory_bytes": 16})
    assert after_it.offer.units == (UnitShare("gpu", "gpu-0", 1_000), UnitShare("gpu", "gpu-1", 600))


def test_what_is_released_is_on_offer_again_under_a_new_number() -> None:
    pool = with_holds(machine(), cpu_hold("h", 3_000))
    pool = evolve(pool, release(pool, pool.calendar(), "h", DAY, CAUSE))

    assert not pool.holds
    assert pool.version == 3
    assert pool.offer is not None
    assert (pool.offer.flavour_id, pool.offer.parent_id, pool.offer.quantities) == ("m-3", "m-2", CAPACITY)


def test_an_unknown_hold_cannot_be_released() -> None:
    pool = machine()

    with pytest.raises(KeyError):
        release(pool, pool.calendar(), "h", DAY, CAUSE)


def test_a_hold_beyond_the_lease_changes_no_offer() -> None:
    far = cpu_hold("h", 8_000, Window(after(T0, DAY), after(T0, 2 * DAY)))
    pool = with_holds(machine(), far)

    assert (pool.version, pool.offers) == (2, 1)
    assert pool.holds["h"] == far


def test_new_terms_are_a_new_flavour_of_what_is_left() -> None:
    pool = with_holds(machine(), cpu_hold("h", 3_000))
    pool = evolve(pool, change_terms(pool, pool.calendar(), divisible(2_000), DAY, CAUSE))

    assert (pool.offers, pool.terms_since_offer) == (3, 3)
    assert pool.terms == divisible(2_000)
    assert pool.offer is not None
    assert pool.offer.quantities.of("cpu_millicores") == 5_000
    assert "h" in pool.holds


class TestCapacity:
    def change(self, pool: Pool, capacity: Quantities, units: tuple[Unit, ...]) -> CapacityChanged | None:
        return change_capacity(pool, capacity, units, DAY, CAUSE)

    def test_more_and_less_of_what_is_not_sold(self) -> None:
        pool = with_holds(machine(), cpu_hold("h", 3_000))
        for millicores in (9_000, 3_000):
            changed = self.change(pool, Quantities({"cpu_millicores": millicores, "memory_bytes": 16}), pool.units)

            assert changed is not None
            resized = evolve(pool, changed)
            assert resized.offer is not None
            assert resized.offer.quantities.of("cpu_millicores") == millicores - 3_000
            assert resized.terms_since_offer == 1
            assert resized.holds == pool.holds

    @pytest.mark.parametrize(
        ("capacity", "units"),
        [
            (Quantities({"cpu_millicores": 2_999, "memory_bytes": 16}), gpus("T4", "T4")),
            (Quantities({"memory_bytes": 16}), gpus("T4", "T4")),
            (CAPACITY, gpus("T4")),
            (CAPACITY, ()),
        ],
    )
    def test_never_less_than_is_sold(self, capacity: Quantities, units: tuple[Unit, ...]) -> None:
        pool = with_holds(machine(), cpu_hold("h", 3_000, TODAY, UnitShare("gpu", "gpu-1", 1)))

        assert self.change(pool, capacity, units) is None

    def test_what_is_sold_for_later_counts_too(self) -> None:
        far = Window(after(T0, 300 * DAY), FOREVER)
        pool = with_holds(machine(), cpu_hold("h", 8_000, far))

        assert self.change(pool, Quantities({**CAPACITY, "cpu_millicores": 7_999}), pool.units) is None

    def test_a_hold_that_is_over_no_longer_counts(self) -> None:
        pool = with_holds(machine(), cpu_hold("h", 8_000, Window(T0, after(T0, HOUR))))
        later = Cause(after(T0, HOUR), after(T0, HOUR))

        less = Quantities({**CAPACITY, "cpu_millicores": 1})
        assert change_capacity(pool, less, pool.units, DAY, later) is not None

    def test_where_the_offer_stays_as_it_was_its_flavour_stays(self) -> None:
        pool = with_holds(machine(()), cpu_hold("h", 8_000))
        changed = self.change(pool, Quantities({**CAPACITY, "memory_bytes": 16}), pool.units)

        assert changed is not None
        assert changed.offer is None
        assert evolve(pool, changed).offer == pool.offer


class TestRetired:
    def test_it_has_no_flavour_and_keeps_its_holds(self) -> None:
        pool = with_holds(machine(), cpu_hold("h", 3_000))
        event = retire(pool, "gone", CAUSE)
        pool = evolve(pool, event)

        assert event.retired_flavour_id == "m-2"
        assert pool.flavour is None
        assert "h" in pool.holds

    def test_what_comes_back_is_not_advertised(self) -> None:
        pool = with_holds(machine(), cpu_hold("h", 3_000))
        pool = evolve(pool, retire(pool, "gone", CAUSE))
        released = release(pool, pool.calendar(), "h", DAY, CAUSE)

        assert released.offer is None
        assert evolve(pool, released).flavour is None

    def test_new_terms_bring_it_back_with_the_next_number(self) -> None:
        pool = machine()
        pool = evolve(pool, retire(pool, "gone", CAUSE))
        pool = evolve(pool, change_terms(pool, pool.calendar(), divisible(), DAY, CAUSE))

        assert pool.offer is not None
        assert (pool.offer.flavour_id, pool.offer.parent_id) == ("m-2", "m-1")


def test_a_pool_begins_by_being_registered() -> None:
    events: list[PoolEvent] = [
        retire(machine(), "", CAUSE),
        hold(machine(), machine().calendar(), cpu_hold("h", 1), DAY, CAUSE),
    ]
    for event in events:
        assert not isinstance(event, PoolRegistered)
        with pytest.raises(ValueError, match="PoolRegistered"):
            evolve(None, event)


@pytest.mark.parametrize(("text", "parsed"), [("m-1", ("m", 1)), ("a-b-12", ("a-b", 12)), ("m--3", ("m-", 3))])
def test_flavour_ids_name_a_pool_and_a_number(text: str, parsed: tuple[str, int]) -> None:
    assert parse_flavour_id(text) == parsed
    assert flavour_id(*parsed) == text


@pytest.mark.parametrize("text", ["", "m", "m-", "-1", "m-0", "m-01", "m-1a", "m- 1", "m-+1", "m-²", "m-1" + "0" * 18])
def test_other_texts_are_no_flavour_ids(text: str) -> None:
    assert parse_flavour_id(text) is None


def test_an_offer_of_the_present_is_made_at_the_effective_time() -> None:
    late = Cause(after(T0, HOUR), after(T0, 2 * HOUR))
    pool = machine()
    event = hold(pool, pool.calendar(), cpu_hold("h", 1_000, Window(Instant(late.at), after(late.at, 1))), DAY, late)

    assert event.offer is not None
    assert event.offer.advertised_at == late.at
    assert isinstance(pools.evolve(pool, event), Pool)
