"""The pool's calendar by example. What it owes a list of holds is in test_calendar_properties.py."""

from __future__ import annotations

import pytest

from rear.domain.calendar import EarliestFit, PoolCalendar
from rear.domain.demand import Demand
from rear.domain.hold import Hold, HoldKind
from rear.domain.quantities import Quantities
from rear.domain.units import Unit, UnitRequest, UnitShare, attributes
from rear.domain.window import FOREVER, Duration, Instant, Window

T4, A100 = attributes({"model": "T4"}), attributes({"model": "A100"})
LATEST = Instant(1_000)


def window(start: int, end: int) -> Window:
    return Window(Instant(start), Instant(end))


def hold(start: int, end: int, *shares: UnitShare, **amounts: int) -> Hold:
    return Hold("hold", HoldKind.CONTRACT, window(start, end), Quantities(amounts), shares)


def demand(*requests: UnitRequest, **amounts: int) -> Demand:
    return Demand(Quantities(amounts), requests)


def gpu(name: str, millis: int) -> UnitShare:
    return UnitShare("GPU", name, millis)


def gpus(count: int, millis_each: int = 1_000, model: tuple[tuple[str, str], ...] = ()) -> UnitRequest:
    return UnitRequest("GPU", count, millis_each, model)


def pool(*holds: Hold, devices: int = 0, **amounts: int) -> PoolCalendar:
    calendar = PoolCalendar(Quantities(amounts), [Unit("GPU", f"g{index}") for index in range(devices)])
    for held in holds:
        calendar.occupy(held)
    return calendar


def earliest(calendar: PoolCalendar, wanted: Demand, duration: int, start: int = 0) -> EarliestFit:
    return calendar.earliest_fit(wanted, Duration(duration), Instant(start), LATEST, max_jumps=100)


class TestQuantities:
    def test_back_to_back_leases_do_not_collide(self) -> None:
        calendar = pool(hold(0, 10, pods=4), hold(20, 30, pods=4), pods=4)
        assert calendar.place(demand(pods=4), window(10, 20)) == ()
        assert calendar.place(demand(pods=4), window(10, 21)) is None
        assert calendar.place(demand(pods=4), window(9, 20)) is None

    def test_the_peak_decides_not_the_sum(self) -> None:
        calendar = pool(hold(0, 10, pods=3), hold(20, 30, pods=3), hold(40, 50, pods=3), pods=4)
        assert calendar.free(window(0, 50)) == Quantities({"pods": 1})
        assert calendar.fits(demand(pods=1), window(0, 50))

    def test_a_lease_over_many_days_counts_on_each_of_them(self) -> None:
        day = 86_400
        calendar = pool(hold(0, 9 * day, pods=3), hold(4 * day, 5 * day, pods=1), pods=4)
        assert not calendar.fits(demand(pods=1), window(0, 9 * day))
        assert calendar.fits(demand(pods=1), window(5 * day, 9 * day))

    def test_a_hold_that_does_not_name_a_kind_leaves_its_usage_as_it_was(self) -> None:
        calendar = pool(hold(0, 100, pods=3), hold(50, 60, cpu_millicores=10), pods=4, cpu_millicores=10)
        assert calendar.free(window(50, 60)) == Quantities({"cpu_millicores": 0, "pods": 1})
        assert calendar.free(window(60, 70)) == Quantities({"cpu_millicores": 10, "pods": 1})

    def test_one_kind_that_does_not_fit_is_enough_to_refuse(self) -> None:
        calendar = pool(hold(0, 10, memory_bytes=8), memory_bytes=8, pods=4)
        assert calendar.place(demand(memory_bytes=1, pods=1), window(5, 15)) is None
        assert calendar.place(demand(pods=1), window(5, 15)) == ()

    def test_a_kind_that_the_pool_lacks_does_not_fit_unless_none_of_it_is_asked(self) -> None:
        assert pool(pods=4).place(demand(storage_bytes=1), window(0, 1)) is None
        assert pool(pods=4).place(demand(storage_bytes=0, pods=4), window(0, 1)) == ()
        assert earliest(pool(pods=4), demand(storage_bytes=1), 1) == EarliestFit(None, exhaustive=True)

    def test_an_idle_pool_has_its_capacity_and_no_more(self) -> None:
        assert pool(pods=4).place(demand(pods=4), window(0, 1)) == ()
        assert pool(pods=4).place(demand(pods=5), window(0, 1)) is None
        assert not pool(pods=4).fits(demand(pods=5), window(0, 1))

    def test_a_planned_increase_gives_room_only_while_it_lasts(self) -> None:
        calendar = pool(hold(10, 20, pods=-4), pods=4)
        assert calendar.fits(demand(pods=8), window(10, 20))
        assert not calendar.fits(demand(pods=8), window(10, 21))
        assert earliest(calendar, demand(pods=8), 10) == EarliestFit(Instant(10), exhaustive=True)
        assert earliest(calendar, demand(pods=8), 11) == EarliestFit(None, exhaustive=True)

    def test_a_loss_of_capacity_shows_as_a_shortfall_and_resizing_back_undoes_it(self) -> None:
        calendar = pool(hold(0, 10, pods=4), pods=4)
        calendar.resize(Quantities({"pods": 3}))
        assert calendar.free(window(0, 20)) == Quantities({"pods": -1})
        assert calendar.most_that_fits(demand(pods=2), window(0, 20)) == demand(pods=0)
        calendar.resize(Quantities({"pods": 4}))
        assert calendar.free(window(0, 20)) == Quantities({"pods": 0})

    def test_vacating_leaves_nothing_behind(self) -> None:
        held = hold(0, 10, gpu("g0", 300), pods=4)
        calendar = pool(held, devices=1, pods=4)
        calendar.vacate(held)
        assert calendar.free(window(0, 10)) == Quantities({"pods": 4})
        assert calendar.free_units(window(0, 10)) == (gpu("g0", 1_000),)
        assert calendar.usage_steps("pods", window(0, 10)) == [(0, 0)]

    def test_operators_see_usage_as_exact_steps(self) -> None:
        calendar = pool(hold(0, 10, pods=1), hold(7, 33, pods=2), pods=4)
        assert calendar.usage_steps("pods", window(5, 40)) == [(5, 1), (7, 3), (10, 2), (33, 0)]
        assert calendar.usage_steps("storage_bytes", window(5, 40)) == [(5, 0)]


class TestUnits:
    def test_three_half_free_devices_are_not_one_and_a_half(self) -> None:
        calendar = pool(hold(0, 10, *(gpu(f"g{index}", 500) for index in range(3))), devices=3)
        assert calendar.place(demand(gpus(1, 600)), window(5, 15)) is None
        assert calendar.place(demand(gpus(3, 500)), window(5, 15)) is not None

    def test_one_device_has_to_be_free_for_the_whole_window(self) -> None:
        calendar = pool(hold(0, 10, gpu("g0", 1_000)), hold(10, 20, gpu("g1", 1_000)), devices=2)
        assert calendar.place(demand(gpus(1)), window(5, 15)) is None
        assert calendar.place(demand(gpus(1)), window(0, 10)) == (gpu("g1", 1_000),)

    def test_the_fullest_device_that_still_fits_is_taken(self) -> None:
        calendar = pool(hold(0, 9, gpu("g1", 300)), hold(0, 9, gpu("g2", 700)), devices=3)
        assert calendar.place(demand(gpus(1, 300)), window(0, 9)) == (gpu("g2", 300),)
        assert calendar.place(demand(gpus(1, 301)), window(0, 9)) == (gpu("g1", 301),)
        assert calendar.place(demand(gpus(2, 701)), window(0, 9)) is None

    def test_equally_full_devices_are_taken_by_name(self) -> None:
        assert pool(devices=4).place(demand(gpus(2, 400)), window(0, 9)) == (gpu("g0", 400), gpu("g1", 400))

    def test_devices_have_to_have_the_attributes_that_are_asked_for(self) -> None:
        calendar = PoolCalendar(Quantities(), [Unit("GPU", "a", T4), Unit("GPU", "b", A100)])
        assert calendar.place(demand(gpus(1, 1_000, A100)), window(0, 1)) == (gpu("b", 1_000),)
        assert calendar.place(demand(gpus(2, 1_000, A100)), window(0, 1)) is None
        assert not calendar.fits(demand(gpus(2, 1_000, A100)), window(0, 1))

    def test_classes_do_not_stand_in_for_each_other(self) -> None:
        calendar = PoolCalendar(Quantities(), [Unit("GPU", "0"), Unit("NIC", "0")])
        calendar.occupy(hold(0, 10, gpu("0", 1_000)))
        assert calendar.place(demand(UnitRequest("NIC", 1)), window(0, 10)) == (UnitShare("NIC", "0", 1_000),)
        assert calendar.place(demand(UnitRequest("VLAN", 1)), window(0, 10)) is None

    def test_requests_of_one_demand_never_share_a_device(self) -> None:
        calendar = pool(devices=2)
        shares = calendar.place(demand(gpus(1, 100), gpus(1, 200)), window(0, 1))
        assert shares is not None
        assert {share.name for share in shares} == {"g0", "g1"}
        assert calendar.place(demand(gpus(1, 100), gpus(2, 100)), window(0, 1)) is None

    def test_a_modest_request_makes_way_for_a_picky_one(self) -> None:
        calendar = PoolCalendar(Quantities(), [Unit("GPU", "a", A100), Unit("GPU", "b", T4)])
        wanted = demand(gpus(1, 500), gpus(1, 500, A100))
        assert calendar.place(wanted, window(0, 1)) == (gpu("a", 500), gpu("b", 500))
        assert calendar.fits(wanted, window(0, 1))

    def test_what_is_free_on_each_device_is_told_also_where_it_is_nothing(self) -> None:
        calendar = pool(hold(0, 10, gpu("g0", 1_000), gpu("g1", 400)), devices=3)
        assert calendar.free_units(window(5, 15)) == (gpu("g0", 0), gpu("g1", 600), gpu("g2", 1_000))

    def test_all_devices_can_be_had_together_and_no_more(self) -> None:
        assert pool(devices=3).fits(demand(gpus(3)), window(0, 1))
        assert not pool(devices=3).fits(demand(gpus(4)), window(0, 1))
        assert not pool(devices=3).fits(demand(gpus(1, 1_001)), window(0, 1))

    def test_two_shares_of_one_device_in_a_hold_both_count(self) -> None:
        held = hold(0, 10, gpu("g0", 300), gpu("g0", 200))
        calendar = pool(devices=1)
        assert calendar.free_units_with(held, window(5, 15)) == (gpu("g0", 500),)
        calendar.occupy(held)
        assert calendar.free_units(window(5, 15)) == (gpu("g0", 500),)

    def test_what_is_held_on_a_device_that_goes_comes_back_with_it(self) -> None:
        calendar = pool(hold(0, 10, gpu("g1", 400)), devices=2)
        both = calendar.units
        calendar.equip(both[:1])
        assert calendar.free_units(window(0, 10)) == (gpu("g0", 1_000),)
        calendar.equip(both)
        assert calendar.free_units(window(0, 10)) == (gpu("g0", 1_000), gpu("g1", 600))


class TestCounterOffers:
    def test_the_most_that_fits_is_the_lesser_of_asked_and_free(self) -> None:
        calendar = pool(hold(0, 10, pods=3), pods=4, cpu_millicores=10)
        asked = demand(pods=2, cpu_millicores=5, storage_bytes=7)
        assert calendar.most_that_fits(asked, window(5, 15)) == demand(pods=1, cpu_millicores=5, storage_bytes=0)

    def test_the_most_that_fits_counts_a_device_for_one_request_only(self) -> None:
        asked = demand(gpus(2, 500), gpus(2, 300))
        assert pool(devices=3).most_that_fits(asked, window(0, 1)) == demand(gpus(2, 500), gpus(1, 300))

    def test_the_most_that_fits_keeps_a_request_that_gets_nothing(self) -> None:
        calendar = pool(hold(0, 10, gpu("g0", 1)), devices=1)
        assert calendar.most_that_fits(demand(gpus(1), UnitRequest("NIC", 3)), window(0, 1)) == demand(
            gpus(0), UnitRequest("NIC", 0)
        )


class TestEarliestFit:
    def test_it_is_the_asked_start_where_that_fits(self) -> None:
        assert earliest(pool(pods=4), demand(pods=4), 10, start=7) == EarliestFit(Instant(7), exhaustive=True)

    def test_one_jump_leads_to_the_end_of_the_last_blocked_stretch(self) -> None:
        calendar = pool(*(hold(start, start + 5, pods=4) for start in range(0, 100, 10)), pods=4)
        assert calendar.next_start(demand(pods=1), Duration(50), Instant(2)) == 55
        assert earliest(calendar, demand(pods=1), 5) == EarliestFit(Instant(5), exhaustive=True)

    def test_a_gap_that_is_too_short_is_passed_over(self) -> None:
        calendar = pool(hold(0, 10, pods=4), hold(14, 20, pods=4), pods=4)
        assert earliest(calendar, demand(pods=1), 4).start == 10
        assert earliest(calendar, demand(pods=1), 5).start == 20

    def test_each_device_has_gaps_of_its_own_and_enough_have_to_meet(self) -> None:
        holds = (hold(0, 30, gpu("g0", 1_000)), hold(0, 10, gpu("g1", 1_000)), hold(0, 20, gpu("g2", 1_000)))
        calendar = pool(*holds, devices=3)
        assert [earliest(calendar, demand(gpus(count)), 5).start for count in (1, 2, 3)] == [10, 20, 30]

    def test_more_than_there_is_never_fits(self) -> None:
        never = EarliestFit(None, exhaustive=True)
        assert earliest(pool(pods=4), demand(pods=5), 1) == never
        assert earliest(pool(hold(0, 10, pods=4), pods=4), demand(pods=5), 1) == never
        assert earliest(pool(devices=2), demand(gpus(3)), 1) == never
        assert earliest(pool(devices=2), demand(gpus(2), gpus(1, 1)), 1) == never

    def test_a_hold_to_the_end_of_time_never_ends(self) -> None:
        calendar = pool(hold(50, FOREVER, gpu("g0", 1_000), pods=4), devices=1, pods=4)
        for wanted in (demand(pods=1), demand(gpus(1))):
            assert calendar.next_start(wanted, Duration(10), Instant(45)) is None
            assert earliest(calendar, wanted, 50).start == 0

    def test_a_search_that_ran_out_of_jumps_says_so_and_can_go_on(self) -> None:
        calendar = pool(*(hold(start, start + 8, pods=4) for start in range(0, 100, 10)), pods=4)
        wanted, duration = demand(pods=1), Duration(3)
        cut = calendar.earliest_fit(wanted, duration, Instant(0), LATEST, max_jumps=4)
        assert cut == EarliestFit(None, exhaustive=False)
        reached = Instant(0)
        while (jumped := calendar.next_start(wanted, duration, reached)) != reached:
            assert jumped is not None
            reached = jumped
        assert earliest(calendar, wanted, duration).start == reached == 98

    @pytest.mark.parametrize(("not_after", "start"), [(9, None), (10, 10)])
    def test_the_latest_start_itself_is_allowed(self, not_after: int, start: int | None) -> None:
        calendar = pool(hold(0, 10, pods=4), pods=4)
        found = calendar.earliest_fit(demand(pods=1), Duration(5), Instant(0), Instant(not_after), 100)
        assert found == EarliestFit(None if start is None else Instant(start), exhaustive=True)
