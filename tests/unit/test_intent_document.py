"""Intents as YAML documents: the form, and errors that name path and line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodes.intent_document import read_document
from rear.documents import DocumentError
from rear.domain.demand import Demand
from rear.domain.intent import Agreement, Component, Constraints, Intent, Objective, Port, Workload
from rear.domain.price import Money
from rear.domain.quantities import Quantities
from rear.domain.selector import LocationFilter, TextFilter, Vicinity
from rear.domain.units import UnitRequest
from rear.domain.window import HOUR, MILLISECOND, MINUTE, SECOND, AskedWindow, Duration, Instant
from rear.intent_schema import SCHEMA
from rear.v1 import intent_pb2
from rear.wire.intents import intent_from, read_intent, write_intent

NOW = Instant(1_800_000_000 * SECOND)
SKEW = Duration(5 * SECOND)
ROOT = Path(__file__).parents[2]

SMALL = """\
name: shop
components:
- name: web
  quantities: {cpu: 2}
  workload: {command: [serve]}
"""
WHOLE = """\
name: shop
agreement: direct
priority: -3
components:
- name: web
  quantities: {cpu: 500m, memory: 4GiB, storage: 1.5GB, pods: 3, extended: {licences: 2}}
  units:
  - {class: gpu, count: 2, millis: 500, model: T4, attributes: {memory: 16GiB}}
  - {class: vlan}
  minimum: {cpu: 0.25}
  constraints:
    architectures: [amd64]
    gpu_models: [T4, A10]
    location: {country: NO, city: [Oslo, Bergen], near: {latitude: 59.9, longitude: -10, radius: 50km}}
    max_price: 0.05 EUR
    max_latency: 20ms
    security_standards: [iso27001]
    tags: {tier: core, version: 1.30}
  window: {start: 2027-01-15T10:00:00+02:00, for: 1h30m}
  latest_start: +2h
  workload:
    command: [serve, "", 8080, 'a
      b']
    environment: {DEBUG: yes, PORT: 8080, EMPTY: }
    ports: [{name: http, number: 8080, protocol: tcp}]
  optimise: carbon
  depends_on: [store]
- name: store
  units: [{class: gpu, millis: 300}]
  window: {start: now, until: +1h}
  workload: {command: [keep]}
"""


def read(text: str) -> Intent:
    return read_document(text, NOW, SKEW)


def test_the_whole_form_is_read() -> None:
    web = Component(
        "web",
        Demand(
            Quantities(
                {
                    "cpu_millicores": 500,
                    "memory_bytes": 4 << 30,
                    "storage_bytes": 1_500_000_000,
                    "pods": 3,
                    "licences": 2,
                }
            ),
            (
                UnitRequest("gpu", 2, 500, (("memory", "16GiB"), ("model", "T4"))),
                UnitRequest("vlan", 1, 1_000),
            ),
        ),
        Workload(
            ("serve", "", "8080", "a b"),
            (("DEBUG", "yes"), ("EMPTY", ""), ("PORT", "8080")),
            (Port("http", 8080),),
        ),
        Quantities({"cpu_millicores": 250}),
        Constraints(
            ("amd64",),
            ("T4", "A10"),
            LocationFilter(
                TextFilter("NO"), TextFilter(any_of=frozenset({"Oslo", "Bergen"})), Vicinity((59.9, -10.0), 50_000)
            ),
            Money("EUR", 50_000_000),
            Duration(20 * MILLISECOND),
            ("iso27001",),
            (("tier", "core"), ("version", "1.30")),
        ),
        AskedWindow(NOW, duration=Duration(90 * MINUTE)),
        Instant(NOW + 2 * HOUR),
        Objective.CARBON,
        ("store",),
    )
    store = Component(
        "store",
        Demand(units=(UnitRequest("gpu", 1, 300),)),
        Workload(("keep",)),
        window=AskedWindow(end=Instant(NOW + HOUR)),
    )

    assert read(WHOLE) == Intent("shop", (web, store), Agreement.DIRECT, -3)


def test_a_whole_number_may_be_written_with_a_fraction_of_nothing_as_the_schema_has_it() -> None:
    found = read(
        SMALL.replace("[serve]}", "[serve], ports: [{name: http, number: 80.0}]}")
        + "  units: [{class: gpu, count: 2.0, millis: 500.00}]\npriority: -1.0\n"
    )

    (web,) = found.components
    assert (found.priority, web.workload.ports, web.partition.units) == (
        -1,
        (Port("http", 80),),
        (UnitRequest("gpu", 2, 500),),
    )


def test_the_sample_is_an_intent() -> None:
    sample = read((ROOT / "nodes" / "samples" / "intent.yaml").read_text())

    assert [component.name for component in sample.components] == ["store", "forecast"]


def test_the_published_schema_is_the_one_that_is_used() -> None:
    assert (ROOT / "docs" / "intent.schema.json").read_bytes() == SCHEMA.read_bytes()


W = "components[0]"
ERRORS = [
    ("", 0, "", "is empty"),
    ("- a\n", 1, "", "is a list; write keys and values"),
    ("shop\n", 1, "", "is 'shop'; write keys and values"),
    ("a: [\n", 2, "", "is not valid YAML"),
    ("name: &a shop\ncomponents: *a\n", 2, "", "aliases are not read"),
    ("a: " + "[" * 20 + "]" * 20, 1, "", "nested more than 16 deep"),
    (SMALL.replace("name: shop", "name: shop\nname: shop"), 2, "name", "is given twice, first in line 1"),
    (SMALL.replace("name: shop", "nmae: shop"), 1, "", "unknown key 'nmae'; known are: name, components"),
    (SMALL.replace("  quantities", "  color: red\n  quantities"), 4, W, "unknown key 'color'"),
    (SMALL.replace("cpu: 2", "cpus: 2"), 4, f"{W}.quantities", "unknown key 'cpus'; known are: cpu, memory"),
    (SMALL.replace("name: shop\n", ""), 1, "", "has no `name`; add it"),
    (SMALL.replace("  workload: {command: [serve]}\n", ""), 3, W, "has no `workload`; add it"),
    (SMALL.replace("[serve]", "[]"), 5, f"{W}.workload.command", "is empty; write a list"),
    (SMALL.replace("[serve]", "serve"), 5, f"{W}.workload.command", "is 'serve'; write a list"),
    (SMALL.replace("[serve]", '[""]'), 5, f"{W}.workload.command", "name the program to run"),
    (SMALL.replace("  quantities: {cpu: 2}\n", ""), 3, W, "has neither `quantities` nor `units`; add one"),
    (SMALL.replace("cpu: 2", "cpu: -2"), 4, f"{W}.quantities.cpu", "is '-2'; it must not be negative"),
    (SMALL.replace("cpu: 2", "cpu: 0"), 4, f"{W}.quantities.cpu", "is 0; ask for more than nothing"),
    (SMALL.replace("cpu: 2", "cpu: two"), 4, f"{W}.quantities.cpu", "is 'two'; write cores, as in 4"),
    (SMALL.replace("cpu: 2", "cpu: 0.0001"), 4, f"{W}.quantities.cpu", "too fine"),
    (SMALL.replace("cpu: 2", "cpu: "), 4, f"{W}.quantities.cpu", "is empty; write cores"),
    (SMALL.replace("cpu: 2", "memory: 2 bits"), 4, f"{W}.quantities.memory", "write a size"),
    (SMALL.replace("cpu: 2", "pods: 1.5"), 4, f"{W}.quantities.pods", "is '1.5'; write a whole number"),
    (SMALL.replace("cpu: 2", "extended: {cpu: 1}"), 4, f"{W}.quantities.extended.cpu", "beside `extended`"),
    (SMALL.replace("cpu: 2", "extended: {a b: 1}"), 4, f"{W}.quantities.extended", "holds 'a b'; write names of 1"),
    (
        SMALL + "  minimum: {cpu: 3}\n",
        6,
        f"{W}.minimum.cpu",
        "must be above 0, and no more than the quantity that is asked for",
    ),
    (SMALL + "  units: [{class: gpu, millis: 1001}]\n", 6, f"{W}.units[0].millis", "is '1001'; write thousandths"),
    (SMALL + "  units: [{class: gpu, count: 0}]\n", 6, f"{W}.units[0].count", "is '0'; write a whole number from 1"),
    (SMALL + "  units: [{count: 1}]\n", 6, f"{W}.units[0]", "has no `class`"),
    (SMALL + "  units: [{class: a, model: b, attributes: {model: c}}]\n", 6, f"{W}.units[0].model", "keep one"),
    (SMALL + "  window: {for: 2}\n", 6, f"{W}.window.for", "is '2'; write a duration with its unit"),
    (SMALL + "  window: {for: 0s}\n", 6, f"{W}.window.for", "must be longer than nothing"),
    (SMALL + "  window: {for: 1h, until: +1h}\n", 6, f"{W}.window.for", "does not go with an end"),
    (SMALL + "  window: {until: 2027-01-15T08:00:00}\n", 6, f"{W}.window.until", "an instant with its offset"),
    (SMALL + "  window: {until: 2027-01-15T07:59:59Z}\n", 6, f"{W}.window.until", "lies in the past"),
    (SMALL + "  window: {start: +2h, until: +1h}\n", 6, f"{W}.window.until", "must come after the start"),
    (SMALL + "  window: {start: 2027-01-15T07:59:00Z}\n", 6, f"{W}.window.start", "lies in the past"),
    (SMALL + "  window: {start: 2027-13-15T07:59:00Z}\n", 6, f"{W}.window.start", "write an instant, as in"),
    (SMALL + "  window: {start: +2h}\n  latest_start: +1h\n", 7, f"{W}.latest_start", "before the window's start"),
    (SMALL + "  constraints:\n    max_price: 5\n", 7, f"{W}.constraints.max_price", "an amount and its currency"),
    (SMALL + "  constraints: {max_latency: fast}\n", 6, f"{W}.constraints.max_latency", "write a duration"),
    (
        SMALL + "  constraints:\n    location:\n      near: {latitude: 91, longitude: 1, radius: 1km}\n",
        8,
        f"{W}.constraints.location.near.latitude",
        "is '91'; write degrees from -90 to 90",
    ),
    (SMALL + "  constraints: {location: {country: Norway}}\n", 6, f"{W}.constraints.location.country", "two capital"),
    (SMALL.replace("[serve]}", "[serve], ports: [{name: a, number: 0}]}"), 5, f"{W}.workload.ports[0].number", "1 to"),
    (
        SMALL.replace("[serve]}", "[a], environment: {1A: b}}"),
        5,
        f"{W}.workload.environment",
        "holds '1A'; write names of variables",
    ),
    (SMALL.replace("[serve]", r'["\ud800"]'), 5, f"{W}.workload.command[0]", "half of a character"),
    (SMALL.replace("[serve]}", r'[a], environment: {A: "\udfff"}}'), 5, f"{W}.workload.environment.A", "half of a"),
    (SMALL + "  optimise: speed\n", 6, f"{W}.optimise", "is 'speed'; write what decides between offers: price"),
    (SMALL + "  depends_on: [store]\n", 6, f"{W}.depends_on[0]", "is 'store', which no component is"),
    (SMALL + "  depends_on: [web]\n", 6, f"{W}.depends_on", "goes in a circle: web -> web"),
    (SMALL + "- name: web\n  quantities: {cpu: 1}\n  workload: {command: [a]}\n", 6, "components[1].name", "is 'web'"),
    (SMALL.replace("name: web", "name: Web"), 3, f"{W}.name", "is 'Web'; write a name of 1 to 63"),
    (SMALL + "priority: 9999999999\n", 6, "priority", "write a whole number; higher is more important"),
]


@pytest.mark.parametrize(("text", "line", "where", "message"), ERRORS)
def test_what_is_wrong_is_told_with_path_and_line(text: str, line: int, where: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(text)

    assert message in caught.value.message
    assert (caught.value.line, caught.value.where) == (line, where)


def test_the_first_of_several_errors_is_told() -> None:
    with pytest.raises(DocumentError) as caught:
        read(SMALL.replace("cpu: 2", "cpu: x").replace("[serve]", "3"))

    assert caught.value.line == 4


def test_a_bomb_of_aliases_costs_nothing() -> None:
    bomb = "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(20))
    with pytest.raises(DocumentError, match="aliases are not read"):
        read(bomb)


@pytest.mark.parametrize(
    "text",
    [
        "components: [" + "1," * 20_000 + "]",
        SMALL + "  constraints: {tags: {" + "".join(f"t{n}: ," for n in range(10_000)) + "}}\n",
        SMALL.replace("[serve]", "[" + "[]," * 20_000 + "]"),
    ],
)
def test_tens_of_thousands_of_errors_cost_as_much_as_the_document(text: str) -> None:
    began = process_time()
    with pytest.raises(DocumentError):
        read(text)
    assert process_time() - began < 8  # less than one; twenty and more where each error looks for its place anew


KEYS = sorted({*re.findall(r'"([a-z_]+)": \{', SCHEMA.read_text()), "gpu", "web"})
MARKS = (*(": ", "\n", "\n  ", "\n- ", "{", "}", "[", "]", ",", '"', "&a", "*a", "!!x", "|"), "\x00", "\ud800", "---")
SCALARS = st.sampled_from(["web", "1", "500m", "4GiB", "1h", "now", "+1h", "DE", "5 EUR", "amd64", "-1", "1e9", "T4"])
STRUCTURES = st.recursive(
    st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.text(max_size=5), SCALARS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=20,
)
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from([*KEYS, *MARKS, "1", "-"]), max_size=30).map("".join))


WRITTEN = (
    *("1.0", "-0", "-0.0", "00", "1e3", "0x10", "9223372036854775807", "99999999999999999999", "2147483648", ".nan"),
    *("''", "~", "' '", '"a\\n"', r'"\ud800"', r'"\u2028"', r'"\0"', "é", "'1 h'", "0s", "0.0000000001s", "+0s"),
    *("2027-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9Z", "2027-01-15T08:00Z", "1 EUR"),
    *("9999999999999999999 EUR", "0.0005", "1 kb", "5KM", "91", "a" * 257, "a" * 4_097, "[]", "[a, a]", "{a: b}"),
)
"""What may be written for any value."""
PLACES = [found.span(1) for found in re.finditer(r"(?:: |\[)([^\s\[\]{},]+)(?=[\n,\]}])", WHOLE)]


def outcome(text: str) -> Intent | str:
    try:
        return read(text)
    except DocumentError as error:
        return str(error)


def assert_intent_or_one_line(text: str) -> None:
    found = outcome(text)
    if isinstance(found, str):
        assert found.isprintable()
        return
    message = intent_pb2.Intent()
    write_intent(message, found)
    assert intent_from(message) == read_intent(message) == found


@given(place=st.sampled_from(PLACES), written=st.sampled_from(WRITTEN))
@example(PLACES[2], "1.0")
def test_whatever_a_value_is_replaced_by_it_is_an_intent_that_a_message_can_be_or_an_error(
    place: tuple[int, int], written: str
) -> None:
    assert_intent_or_one_line(WHOLE[: place[0]] + written + WHOLE[place[1] :])


@given(text=TEXTS)
@example("[" * 5_000)
@example(SMALL.replace("cpu: 2", "cpu: " + "9" * 5_000))
@example(SMALL.replace("web", "w" * 5_000))
@example("components: [{name: 5, workload: , units: [[]]}]\nname: !!binary x")
def test_arbitrary_text_is_an_intent_or_an_error(text: str) -> None:
    assert_intent_or_one_line(text)


@given(extra=st.dictionaries(st.sampled_from(KEYS), STRUCTURES, max_size=4))
def test_arbitrary_components_are_intents_or_errors(extra: dict[str, object]) -> None:
    component = {"name": "web", "quantities": {"cpu": "1"}, "workload": {"command": ["serve"]}} | extra
    assert_intent_or_one_line(json.dumps({"name": "shop", "components": [component]}))
