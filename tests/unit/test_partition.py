"""A partition is one that the flavour may be divided into, or the field that is wrong is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rear.domain.demand import Demand
from rear.domain.flavour import FlavourType, Partitionability, Policies, PoolTerms
from rear.domain.partition import (
    MAX_AMOUNT,
    MAX_UNIT_REQUESTS,
    MAX_UNITS,
    check_against,
    check_well_formed,
    field_of,
    on_step,
)
from rear.domain.quantities import NOTHING, Quantities
from rear.domain.refusals import InvalidField
from rear.domain.units import Unit, UnitRequest

CAPACITY = Quantities({"cpu_millicores": 8_000, "memory_bytes": 1_024, "example.org/fpga": 4})
GPUS = (Unit("gpu", "gpu-0"), Unit("gpu", "gpu-1"))
WHOLE = PoolTerms(FlavourType.VM)


def terms(bounds: Partitionability) -> PoolTerms:
    return PoolTerms(FlavourType.VM, policies=Policies(bounds))


DIVISIBLE = terms(
    Partitionability(
        Quantities({"cpu_millicores": 1_000, "memory_bytes": 64}),
        Quantities({"cpu_millicores": 250}),
        Quantities({"gpu": 200}),
        Quantities({"gpu": 100}),
    )
)


def of(**amounts: int) -> Demand:
    return Demand(Quantities(amounts))


def gpu(count: int = 1, millis: int = 1_000, unit_class: str = "gpu") -> Demand:
    return Demand(NOTHING, (UnitRequest(unit_class, count, millis),))


def refused_field(demand: Demand, under: PoolTerms | None = None) -> str:
    """The field that the refusal names."""

    def check() -> None:
        if under is None:
            check_well_formed(demand, "partition")
        else:
            check_against(demand, under, CAPACITY, GPUS, "partition")

    with pytest.raises(InvalidField) as refused:
        check()
    return refused.value.field


def test_extended_kinds_are_named_by_key() -> None:
    assert field_of("pods", "p") == "p.pods"
    assert field_of("example.org/fpga", "p") == "p.extended[example.org/fpga]"


@pytest.mark.parametrize(
    ("demand", "field"),
    [
        (Demand(), "partition"),
        (of(cpu_millicores=0), "partition"),
        (of(cpu_millicores=-1, memory_bytes=5), "partition.quantities.cpu_millicores"),
        (of(memory_bytes=MAX_AMOUNT + 1), "partition.quantities.memory_bytes"),
        (Demand(Quantities({"x/y": -1})), "partition.quantities.extended[x/y]"),
        (gpu(unit_class=""), "partition.units[0].unit_class"),
        (gpu(0), "partition.units[0].count"),
        (gpu(-1), "partition.units[0].count"),
        (gpu(MAX_UNITS + 1), "partition.units[0].count"),
        (gpu(1, 0), "partition.units[0].millis_each"),
        (gpu(1, 1_001), "partition.units[0].millis_each"),
        (Demand(NOTHING, (UnitRequest("gpu", 1), UnitRequest("gpu", 0))), "partition.units[1].count"),
        (Demand(NOTHING, (UnitRequest("gpu", 1),) * (MAX_UNIT_REQUESTS + 1)), "partition.units"),
    ],
)
def test_what_no_flavour_could_serve_is_refused(demand: Demand, field: str) -> None:
    assert refused_field(demand) == field


@pytest.mark.parametrize(
    "demand",
    [of(cpu_millicores=1), of(cpu_millicores=0, memory_bytes=1), of(memory_bytes=MAX_AMOUNT), gpu(MAX_UNITS, 1)],
)
def test_what_some_flavour_could_serve_is_well_formed(demand: Demand) -> None:
    check_well_formed(demand, "partition")


@pytest.mark.parametrize(
    ("demand", "field"),
    [
        (of(storage_bytes=1), "partition.quantities.storage_bytes"),
        (Demand(Quantities({"x/y": 1})), "partition.quantities.extended[x/y]"),
        (gpu(unit_class="nic"), "partition.units[0].unit_class"),
        (of(cpu_millicores=999), "partition.quantities.cpu_millicores"),
        (of(cpu_millicores=1_100), "partition.quantities.cpu_millicores"),
        (of(memory_bytes=63), "partition.quantities.memory_bytes"),
        (gpu(1, 199), "partition.units[0].millis_each"),
        (gpu(1, 250), "partition.units[0].millis_each"),
    ],
)
def test_what_the_policies_forbid_is_refused(demand: Demand, field: str) -> None:
    assert refused_field(demand, DIVISIBLE) == field


@pytest.mark.parametrize(
    "demand",
    [
        of(cpu_millicores=1_000),
        of(cpu_millicores=1_250, memory_bytes=65),
        of(cpu_millicores=0, memory_bytes=64),
        Demand(Quantities({"example.org/fpga": 3})),
        gpu(2, 200),
        gpu(1, 900),
        of(cpu_millicores=1_000_000),  # whether it fits is not asked here
    ],
)
def test_what_the_policies_allow_passes(demand: Demand) -> None:
    check_against(demand, DIVISIBLE, CAPACITY, GPUS, "partition")


def test_what_is_sold_whole_is_asked_for_whole() -> None:
    check_against(Demand(CAPACITY, (UnitRequest("gpu", 2),)), WHOLE, CAPACITY, GPUS, "partition")

    assert refused_field(Demand(CAPACITY), WHOLE) == "partition.units"
    assert refused_field(Demand(CAPACITY, (UnitRequest("gpu", 1),)), WHOLE) == "partition.units"
    less = Quantities({**CAPACITY, "memory_bytes": 1_023})
    assert refused_field(Demand(less, (UnitRequest("gpu", 2),)), WHOLE) == "partition.quantities.memory_bytes"


amounts = st.dictionaries(st.sampled_from(["cpu_millicores", "memory_bytes", "pods"]), st.integers(0, 60), max_size=3)


@given(asked=amounts, low=amounts, step=amounts)
def test_what_comes_down_to_the_step_is_the_largest_that_is_allowed(
    asked: dict[str, int], low: dict[str, int], step: dict[str, int]
) -> None:
    under = terms(Partitionability(Quantities(low), Quantities(step)))
    capacity = Quantities({"cpu_millicores": 60, "memory_bytes": 60, "pods": 60})

    def allowed(kind: str, amount: int) -> bool:
        try:
            check_against(Demand(Quantities({kind: amount})), under, capacity, (), "p")
        except InvalidField:
            return False
        return amount > 0

    most = {kind: [amount for amount in range(amount + 1) if allowed(kind, amount)] for kind, amount in asked.items()}
    reduced = on_step(Demand(Quantities(asked)), under)

    if not most or not all(most.values()):
        assert reduced is None
    else:
        assert reduced == Demand(Quantities({kind: found[-1] for kind, found in most.items()}))


def test_what_is_sold_whole_has_no_smaller_part() -> None:
    assert on_step(of(cpu_millicores=8_000), WHOLE) is None


def test_requests_without_any_device_are_left_out() -> None:
    some = (UnitRequest("gpu", 0, 500), UnitRequest("gpu", 1, 500))

    assert on_step(Demand(NOTHING, some), DIVISIBLE) == Demand(NOTHING, some[1:])
    assert on_step(Demand(NOTHING, some[:1]), DIVISIBLE) is None
