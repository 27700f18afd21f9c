"""What is typed at the command: amounts, devices, money, times, windows and selectors."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rear import amounts
from rear.command.amounts import (
    demand_flags,
    parse_extended,
    parse_gpu,
    parse_unit,
    parse_vicinity,
    show_bytes,
    show_cpu,
    show_demand,
    show_money,
)
from rear.command.counter_offers import offers
from rear.command.main import run_command
from rear.command.output import as_json
from rear.command.parameters import partition_options, take_demand
from rear.command.selectors import selector_options, take_selector
from rear.command.times import ask_window, show_duration, show_instant, show_roughly
from rear.domain.demand import Demand
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.units import UnitRequest
from rear.domain.window import FOREVER, HOUR, MILLISECOND, MINUTE, SECOND, AskedWindow, Instant, Window
from rear.v1 import contract_pb2
from rear.wire.values import write_instant, write_partition, write_window

NOON = Instant(1_767_268_800 * SECOND)
"""2026-01-01T12:00:00Z."""


@pytest.mark.parametrize(
    ("text", "millicores"), [("2", 2_000), ("0.5", 500), ("500m", 500), ("0", 0), ("1.234", 1_234)]
)
def test_processor_is_cores_or_millicores(text: str, millicores: int) -> None:
    assert amounts.cores(text) == millicores


@pytest.mark.parametrize("text", ["", "m", "-1", "two", "0.0001", "1.5m", "1e3", "٣"])
def test_a_wrong_amount_of_processor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write cores|negative"):
        amounts.cores(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4GiB", 4 * 1_024**3),
        ("4Gi", 4 * 1_024**3),
        ("4gib", 4 * 1_024**3),
        ("4GB", 4 * 1_000**3),
        ("4G", 4 * 1_000**3),
        ("1.5KiB", 1_536),
        ("4096", 4_096),
        ("4096B", 4_096),
        ("1 TiB", 1_024**4),
    ],
)
def test_bytes_know_binary_and_decimal_prefixes(text: str, count: int) -> None:
    assert amounts.size(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "1XiB", "0.3B", "4iB", "9EiB", "1.1KiB"])
def test_wrong_bytes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a size|negative|more than can be counted"):
        amounts.size(text)


@given(st.integers(0, 2**62))
def test_shown_amounts_read_back_as_they_were(amount: int) -> None:
    assert amounts.size(show_bytes(amount)) == amount
    assert amounts.cores(show_cpu(amount)) == amount
    assert amounts.money(show_money(Money("EUR", amount))) == Money("EUR", amount)
    assert amounts.duration(show_duration(amount)) == amount


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("2", UnitRequest("gpu", 2)),
        ("1:460", UnitRequest("gpu", 1, 460)),
        ("4:1000:V100M32", UnitRequest("gpu", 4, 1_000, (("model", "V100M32"),))),
        ("1::T4", UnitRequest("gpu", 1, 1_000, (("model", "T4"),))),
    ],
)
def test_gpus_are_count_millis_and_model(text: str, request_: UnitRequest) -> None:
    assert parse_gpu(text) == request_


@pytest.mark.parametrize("text", ["", "x", ":460", "1:x", "-1", "1.5"])
def test_wrong_gpus_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write devices"):
        parse_gpu(text)


def test_devices_of_another_class_have_attributes_by_name() -> None:
    expected = UnitRequest("nic", 1, 500, (("port", "a"), ("speed", "100G")))
    assert parse_unit("nic=1:500:speed=100G,port=a") == expected


def test_a_kind_with_a_flag_of_its_own_is_no_extended_one() -> None:
    assert parse_extended("licences=3") == ("licences", 3)
    with pytest.raises(ValueError, match="flag of its own"):
        parse_extended("pods=3")


@pytest.mark.parametrize(
    ("text", "nanos"), [("0.50 EUR", 500_000_000), ("3eur", 3_000_000_000), ("0.000000001 EUR", 1)]
)
def test_money_is_exact(text: str, nanos: int) -> None:
    assert amounts.money(text) == Money("EUR", nanos)


@pytest.mark.parametrize("text", ["", "EUR", "1", "-1 EUR", "0.0000000001 EUR", "1 EURO"])
def test_wrong_money_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write an amount|negative"):
        amounts.money(text)


def test_a_place_is_degrees_and_kilometres() -> None:
    assert parse_vicinity("51.34,12.37,0.5km") == (51.34, 12.37, 500)
    for wrong in ("", "1,2", "91,0,1", "0,181,1", "a,b,c", "1,2,3,4", "nan,0,1"):
        with pytest.raises(ValueError, match="write"):
            parse_vicinity(wrong)


@pytest.mark.parametrize(
    ("text", "length"),
    [("20ms", 20 * MILLISECOND), ("1h30m", 90 * MINUTE), ("1.5h", 90 * MINUTE), ("2d", 48 * HOUR), ("0s", 0)],
)
def test_durations_are_exact(text: str, length: int) -> None:
    assert amounts.duration(text) == length


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1h 30m", "5 ", "5x", "0.5ns", "1hh"])
def test_wrong_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a duration|negative"):
        amounts.duration(text)


def test_rough_durations_are_cut_to_two_units() -> None:
    assert show_roughly(amounts.duration("1h59m59s123ms")) == "1h59m"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", NOON),
        ("+2h", NOON + 2 * HOUR),
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T13:00:00+01:00", NOON),
        ("2026-01-01T12:00:00.000000001Z", NOON + 1),
        ("2026-01-01T13:30:00,5+01:00", NOON + 30 * MINUTE + SECOND // 2),
    ],
)
def test_instants_are_now_from_now_or_iso(text: str, instant: int) -> None:
    assert amounts.instant(text, NOON) == instant


@pytest.mark.parametrize(
    "text", ["", "later", "+", "+2", "-2h", "1969-12-31T00:00:00Z", "2026-13-01", "2026-01-01T12:00:00.1234567890Z"]
)
def test_wrong_instants_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write an instant|write a duration"):
        amounts.instant(text, NOON)


@given(st.integers(0, FOREVER))
def test_shown_instants_read_back_as_they_were(nanos: int) -> None:
    assert amounts.instant(show_instant(Instant(nanos)), NOON) == nanos


def test_a_window_leaves_to_the_provider_what_is_not_said() -> None:
    assert ask_window(None, None, None, NOON) == AskedWindow(None, None)
    assert ask_window("now", None, None, NOON) == AskedWindow(None, None)
    assert ask_window(None, None, HOUR, NOON) == AskedWindow(duration=HOUR)
    assert ask_window("+1h", None, HOUR, NOON) == AskedWindow(Instant(NOON + HOUR), duration=HOUR)
    assert ask_window("+1h", "+3h", None, NOON) == AskedWindow(Instant(NOON + HOUR), Instant(NOON + 3 * HOUR))


def test_a_window_has_one_end() -> None:
    with pytest.raises(ValueError, match="not both"):
        ask_window(None, "+1h", HOUR, NOON)


def _selector(*arguments: str) -> dict[str, Any]:
    @click.command()
    @selector_options
    def command(**flags: Any) -> None:
        selector = take_selector(flags)
        assert not flags
        click.echo(json.dumps(as_json(selector)))

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.output)
    return document


def test_no_flag_is_an_empty_selector() -> None:
    assert _selector() == {}


def test_every_flag_is_a_field_of_the_selector() -> None:
    typed = """
        --type vm --type k8slice --cpu 2 --memory 4GiB --gpu 1:460:T4 --start 2026-01-01T12:00:00Z --for 1h
        --min-cpu 1 --max-memory 8GiB --exact-pods 3 --exact-pods 5 --min-extended licences=2
        --exact-extended tokens=7 --arch amd64 --gpu-model T4 --gpu-model A10 --country DE --city Leipzig
        --near 51,12,50 --max-latency 20ms --security-standard iso27001 --security-any bsi --carbon-max 100
        --tag tier=core --tag tier=edge --tag network=25G --owner campus.example --pool p1
        --provider spiffe://campus.example/node/a
    """
    assert _selector(*typed.split(), "--max-price", "0.50 EUR") == {
        "types": ["FLAVOUR_TYPE_VM", "FLAVOUR_TYPE_K8SLICE"],
        "partition": {
            "quantities": {"cpuMillicores": "2000", "memoryBytes": str(4 * 1_024**3)},
            "units": [{"unitClass": "gpu", "count": "1", "millisEach": "460", "attributes": {"model": "T4"}}],
        },
        "window": {"start": "2026-01-01T12:00:00Z", "duration": "3600s"},
        "quantities": {
            "cpuMillicores": {"min": "1000"},
            "memoryBytes": {"max": str(8 * 1_024**3)},
            "pods": {"anyOf": ["3", "5"]},
            "extended": {"licences": {"min": "2"}, "tokens": {"exact": "7"}},
        },
        "architecture": {"exact": "amd64"},
        "gpuModel": {"anyOf": ["T4", "A10"]},
        "location": {
            "country": {"exact": "DE"},
            "city": {"exact": "Leipzig"},
            "vicinity": {"centre": {"latitude": 51.0, "longitude": 12.0}, "radiusMetres": "50000"},
        },
        "maxPrice": {"currencyCode": "EUR", "nanos": 500_000_000},
        "maxLatency": "0.020s",
        "securityStandards": {"allOf": ["iso27001"], "anyOf": ["bsi"]},
        "carbonGramsPerHour": {"max": "100"},
        "tags": {"tier": {"anyOf": ["core", "edge"]}, "network": {"exact": "25G"}},
        "ownerDomain": {"exact": "campus.example"},
        "poolIds": ["p1"],
        "providerIds": ["spiffe://campus.example/node/a"],
    }


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
kinds = st.sampled_from(["cpu_millicores", "memory_bytes", "storage_bytes", "pods"]) | names
unit_requests = st.builds(
    UnitRequest,
    st.sampled_from(["gpu", "nic"]),
    st.integers(1, 9),
    st.integers(1, 1_000),
    st.dictionaries(st.sampled_from(["model", "speed"]), names).map(lambda wanted: tuple(sorted(wanted.items()))),
)
demands = st.builds(
    Demand,
    st.dictionaries(kinds, st.integers(0, 2**40)).map(Quantities),
    st.lists(unit_requests, max_size=3).map(lambda units: tuple(sorted(units, key=lambda unit: unit.unit_class))),
)


@given(demands)
def test_the_flags_of_a_partition_ask_for_that_partition(demand: Demand) -> None:
    heard: list[Demand] = []

    @click.command()
    @partition_options
    def command(**flags: Any) -> None:
        heard.append(take_demand(flags))

    result = CliRunner().invoke(command, demand_flags(demand), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert heard[0].quantities == demand.quantities
    # --gpu and --unit are read apart, so only the order between them may change.
    assert sorted(heard[0].units, key=repr) == sorted(demand.units, key=repr)
    assert show_demand(demand)


def _counter_offer(most: Demand | None, earliest: Window | None) -> contract_pb2.CounterOffer:
    message = contract_pb2.CounterOffer(flavour_id="pool-7", exhaustive=True)
    write_window(message.asked_window, Window(NOON, Instant(NOON + HOUR)))
    write_instant(message.as_of, NOON)
    if most is not None:
        write_partition(message.most_in_window, most)
    if earliest is not None:
        write_window(message.earliest_window, earliest)
    return message


def test_a_counter_offer_names_the_commands_that_take_it() -> None:
    demand = Demand(Quantities({"cpu_millicores": 4_000}))
    later = Window(Instant(NOON + HOUR), Instant(NOON + 2 * HOUR))
    message = _counter_offer(Demand(Quantities({"cpu_millicores": 1_500})), later)
    found = offers(message, demand, AskedWindow(None, Instant(NOON + HOUR)), ["--confirm"])
    assert [offer.command for offer in found] == [
        # The window asked for began at once, and so does this one.
        "rear reserve pool-7 --cpu 1500m --for 1h --confirm",
        "rear reserve pool-7 --cpu 4 --start 2026-01-01T13:00:00Z --for 1h --confirm",
    ]


def test_a_counter_offer_of_nothing_has_no_command() -> None:
    assert offers(_counter_offer(None, None), Demand(), AskedWindow(), []) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["flavours", "list", "--cpu", "many"],
        ["flavours", "list", "--until", "+1h", "--for", "1h"],
        ["reserve"],
        ["reserve", "pool-1", "--compress", "10"],
        ["reserve", "pool-1", "--from", __file__],
        ["reserve", "--from", __file__, "--compress", "0"],
        ["events", "--all", "--last", "3"],
        ["events", "--id", "x"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("rear: ")
    assert said.err.count("\n") == 1


def test_help_loads_no_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    assert "flavours" in capsys.readouterr().out
