"""Reservations: which window counts, how long they are held, what they cost, and which flavours are sold."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from rear.domain import contract as contracts
from rear.domain import pool as pools
from rear.domain import reservation
from rear.domain.calendar import PoolCalendar
from rear.domain.contract import VerbCommand
from rear.domain.demand import Demand
from rear.domain.events import (
    AllocationCreated,
    AllocationReleased,
    AllocationSide,
    AnyEvent,
    Cause,
    ContractReserved,
    HoldReleased,
    PoolReserved,
)
from rear.domain.flavour import FlavourType, PoolTerms
from rear.domain.hold import HoldKind
from rear.domain.lifecycle import ContractState
from rear.domain.pool import Pool
from rear.domain.price import Money
from rear.domain.quantities import NOTHING, Quantities
from rear.domain.refusals import (
    CapacityExceeded,
    FlavourChanged,
    FlavourNotFound,
    InvalidField,
    PriceAboveMaximum,
)
from rear.domain.reservation import Promises, ReserveCommand, find_pool, reserve, resolve_window
from rear.domain.state import State
from rear.domain.units import UnitRequest, UnitShare
from rear.domain.window import DAY, FOREVER, HOUR, MINUTE, SECOND, AskedWindow, Duration, Instant, Window, after
from tests.seller import BUYER, NOW, T0, cpus, divisible, gpus, wish

PROMISES: Final = Promises()
CAPACITY: Final = Quantities({"cpu_millicores": 8_000, "memory_bytes": 16})


class Market:
    """One pool in a state, and reservations of it at a standing time."""

    def __init__(self, *, terms: PoolTerms | None = None, promises: Promises = PROMISES) -> None:
        self.state = State()
        self.now = T0
        self.promises = promises
        self.apply(pools.register("machine", terms or divisible(), CAPACITY, gpus("T4", "T4"), self.cause()))

    def cause(self) -> Cause:
        return Cause(self.now, self.now, BUYER, "r1")

    def apply(self, *events: AnyEvent) -> None:
        for event in events:
            self.state.apply(event)

    @property
    def pool(self) -> Pool:
        return self.state.pools["machine"]

    @property
    def calendar(self) -> PoolCalendar:
        return self.state.calendar("machine")

    def decide(self, command: ReserveCommand) -> tuple[PoolReserved, ContractReserved, AllocationCreated]:
        found = find_pool(self.state.pools, command.flavour_id)
        held, began, stands = reserve(found, self.calendar, command, self.promises, self.cause())
        assert isinstance(held, PoolReserved)
        assert isinstance(began, ContractReserved)
        assert isinstance(stands, AllocationCreated)
        return held, began, stands

    def reserve(self, command: ReserveCommand) -> ContractReserved:
        events = self.decide(command)
        self.apply(*events)
        return events[1]

    def end(self, contract_id: str) -> HoldReleased:
        contract = self.state.contracts[contract_id]
        ending = contracts.cancel(contract, VerbCommand("end", b"", None), "", self.cause())
        assert ending is not None
        stands = self.state.allocations[contract.allocation_id]
        events = reservation.end(contract, self.pool, self.calendar, stands, ending, "over", PROMISES, self.cause())
        self.apply(*events)
        released, _, freed = events
        assert isinstance(released, HoldReleased)
        assert isinstance(freed, AllocationReleased)
        return released


@pytest.fixture
def market() -> Market:
    return Market()


class TestWindow:
    def resolve(self, asked: AskedWindow, promises: Promises = PROMISES) -> Window:
        return resolve_window(asked, promises, T0)

    def test_without_anything_it_begins_now_and_lasts_for_the_default_lease(self) -> None:
        assert self.resolve(NOW) == Window(T0, after(T0, DAY))
        assert self.resolve(NOW, Promises(default_lease=HOUR)) == Window(T0, after(T0, HOUR))

    def test_a_start_without_an_end_has_the_default_lease(self) -> None:
        assert self.resolve(AskedWindow(start=after(T0, HOUR))) == Window(after(T0, HOUR), after(T0, HOUR + DAY))

    def test_an_end_without_a_start_begins_now(self) -> None:
        assert self.resolve(AskedWindow(end=after(T0, 1))) == Window(T0, after(T0, 1))

    def test_a_duration_counts_from_the_start(self) -> None:
        assert self.resolve(AskedWindow(duration=HOUR)) == Window(T0, after(T0, HOUR))
        start = after(T0, MINUTE)
        assert self.resolve(AskedWindow(start=start, duration=HOUR)) == Window(start, after(start, HOUR))

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            (AskedWindow(start=Instant(T0 - 1)), "window.start"),
            (AskedWindow(end=T0), "window.end"),
            (AskedWindow(start=after(T0, HOUR), end=after(T0, HOUR)), "window.end"),
            (AskedWindow(start=after(T0, HOUR), end=after(T0, MINUTE)), "window.end"),
            (AskedWindow(end=after(T0, PROMISES.horizon + 1)), "window.end"),
            (AskedWindow(start=after(T0, PROMISES.horizon)), "window.end"),
            (AskedWindow(duration=Duration(0)), "window.duration"),
            (AskedWindow(duration=Duration(-5)), "window.duration"),
            (AskedWindow(end=after(T0, HOUR), duration=HOUR), "window.duration"),
            (AskedWindow(duration=Duration(10**30)), "window.end"),
        ],
    )
    def test_what_is_wrong_is_named(self, asked: AskedWindow, field: str) -> None:
        with pytest.raises(InvalidField) as refused:
            self.resolve(asked)
        assert refused.value.field == field

    def test_it_may_reach_to_the_horizon(self) -> None:
        assert self.resolve(AskedWindow(end=after(T0, PROMISES.horizon))).end == T0 + PROMISES.horizon

    def test_a_clock_that_is_a_little_behind_still_means_now(self) -> None:
        promises = Promises(skew=SECOND)

        assert self.resolve(AskedWindow(start=Instant(T0 - SECOND), duration=HOUR), promises).start == T0
        with pytest.raises(InvalidField, match="past"):
            self.resolve(AskedWindow(start=Instant(T0 - SECOND - 1)), promises)

    def test_it_never_ends_after_the_end_of_time(self) -> None:
        endless = Promises(horizon=Duration(FOREVER))

        assert self.resolve(AskedWindow(end=Instant(FOREVER + 5)), endless).end == FOREVER


class TestTimeToPurchase:
    def purchase_before(self, ttp: Duration | None, window: AskedWindow = NOW, confirm: bool = False) -> int | None:
        asked = wish("r", cpus(1_000), window=window, ttp=ttp, confirm=confirm)
        before = Market().reserve(asked).purchase_before
        return None if before is None else before - T0

    def test_the_default(self) -> None:
        assert self.purchase_before(None) == PROMISES.default_ttp

    def test_what_is_asked_for_up_to_the_maximum(self) -> None:
        assert self.purchase_before(Duration(1)) == 1
        assert self.purchase_before(PROMISES.maximum_ttp) == PROMISES.maximum_ttp

    @pytest.mark.parametrize("ttp", [0, -1, PROMISES.maximum_ttp + 1])
    def test_out_of_bounds_is_refused(self, ttp: int) -> None:
        with pytest.raises(InvalidField) as refused:
            self.purchase_before(Duration(ttp))
        assert refused.value.field == "ttp"

    def test_never_longer_than_the_window(self) -> None:
        short = AskedWindow(duration=MINUTE)

        assert self.purchase_before(None, short) == MINUTE
        assert self.purchase_before(MINUTE, short) == MINUTE
        with pytest.raises(InvalidField, match="no longer than the window"):
            self.purchase_before(Duration(MINUTE + 1), short)

    def test_a_future_window_may_be_purchased_until_it_ends(self) -> None:
        later = AskedWindow(start=after(T0, MINUTE), duration=MINUTE)

        assert self.purchase_before(Duration(2 * MINUTE), later) == 2 * MINUTE

    def test_what_is_agreed_at_once_has_none(self) -> None:
        assert self.purchase_before(None, confirm=True) is None


class TestReserve:
    def test_three_events_say_the_same(self, market: Market) -> None:
        partition = Demand(Quantities({"cpu_millicores": 2_000}), (UnitRequest("gpu", 1, 300),))
        command = wish("r", partition, window=AskedWindow(duration=HOUR))

        held, began, stands = market.decide(command)

        window, shares = Window(T0, after(T0, HOUR)), (UnitShare("gpu", "gpu-0", 300),)
        assert (held.hold.id, held.hold.kind, held.hold.window) == (command.contract_id, HoldKind.CONTRACT, window)
        assert (held.hold.quantities, held.hold.units) == (partition.quantities, shares)
        assert (began.originator_id, began.originator_version) == (command.contract_id, 1)
        assert (began.state, began.buyer_id, began.flavour_id) == (ContractState.RESERVED, BUYER, "machine-1")
        assert (began.partition, began.assigned_units, began.window) == (partition, shares, window)
        assert (began.fingerprint, began.cause.request_id) == (command.fingerprint, "r1")
        assert (stands.originator_id, stands.contract_id) == (began.allocation_id, command.contract_id)
        assert (stands.side, stands.window, stands.units) == (AllocationSide.PROVIDER, window, shares)

    def test_what_is_agreed_at_once_is_confirmed(self, market: Market) -> None:
        assert market.reserve(wish("r", cpus(1_000), confirm=True)).state is ContractState.CONFIRMED

    def test_a_second_buyer_gets_what_is_left_and_no_more(self, market: Market) -> None:
        market.reserve(wish("a", cpus(6_000)))

        with pytest.raises(CapacityExceeded) as refused:
            market.decide(wish("b", cpus(2_500)))
        assert refused.value.counter_offer is None
        market.reserve(wish("c", cpus(2_000)))

    def test_the_same_capacity_is_sold_again_right_after(self, market: Market) -> None:
        market.reserve(wish("a", cpus(8_000), window=AskedWindow(duration=HOUR)))

        market.reserve(wish("b", cpus(8_000), window=AskedWindow(start=after(T0, HOUR), duration=HOUR)))
        with pytest.raises(CapacityExceeded):
            market.decide(wish("c", cpus(1_000), window=AskedWindow(start=Instant(T0 + HOUR - 1), duration=HOUR)))

    def test_a_bad_partition_is_refused_before_its_window(self, market: Market) -> None:
        with pytest.raises(InvalidField) as refused:
            market.decide(wish("r", cpus(1_100), window=AskedWindow(end=Instant(1))))
        assert refused.value.field == "partition.quantities.cpu_millicores"

    def test_a_refusal_changes_nothing(self, market: Market) -> None:
        before = market.pool, market.calendar.free(Window(T0, FOREVER))

        for command in (wish("a", cpus(9_000)), wish("b", cpus(1)), wish("c", cpus(1_000), ttp=Duration(0))):
            with pytest.raises((CapacityExceeded, InvalidField)):
                market.decide(command)

        assert (market.pool, market.calendar.free(Window(T0, FOREVER))) == before


class TestPrice:
    def test_it_is_for_the_partition_over_the_window(self, market: Market) -> None:
        began = market.reserve(wish("r", cpus(2_000), window=AskedWindow(duration=Duration(3 * HOUR))))

        assert began.price == Money("EUR", 120_000_000)

    def test_up_to_the_maximum(self, market: Market) -> None:
        hour = AskedWindow(duration=HOUR)

        market.reserve(wish("a", cpus(1_000), window=hour, max_price=Money("EUR", 20_000_000)))
        with pytest.raises(PriceAboveMaximum) as refused:
            market.decide(wish("b", cpus(1_000), window=hour, max_price=Money("EUR", 19_999_999)))
        assert refused.value.metadata == {"price_nanos": "20000000", "currency": "EUR"}

    def test_in_another_currency_it_cannot_be_held_against_it(self, market: Market) -> None:
        with pytest.raises(InvalidField) as refused:
            market.decide(wish("r", cpus(1_000), max_price=Money("USD", 10**12)))
        assert refused.value.field == "max_price.currency_code"

    def test_what_has_no_price_is_not_above_any(self) -> None:
        free = Market(terms=replace(divisible(), price=PoolTerms(FlavourType.VM).price))

        assert free.reserve(wish("r", cpus(1_000), max_price=Money("EUR", 0))).price is None


class TestFlavours:
    def offered(self, market: Market) -> tuple[str, str, int]:
        offer = market.pool.offer
        assert offer is not None
        return offer.flavour_id, offer.parent_id, offer.quantities.of("cpu_millicores")

    def test_each_change_of_what_is_left_is_a_flavour_with_the_next_number(self, market: Market) -> None:
        assert self.offered(market) == ("machine-1", "", 8_000)
        market.reserve(wish("a", cpus(1_000)))
        assert self.offered(market) == ("machine-2", "machine-1", 7_000)
        market.reserve(wish("b", cpus(2_000)))
        assert self.offered(market) == ("machine-3", "machine-2", 5_000)
        market.end(wish("a", cpus(1_000)).contract_id)
        assert self.offered(market) == ("machine-4", "machine-3", 6_000)

    def test_without_a_change_of_what_is_left_there_is_no_new_flavour(self, market: Market) -> None:
        market.reserve(wish("a", cpus(8_000), window=AskedWindow(duration=MINUTE)))
        far = AskedWindow(start=after(T0, 3 * DAY), duration=HOUR)

        held, _, _ = market.decide(wish("b", cpus(8_000), window=far))
        market.reserve(wish("b", cpus(8_000), window=far))

        assert held.offer is None
        assert self.offered(market) == ("machine-2", "machine-1", 0)
        assert market.end(wish("b", cpus(1)).contract_id).offer is None

    def test_a_flavour_offers_the_least_that_is_free_over_the_default_lease(self, market: Market) -> None:
        market.reserve(wish("a", cpus(3_000), window=AskedWindow(start=after(T0, DAY - 1), duration=HOUR)))
        assert self.offered(market) == ("machine-2", "machine-1", 5_000)

        market.reserve(wish("b", cpus(3_000), window=AskedWindow(start=after(T0, DAY), duration=MINUTE)))
        assert self.offered(market) == ("machine-2", "machine-1", 5_000)

    def test_an_old_flavour_is_sold_while_it_fits(self, market: Market) -> None:
        market.reserve(wish("a", cpus(3_000), "machine-1"))
        began = market.reserve(wish("b", cpus(5_000), "machine-1"))

        assert began.flavour_id == "machine-1"
        with pytest.raises(CapacityExceeded):
            market.decide(wish("c", cpus(1_000), "machine-1"))

    def test_an_old_flavour_is_not_sold_under_new_terms(self, market: Market) -> None:
        market.reserve(wish("a", cpus(1_000)))
        dearer = divisible(minimum=2_000)
        market.apply(pools.change_terms(market.pool, market.calendar, dearer, PROMISES.default_lease, market.cause()))

        for old in ("machine-1", "machine-2"):
            with pytest.raises(FlavourChanged, match="machine-3") as refused:
                market.decide(wish("b", cpus(2_000), old))
            assert refused.value.metadata == {"flavour_id": old, "current_flavour_id": "machine-3"}
        market.reserve(wish("b", cpus(2_000), "machine-3"))
        market.reserve(wish("c", cpus(2_000), "machine-3"))

    def test_other_capacity_keeps_old_flavours_sold(self, market: Market) -> None:
        more = Quantities({**CAPACITY, "cpu_millicores": 9_000})
        changed = pools.change_capacity(market.pool, more, market.pool.units, DAY, market.cause())
        assert changed is not None
        market.apply(changed)

        assert market.reserve(wish("a", cpus(9_000), "machine-1")).flavour_id == "machine-1"

    @pytest.mark.parametrize("flavour_id", ["machine-2", "machine-999999999999999999", "other-1", "machine-x-1"])
    def test_what_was_never_offered_is_not_found(self, market: Market, flavour_id: str) -> None:
        with pytest.raises(FlavourNotFound) as refused:
            market.decide(wish("r", cpus(1_000), flavour_id))
        assert refused.value.metadata == {"flavour_id": flavour_id}

    @pytest.mark.parametrize("text", ["", "machine", "-1", "machine-", "machine-0", "machine-01", "machine-1x", "m-٣"])
    def test_what_is_no_flavour_id_is_bad_input(self, market: Market, text: str) -> None:
        with pytest.raises(InvalidField) as refused:
            market.decide(wish("r", cpus(1_000), text))
        assert refused.value.field == "flavour_id"

    def test_a_retired_pool_sells_nothing_and_comes_back_under_new_terms(self, market: Market) -> None:
        market.apply(pools.retire(market.pool, "gone", market.cause()))
        with pytest.raises(FlavourNotFound, match="retired"):
            market.decide(wish("r", cpus(1_000)))

        market.apply(pools.change_terms(market.pool, market.calendar, divisible(), DAY, market.cause()))
        with pytest.raises(FlavourChanged):
            market.decide(wish("r", cpus(1_000), "machine-1"))
        market.reserve(wish("r", cpus(1_000), "machine-2"))


class TestCounterOffer:
    def counter(self, market: Market, partition: Demand, window: Window) -> Demand | None:
        fit = market.calendar.earliest_fit(partition, window.duration, window.start, FOREVER, 100)
        offer = reservation.counter_offer(
            market.pool, market.calendar, partition, window, fit.start, fit.exhaustive, market.now
        )
        assert offer.asked_window == window
        assert market.pool.offer is not None
        assert offer.flavour_id == market.pool.offer.flavour_id
        if offer.earliest_window is not None:
            assert offer.earliest_window.duration == window.duration
            assert market.calendar.fits(partition, offer.earliest_window)
        if offer.most_in_window is not None:
            assert market.calendar.fits(offer.most_in_window, window)
        return offer.most_in_window

    def test_the_most_comes_down_to_the_step(self, market: Market) -> None:
        market.reserve(wish("a", Demand(Quantities({"cpu_millicores": 2_000, "memory_bytes": 5}))))
        market.apply(
            pools.change_terms(market.pool, market.calendar, divisible(1_000, 1_500), DAY, market.cause()),
        )
        hour = Window(T0, after(T0, HOUR))

        assert self.counter(market, cpus(8_000), hour) == cpus(5_500)
        both = Demand(Quantities({"cpu_millicores": 7_000, "memory_bytes": 16}))
        assert self.counter(market, both, hour) == Demand(Quantities({"cpu_millicores": 5_500, "memory_bytes": 11}))

    def test_below_the_minimum_there_is_nothing(self, market: Market) -> None:
        market.reserve(wish("a", cpus(7_500)))

        assert self.counter(market, cpus(1_000), Window(T0, after(T0, HOUR))) is None

    def test_a_kind_of_which_none_was_asked_takes_nothing_away(self, market: Market) -> None:
        market.reserve(wish("a", cpus(6_000)))
        partition = Demand(Quantities({"cpu_millicores": 3_000, "memory_bytes": 0}))

        assert self.counter(market, partition, Window(T0, after(T0, HOUR))) == cpus(2_000)

    def test_devices_are_counted_each_by_itself(self, market: Market) -> None:
        half = Demand(NOTHING, (UnitRequest("gpu", 2, 500),))
        market.reserve(wish("a", Demand(NOTHING, (UnitRequest("gpu", 1, 600),))))

        assert self.counter(market, half, Window(T0, after(T0, HOUR))) == Demand(NOTHING, (UnitRequest("gpu", 1, 500),))
