"""Whatever a file holds, loading it gives pools or one line that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nodes.inventory import PoolSpec, load_inventory
from nodes.inventory_yaml import POOL_KEYS
from rear.documents import DocumentError

HEADER = "sn,cpu_milli,memory_mib,gpu,model\n"
POOL = "pools:\n- id: a\n  type: k8slice\n  "
YAML_WORDS = (
    *("pools", "defaults", "id", "type", "k8slice", "quantities", "cpu", "memory", "units", "class", "gpu"),
    *("count", "names", "price", "components", "amount", "kind", "per", "policies", "partitionability"),
    *("minimum", "properties", "tags", "owner", "null", "4", "-1", "1e9", "1GiB"),
)
MARKS = (
    *(": ", ":", "\n", "\n  ", "\n- ", "- ", "{", "}", "[", "]", ",", '"', "'", "&a", "*a", "!!x", "|", ">"),
    *("%YAML 9.9\n", "\\U", "\\x00", "\ud800", "\x85", "\r", "\x00", "---", "...", "<<", "?", "#", "~", "٣"),
)
WORDS = st.sampled_from([*YAML_WORDS, *MARKS, "sn", "cpu_milli", "memory_mib", "a", "1", "0"])
TEXTS = st.one_of(
    st.text(),
    st.lists(WORDS, max_size=30).map("".join),
    st.lists(WORDS, max_size=12).map(lambda words: HEADER + ",".join(words)),
    st.lists(WORDS, max_size=12).map(lambda words: POOL + " ".join(words)),
)
STRUCTURES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5), st.sampled_from([*YAML_WORDS, "5 EUR", "1h"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(YAML_WORDS), inner, max_size=5)
    ),
    max_leaves=25,
)


def outcome(tmp_path: Path, name: str, text: str) -> tuple[PoolSpec, ...] | str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    try:
        return load_inventory(path, owner_domain="site.example")
    except DocumentError as error:
        return str(error)


def assert_pools_or_one_line(found: tuple[PoolSpec, ...] | str) -> None:
    if isinstance(found, str):
        assert found.isprintable()
    else:
        assert found
        assert all(spec.capacity.positive or spec.units for spec in found)


@given(name=st.sampled_from(["fuzz.yaml", "fuzz.csv"]), text=TEXTS)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(name="fuzz.yaml", text="%YAML 1." + "9" * 5_000 + "\n--- a\n")
@example(name="fuzz.yaml", text="[" * 5_000)
@example(name="fuzz.csv", text=HEADER + "9" * 5_000 + "," + "9" * 5_000)
@example(name="fuzz.csv", text=HEADER + "a" * 200_000)
def test_arbitrary_text_is_an_inventory_or_an_inventory_error(tmp_path: Path, name: str, text: str) -> None:
    assert_pools_or_one_line(outcome(tmp_path, name, text))


@given(document=STRUCTURES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_structures_are_pools_or_an_inventory_error(tmp_path: Path, document: object) -> None:
    text = json.dumps({"defaults": {"type": "vm", "quantities": {"cpu": "4"}}, "pools": [document]})
    assert_pools_or_one_line(outcome(tmp_path, "fuzz.yaml", text))


@given(body=st.dictionaries(st.sampled_from(POOL_KEYS[2:]), STRUCTURES, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bodies_of_a_pool_are_pools_or_an_inventory_error(tmp_path: Path, body: dict[str, object]) -> None:
    text = json.dumps({"pools": [{"id": "a", "type": "k8slice", "units": [{"class": "gpu", "count": 1}]} | body]})
    assert_pools_or_one_line(outcome(tmp_path, "fuzz.yaml", text))
