"""The rules of intents, and intents as messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given

from rear.domain.demand import Demand
from rear.domain.intent import Component, Constraints, Intent, Port, Workload
from rear.domain.intent_rules import check, check_times
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.refusals import InvalidField
from rear.domain.selector import LocationFilter, TextFilter, Vicinity
from rear.domain.units import UnitRequest
from rear.domain.window import HOUR, MINUTE, SECOND, AskedWindow, Duration, Instant
from rear.v1 import intent_pb2
from rear.wire.intents import intent_from, read_intent, write_intent
from tests import strategies

NOW = Instant(1_800_000_000 * SECOND)
WEB = Component(
    "web",
    Demand(Quantities({"cpu_millicores": 2_000, "memory_bytes": 4 << 30, "vcpus": 2}), (UnitRequest("gpu", 1),)),
    Workload(("serve", ""), (("MODE", "fast"),), (Port("http", 8080), Port("admin", 9090))),
)
STORE = replace(WEB, name="store")


def intent(*components: Component) -> Intent:
    return Intent("shop", components)


def refused(wrong: Intent, parent: str = "") -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        check(wrong, parent)
    return caught.value


def test_a_sensible_intent_passes() -> None:
    check(intent(WEB, replace(STORE, depends_on=("web",), minimum=Quantities({"cpu_millicores": 1_000}))))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": "Web"}, "name"),
        ({"name": "web-"}, "name"),
        ({"name": "w" * 64}, "name"),
        ({"partition": Demand()}, "partition"),
        ({"partition": Demand(Quantities({"pods": -1}))}, "partition.quantities.pods"),
        ({"partition": Demand(Quantities({"pods": 0, "disks": 4}))}, "partition.quantities.pods"),
        ({"partition": Demand(units=(UnitRequest("gpu", 0),))}, "partition.units[0].count"),
        ({"partition": Demand(units=(UnitRequest("g" * 257, 1),))}, "partition.units[0].unit_class"),
        (
            {"partition": Demand(units=(UnitRequest("gpu", 1, attributes=(("a", ""),)),))},
            "partition.units[0].attributes[a]",
        ),
        (
            {"partition": Demand(units=(UnitRequest("gpu", 1, attributes=tuple((f"{n}", "x") for n in range(65))),))},
            "partition.units[0].attributes",
        ),
        ({"minimum": Quantities({"cpu_millicores": 2_001})}, "minimum.cpu_millicores"),
        ({"minimum": Quantities({"vcpus": 0})}, "minimum.extended[vcpus]"),
        ({"minimum": Quantities({"pods": 1})}, "minimum.pods"),
        ({"window": AskedWindow(end=NOW, duration=HOUR)}, "window.duration"),
        ({"window": AskedWindow(duration=Duration(0))}, "window.duration"),
        ({"window": AskedWindow(NOW, NOW)}, "window.end"),
        ({"window": AskedWindow(NOW), "latest_start": Instant(NOW - 1)}, "latest_start"),
        ({"workload": Workload(())}, "workload.command"),
        ({"workload": Workload(("", "x"))}, "workload.command"),
        ({"workload": Workload(("a\0b",))}, "workload.command[0]"),
        ({"workload": Workload(("a",), (("1A", ""),))}, "workload.environment[1A]"),
        ({"workload": Workload(("a",), (("A", "x" * 4_097),))}, "workload.environment[A]"),
        ({"workload": Workload(("a",), (), (Port("http", 0),))}, "workload.ports[0].number"),
        ({"workload": Workload(("a",), (), (Port("http", 65_536),))}, "workload.ports[0].number"),
        ({"workload": Workload(("a",), (), (Port("a", 1), Port("a", 2)))}, "workload.ports[1].name"),
        ({"workload": Workload(("a",), (), (Port("a", 1), Port("b", 1)))}, "workload.ports[1].number"),
        ({"workload": Workload(("a",) * 65)}, "workload.command"),
        ({"constraints": Constraints(architectures=("",))}, "constraints.architectures[0]"),
        ({"constraints": Constraints(gpu_models=("T4", "T4"))}, "constraints.gpu_models[1]"),
        ({"constraints": Constraints(security_standards=("a\nb",))}, "constraints.security_standards[0]"),
        ({"constraints": Constraints(tags=(("tier", ""),))}, "constraints.tags[tier]"),
        ({"constraints": Constraints(max_price=Money("euro", 1))}, "constraints.max_price.currency_code"),
        ({"constraints": Constraints(max_price=Money("EUR", -1))}, "constraints.max_price"),
        ({"constraints": Constraints(max_latency=Duration(-1))}, "constraints.max_latency"),
        ({"constraints": Constraints(location=LocationFilter(TextFilter("Germany")))}, "constraints.location.country"),
        (
            {"constraints": Constraints(location=LocationFilter(city=TextFilter(any_of=frozenset({""}))))},
            "constraints.location.city[0]",
        ),
        (
            {"constraints": Constraints(location=LocationFilter(vicinity=Vicinity((91.0, 0.0), 1)))},
            "constraints.location.vicinity.centre.latitude",
        ),
        (
            {"constraints": Constraints(location=LocationFilter(vicinity=Vicinity((0.0, float("nan")), 1)))},
            "constraints.location.vicinity.centre.longitude",
        ),
        (
            {"constraints": Constraints(location=LocationFilter(vicinity=Vicinity((0.0, 0.0), -1)))},
            "constraints.location.vicinity.radius_metres",
        ),
        ({"depends_on": ("store", "nobody")}, "depends_on[1]"),
        ({"depends_on": ("store", "store")}, "depends_on[1]"),
    ],
)
def test_what_nobody_could_mean_is_refused_with_its_path(change: dict[str, object], path: str) -> None:
    wrong = intent(STORE, replace(WEB, **change))  # type: ignore[arg-type]

    assert refused(wrong, "intent").field == f"intent.components[1].{path}"


def test_an_intent_has_a_name_and_components() -> None:
    assert refused(replace(intent(WEB), name="Shop!")).field == "name"
    assert refused(intent()).field == "components"
    many = tuple(replace(WEB, name=f"c{n}") for n in range(91))
    check(intent(*many[:90]))
    assert refused(intent(*many)).field == "components"


def test_two_components_of_one_name_are_refused() -> None:
    refusal = refused(intent(WEB, STORE, WEB))

    assert refusal.field == "components[2].name"
    assert "components[0].name" in refusal.description


@pytest.mark.parametrize(
    ("needs", "path", "circle"),
    [
        ({"a": ("a",)}, "components[0].depends_on", "a -> a"),
        ({"a": ("b",), "b": ("a",)}, "components[0].depends_on", "a -> b -> a"),
        ({"a": ("b",), "b": ("c", "d"), "c": (), "d": ("b",)}, "components[1].depends_on", "b -> d -> b"),
    ],
)
def test_components_that_wait_for_each_other_are_refused_with_the_circle(
    needs: dict[str, tuple[str, ...]], path: str, circle: str
) -> None:
    refusal = refused(intent(*(replace(WEB, name=name, depends_on=needed) for name, needed in needs.items())))

    assert refusal.field == path
    assert refusal.description.endswith(circle)


def test_a_diamond_of_needs_is_no_circle() -> None:
    needs = {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}
    check(intent(*(replace(WEB, name=name, depends_on=needed) for name, needed in needs.items())))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"window": AskedWindow(start=Instant(NOW - MINUTE))}, "window.start"),
        ({"window": AskedWindow(end=NOW)}, "window.end"),
        ({"latest_start": Instant(NOW - MINUTE)}, "latest_start"),
    ],
)
def test_what_lies_in_the_past_is_refused(change: dict[str, object], path: str) -> None:
    late = intent(WEB, replace(STORE, **change))  # type: ignore[arg-type]
    check(late)

    with pytest.raises(InvalidField) as caught:
        check_times(late, NOW, Duration(5 * SECOND), "intent")

    assert caught.value.field == f"intent.components[1].{path}"


def test_clocks_may_differ_a_little() -> None:
    check_times(intent(replace(WEB, window=AskedWindow(start=Instant(NOW - SECOND)))), NOW, Duration(5 * SECOND))


def test_a_kind_without_a_minimum_is_needed_whole() -> None:
    content = replace(WEB, minimum=Quantities({"memory_bytes": 1 << 30}))

    assert content.least == Quantities({"cpu_millicores": 2_000, "memory_bytes": 1 << 30, "vcpus": 2})
    assert WEB.least == WEB.partition.quantities


@given(original=strategies.intents)
def test_an_intent_as_a_message_loses_nothing(original: Intent) -> None:
    message = intent_pb2.Intent()
    write_intent(message, original)

    assert read_intent(intent_pb2.Intent.FromString(message.SerializeToString())) == original


def test_a_sensible_intent_is_read_from_a_request() -> None:
    message = intent_pb2.Intent()
    write_intent(message, original := intent(WEB, replace(STORE, depends_on=("web",))))

    assert intent_from(message) == original


@pytest.mark.parametrize(
    ("form", "path"),
    [
        (None, "intent"),
        ({"name": "a" * 140_000}, "intent"),
        ({"name": "a"}, "intent.components"),
        ({"name": "a", "agreement": 7}, "intent.agreement"),
        ({"components": [{"partition": {"quantities": {"pods": 1}}}]}, "intent.components[0].workload"),
        ({"components": [{"workload": {"command": ["c"]}}]}, "intent.components[0].partition"),
    ],
)
def test_what_a_request_leaves_out_is_asked_for(form: dict[str, object] | None, path: str) -> None:
    with pytest.raises(InvalidField) as caught:
        intent_from(None if form is None else ParseDict(form, intent_pb2.Intent()))

    assert caught.value.field == path
