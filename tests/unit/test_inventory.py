"""Inventories: what the two forms say, and where each error points."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.inventory import DEMO, GPU_MODELS, PoolSpec, load_inventory
from rear.documents import DocumentError
from rear.domain.demand import Demand
from rear.domain.flavour import (
    Aggregatability,
    Characteristics,
    FlavourType,
    K8SliceFacts,
    Location,
    Owner,
    Partitionability,
    Policies,
    PoolTerms,
    Properties,
)
from rear.domain.partition import check_against
from rear.domain.price import Money, Price, PriceComponent
from rear.domain.quantities import Quantities
from rear.domain.units import Unit, UnitRequest
from rear.domain.window import HOUR, MILLISECOND

GIB = 1024**3
HEADER = "sn,cpu_milli,memory_mib,gpu,model\n"
WHOLE_POOL = """\
defaults:
  owner: {contact: ops@site.example}
  properties: {tags: {tier: edge, rack: a}}
pools:
  - id: box-1
    type: k8slice
    characteristics: {architecture: arm64, kubernetes_version: 1.30}
    quantities: {cpu: 2.5, memory: 16GiB, storage: 1TB, pods: 20, extended: {fpga: 3}}
    units:
      - {class: gpu, model: T4, count: 2}
      - {class: nic, names: [eth1], attributes: {speed: 10G}}
      - {class: gpu, model: A10, count: 1}
    properties:
      latency: 1.5ms
      security_standards: [iso27001]
      carbon_grams_per_hour: 40
      tags: {rack: b}
      location: {country: NO, city: Oslo, latitude: 59.91, longitude: -10.75}
    policies:
      partitionability:
        minimum: {cpu: 500m, extended: {fpga: 1}}
        step: {memory: 1Gi}
        unit_minimum_millis: {gpu: 100}
        unit_step_millis: {gpu: 50}
      aggregatability: {min_count: 1, max_count: 3}
    price:
      components:
        - {amount: 1 EUR}
        - {amount: 0.05 EUR, kind: memory, per_amount: 2GiB, per: 1h}
        - {amount: 0.000000001 EUR, kind: gpu, per: 90m}
"""


def load(tmp_path: Path, name: str, text: str, *, every: int = 1) -> tuple[PoolSpec, ...]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return load_inventory(path, owner_domain="site.example", every=every)


def pool(body: str) -> str:
    """A YAML inventory whose one pool begins in line 2 and whose `body` begins in line 4."""
    return f"pools:\n- id: a\n  type: k8slice\n{body}"


def test_yaml_says_everything_that_terms_hold(tmp_path: Path) -> None:
    (spec,) = load(tmp_path, "inventory.yaml", WHOLE_POOL)
    assert spec == PoolSpec(
        pool_id="box-1",
        terms=PoolTerms(
            type=FlavourType.K8SLICE,
            characteristics=Characteristics("arm64", K8SliceFacts(kubernetes_version="1.30")),
            properties=Properties(
                latency=MILLISECOND * 3 // 2,  # type: ignore[arg-type]
                security_standards=("iso27001",),
                carbon_grams_per_hour=40,
                tags=(("rack", "b"), ("tier", "edge")),
                location=Location("NO", "Oslo", (59.91, -10.75)),
            ),
            policies=Policies(
                Partitionability(
                    minimum=Quantities({"cpu_millicores": 500, "fpga": 1}),
                    step=Quantities({"memory_bytes": GIB}),
                    unit_minimum_millis=Quantities({"gpu": 100}),
                    unit_step_millis=Quantities({"gpu": 50}),
                ),
                Aggregatability(1, 3),
            ),
            price=Price(
                (
                    PriceComponent("", Money("EUR", 1_000_000_000)),
                    PriceComponent("memory_bytes", Money("EUR", 50_000_000), 2 * GIB, HOUR),
                    PriceComponent("gpu", Money("EUR", 1), 1_000, HOUR * 3 // 2),  # type: ignore[arg-type]
                )
            ),
            owner=Owner("site.example", "", "ops@site.example"),
        ),
        capacity=Quantities(
            {
                "cpu_millicores": 2_500,
                "memory_bytes": 16 * GIB,
                "storage_bytes": 10**12,
                "pods": 20,
                "fpga": 3,
            }
        ),
        units=(
            Unit("gpu", "gpu-0", (("model", "T4"),)),
            Unit("gpu", "gpu-1", (("model", "T4"),)),
            Unit("nic", "eth1", (("speed", "10G"),)),
            Unit("gpu", "gpu-2", (("model", "A10"),)),
        ),
    )


def test_an_explicit_null_takes_a_default_away(tmp_path: Path) -> None:
    text = (
        "defaults:\n  type: vm\n  quantities: {cpu: 4}\n  owner: {domain: other.example}\n"
        "  policies: {partitionability: {}, aggregatability: {min_count: 1, max_count: 2}}\n"
        "pools:\n- id: a\n- {id: b, owner: null, policies: {partitionability: ~}}\n"
    )
    first, second = load(tmp_path, "inventory.yml", text)
    assert first.terms.owner.domain == "other.example"
    assert first.terms.policies == Policies(Partitionability(), Aggregatability(1, 2))
    assert second.terms.owner.domain == "site.example"
    assert second.terms.policies == Policies(None, Aggregatability(1, 2))


def test_pools_with_equal_terms_share_them(tmp_path: Path) -> None:
    text = "defaults: {type: vm, quantities: {cpu: 4}}\npools: [{id: a}, {id: b, quantities: {cpu: 8}}]\n"
    first, second = load(tmp_path, "inventory.yaml", text)
    assert first.terms is second.terms
    assert (first.capacity, second.capacity) == (
        Quantities({"cpu_millicores": 4_000}),
        Quantities({"cpu_millicores": 8_000}),
    )


def test_csv_machines_become_k8slices_with_their_gpus_as_units(tmp_path: Path) -> None:
    text = HEADER + "m-0,32000,1024,0,\n\nm-1,8000,2048,2,T4\nm-2,8000,2048,2,\n"
    plain, modelled, unmodelled = load(tmp_path, "machines.csv", text)
    assert plain.capacity == Quantities({"cpu_millicores": 32_000, "memory_bytes": GIB})
    assert plain.units == ()
    assert plain.terms.type is FlavourType.K8SLICE
    assert plain.terms.characteristics == Characteristics("amd64", K8SliceFacts())
    assert plain.terms.owner == Owner("site.example")
    assert modelled.units == tuple(Unit("gpu", f"gpu-{n}", (("model", "T4"),)) for n in range(2))
    assert unmodelled.units == (Unit("gpu", "gpu-0"), Unit("gpu", "gpu-1"))
    assert modelled.terms is unmodelled.terms


def test_csv_machines_are_sold_in_any_positive_amount(tmp_path: Path) -> None:
    (spec,) = load(tmp_path, "machines.csv", HEADER + "m,8000,2048,2,T4\n")
    odd = Demand(Quantities({"cpu_millicores": 1, "memory_bytes": 12_345}), (UnitRequest("gpu", 1, 7),))
    check_against(odd, spec.terms, spec.capacity, spec.units, "partition")


def test_csv_reads_its_optional_columns(tmp_path: Path) -> None:
    text = (
        "\ufeffcity,sn, cpu_milli,memory_mib,storage_gib,pods,country,price_per_hour,architecture\r\n"
        '"Leipzig, Mitte",m,4000,1024,10,20,DE,0.40 EUR,arm64\r\n'
        ",n,4000,1024,,0,,,\r\n"
    )
    full, bare = load(tmp_path, "machines.CSV", text)
    assert full.capacity == Quantities(
        {"cpu_millicores": 4_000, "memory_bytes": GIB, "storage_bytes": 10 * GIB, "pods": 20}
    )
    assert full.terms.characteristics.architecture == "arm64"
    assert full.terms.properties.location == Location("DE", "Leipzig, Mitte")
    half = Demand(Quantities({"cpu_millicores": 2_000}))
    assert full.terms.price.total(half, HOUR) == Money("EUR", 200_000_000)
    assert bare.capacity == Quantities({"cpu_millicores": 4_000, "memory_bytes": GIB})
    assert (bare.terms.properties.location, bare.terms.price) == (None, Price())


def test_every_takes_each_nth_pool_and_checks_the_others(tmp_path: Path) -> None:
    rows = "".join(f"m-{n},1000,1024,0,\n" for n in range(9))
    taken = load(tmp_path, "machines.csv", HEADER + rows, every=4)
    assert [spec.pool_id for spec in taken] == ["m-0", "m-4", "m-8"]
    with pytest.raises(match=r"machines.csv:11: cpu_milli: is 'x'"):
        load(tmp_path, "machines.csv", HEADER + rows + "m-9,x,1024,0,\n", every=4)
    with pytest.raises(ValueError, match="every is 0"):
        load(tmp_path, "machines.csv", HEADER + rows, every=0)


CSV_ERRORS = [
    ("", 0, "", "is empty"),
    (" \n\n", 0, "", "is empty"),
    (HEADER, 0, "", "holds no pools"),
    ("sn;cpu_milli\na;1\n", 1, "", "unknown column 'sn;cpu_milli'"),
    ("sn,cpu_milli,memory_mib,colour\n", 1, "", "unknown column 'colour'; known are: sn, cpu_milli"),
    ("sn,cpu_milli\na,1\n", 1, "", "has no column `memory_mib`"),
    ("sn,cpu_milli,memory_mib,sn\n", 1, "sn", "is a column twice"),
    (HEADER + "a,1,1,0,\nb,1,1\n", 3, "", "has 3 fields; the header has 5"),
    (HEADER + "a,-1,1,0,\n", 2, "cpu_milli", "is '-1'; it must not be negative"),
    (HEADER + "a,0,1,0,\n", 2, "cpu_milli", "is 0; write a whole number from 1"),
    (HEADER + "a,,1,0,\n", 2, "cpu_milli", "is empty; write a whole number"),
    (HEADER + "a,1,1.5,0,\n", 2, "memory_mib", "is '1.5', which is too fine; write a whole number"),
    (HEADER + "a,1,1GiB,0,\n", 2, "memory_mib", "is '1GiB'; write a whole number"),
    (HEADER + "a,1,99999999999999999,0,\n", 2, "memory_mib", "write a whole number from 1 to"),
    (HEADER + "a,1,1,-2,T4\n", 2, "gpu", "it must not be negative"),
    (HEADER + "a,1,1,1025,T4\n", 2, "gpu", "is 1025; write a whole number from 0 to 1024"),
    (HEADER + "a,1,1,0,T4\n", 2, "model", "is 'T4', but the machine has no GPU"),
    (HEADER + "a,1,1,1,T\x004\n", 2, "model", "without control characters"),
    (HEADER + "a,1,1,0,\n\na,1,1,0,\n", 4, "sn", "is 'a', as in line 2; a pool id must be unique"),
    (HEADER + "rack 1,1,1,0,\n", 2, "sn", "is 'rack 1'; write 1 to 64 letters, digits, _ or -"),
    (HEADER + ",1,1,0,\n", 2, "sn", "is ''; write 1 to 64"),
    (HEADER + "a" * 65 + ",1,1,0,\n", 2, "sn", "write 1 to 64"),
    (HEADER + 'a,1,1,0,"T4\n', 2, "", "is not valid CSV"),
    (HEADER + 'a,1,1,1,"T\n4"\nb,1,1,0,\n', 2, "model", "without control characters"),
    (HEADER + 'a,1,1,1,"T4\n"\nb,x,1,0,\n', 4, "cpu_milli", "is 'x'"),
    ("sn,cpu_milli,memory_mib,country\na,1,1,Germany\n", 2, "country", "two capital letters, as in DE"),
    ("sn,cpu_milli,memory_mib,architecture\na,1,1,x 86\n", 2, "architecture", "as in amd64 or arm64"),
    ("sn,cpu_milli,memory_mib,price_per_hour\na,1,1,5\n", 2, "price_per_hour", "as in 0.05 EUR"),
]


@pytest.mark.parametrize(("text", "line", "where", "message"), CSV_ERRORS)
def test_csv_errors_name_line_column_and_remedy(tmp_path: Path, text: str, line: int, where: str, message: str) -> None:
    assert_error(tmp_path, "machines.csv", text, line, where, message)


A = "pools[0]"
CPU = "  quantities: {cpu: 4}\n"
GPU = "  units: [{class: gpu, count: 2}]\n"
YAML_ERRORS = [
    ("", 0, "", "is empty"),
    ("# nothing\n", 0, "", "is empty"),
    ("pools: []\n", 0, "", "holds no pools"),
    ("pools:\n", 1, "pools", "is empty; write a list"),
    ("pools: {a: 1}\n", 1, "pools", "is a mapping; write a list"),
    ("- a\n", 1, "", "is a list; write keys and values"),
    ("defaults: {}\n", 1, "", "has no `pools`; add it"),
    ("pools: []\npolls: []\n", 2, "", "unknown key 'polls'; known are: defaults, pools"),
    ("defaults: {id: a}\npools: []\n", 1, "defaults", "unknown key 'id'"),
    ("pools:\n- a\n", 2, A, "is a single value; write keys and values"),
    ("pools:\n- type: vm\n", 2, A, "has no `id`; add it"),
    ("pools:\n- id: a\n", 2, A, "has no `type`; add it"),
    ("pools:\n- {id: a, type: lambda}\n", 2, f"{A}.type", "write one of k8slice, vm, service, sensor"),
    ("pools:\n- id:\n", 2, f"{A}.id", "is empty"),
    ("pools:\n- id: [a]\n  type: vm\n" + CPU, 2, f"{A}.id", "is a list; write a single value"),
    ("pools:\n- id: a b\n  type: vm\n" + CPU, 2, f"{A}.id", "write 1 to 64 letters, digits, _ or -"),
    (pool(CPU) + "- id: a\n  type: vm\n" + CPU, 5, "pools[1].id", "as in line 2; a pool id must be unique"),
    (pool(""), 2, A, "offers nothing; give it `quantities` or `units`"),
    (pool("  quantities: {cpu: 0}\n"), 2, A, "offers nothing"),
    (pool(CPU + "  memory: 4GiB\n"), 5, A, "unknown key 'memory'; known are: id, type"),
    (pool(CPU + CPU), 5, f"{A}.quantities", "is given twice, first in line 4"),
    (pool("  quantities:\n    cpu: -4\n"), 5, f"{A}.quantities.cpu", "is '-4'; it must not be negative"),
    (pool("  quantities: {cpu: 4x}\n"), 4, f"{A}.quantities.cpu", "write cores, as in 4 or 0.5"),
    (pool("  quantities: {cpu: 0.0005}\n"), 4, f"{A}.quantities.cpu", "which is too fine; write cores"),
    (pool("  quantities: {memory: 16GB, storage: 1XB}\n"), 4, f"{A}.quantities.storage", "as in 512MiB"),
    (pool("  quantities: {memory: 9999999TiB}\n"), 4, f"{A}.quantities.memory", "write less"),
    (pool("  quantities: {pods: 1.5}\n"), 4, f"{A}.quantities.pods", "write a whole number"),
    (pool("  quantities: {gpu: 1}\n"), 4, f"{A}.quantities", "unknown key 'gpu'"),
    (pool("  quantities: {extended: {cpu: 1}}\n"), 4, f"{A}.quantities.extended.cpu", "write `cpu` beside"),
    (pool("  quantities: {extended: {'a b': 1}}\n"), 4, f"{A}.quantities.extended.a b", "write a kind"),
    (pool("  units: gpu\n"), 4, f"{A}.units", "is a single value; write a list"),
    (pool("  units:\n  - {count: 1}\n"), 5, f"{A}.units[0]", "has no `class`"),
    (pool("  units:\n  - {class: gpu}\n"), 5, f"{A}.units[0]", "needs either `count` or `names`"),
    (pool("  units: [{class: g u, count: 1}]\n"), 4, f"{A}.units[0].class", "write a class of 1 to 64"),
    (pool("  units: [{class: gpu, count: 0}]\n"), 4, f"{A}.units[0].count", "a whole number from 1 to 1024"),
    (pool("  units: [{class: n, names: [a,\n   '#1']}]\n"), 5, f"{A}.units[0].names[1]", "write a name of 1"),
    (pool("  units: [{class: n, names: [a,\n   a]}]\n"), 5, f"{A}.units[0].names[1]", "the n 'a' again"),
    (pool("  units: [{class: n, names: []}]\n"), 4, f"{A}.units[0].names", "is an empty list"),
    (
        pool("  units: [{class: g, count: 1, model: T4, attributes: {model: T4}}]\n"),
        4,
        f"{A}.units[0].model",
        "is given here and under `attributes`",
    ),
    (pool("  units: [{class: g, count: 1000}, {class: h, count: 25}]\n"), 4, f"{A}.units[1]", "1025 units"),
    (pool("  units: [{class: cpu, count: 1}]\n"), 4, f"{A}.units", "name a class like a kind"),
    (pool(CPU + "  characteristics: {images: [a]}\n"), 5, f"{A}.characteristics", "unknown key 'images'"),
    (pool(CPU + "  properties: {latency: 5}\n"), 5, f"{A}.properties.latency", "as in 20ms, 90s, 1h30m or 2d"),
    (pool(CPU + "  properties: {latency: 99999d}\n"), 5, f"{A}.properties.latency", "write less"),
    (pool(CPU + "  properties: {carbon_grams_per_hour: -1}\n"), 5, None, "a whole number from 0"),
    (pool(CPU + "  properties: {tags: {a: [b]}}\n"), 5, f"{A}.properties.tags.a", "is a list"),
    (pool(CPU + "  properties: {tags: {a:   }}\n"), 5, f"{A}.properties.tags.a", "is empty"),
    (pool(CPU + "  properties: {location: {latitude: 1}}\n"), 5, f"{A}.properties.location", "write both"),
    (pool(CPU + "  properties: {location: {latitude: 91, longitude: 0}}\n"), 5, None, "from -90 to 90"),
    (pool(CPU + "  properties: {location: {country: de}}\n"), 5, None, "is 'de'; write a country"),
    (pool(CPU + "  policies: {partitionability: {minimum: {cpu: 5}}}\n"), 5, None, "more than the pool has"),
    (pool(CPU + "  policies: {partitionability: {step: {memory: 5}}}\n"), 5, None, "do not name"),
    (
        pool(CPU + GPU + "  policies: {partitionability: {unit_step_millis: {gpu: 0}}}\n"),
        6,
        f"{A}.policies.partitionability.unit_step_millis.gpu",
        "a whole number from 1 to 1000",
    ),
    (pool(CPU + "  policies: {partitionability: {unit_step_millis: {g: 1}}}\n"), 5, None, "do not name"),
    (pool(CPU + "  policies: {aggregatability: {min_count: 1}}\n"), 5, None, "has no `max_count`"),
    (pool(CPU + "  policies: {aggregatability: {min_count: 3, max_count: 2}}\n"), 5, None, "from 3 to"),
    (pool(CPU + "  price: {}\n"), 5, f"{A}.price", "has no `components`"),
    (pool(CPU + "  price: {components: [{amount: 5}]}\n"), 5, None, "as in 0.05 EUR"),
    (pool(CPU + "  price: {components: [{amount: 5 euro}]}\n"), 5, None, "as in 0.05 EUR"),
    (pool(CPU + "  price: {components: [{amount: 5 EUR},\n   {amount: 5 USD}]}\n"), 6, None, "one currency"),
    (pool(CPU + "  price: {components: [{amount: 5 EUR, kind: gpu}]}\n"), 5, None, "does not offer"),
    (pool(CPU + "  price: {components: [{amount: 5 EUR, kind: cpu_millicores}]}\n"), 5, None, "offers cpu"),
    (pool(CPU + "  price: {components: [{amount: 5 EUR, per_amount: 2}]}\n"), 5, None, "needs a `kind`"),
    (pool(CPU + "  price: {components: [{amount: 5 EUR, kind: cpu, per_amount: 0}]}\n"), 5, None, "nothing"),
    (pool(CPU + "  price: {components: [{amount: 5 EUR, per: 0s}]}\n"), 5, None, "is no time at all"),
    (
        pool("  quantities: {memory: 1GiB}\n  price: {components: [{amount: 5 EUR, kind: memory}]}\n"),
        5,
        f"{A}.price.components[0]",
        "has no `per_amount`",
    ),
    (pool(CPU + "  owner: {name: a}\n"), 5, f"{A}.owner", "unknown key 'name'; known are: domain"),
    (pool(CPU + '  owner: {contact: "a\\nb"}\n'), 5, f"{A}.owner.contact", "control characters"),
    (pool(CPU + f"  owner: {{contact: {'a' * 257}}}\n"), 5, f"{A}.owner.contact", "256 at most"),
    (pool("  quantities: {cpu: 4\n"), 5, "", "is not valid YAML"),
    ("pools:\n\t- id: a\n", 2, "", "is not valid YAML"),
    ("pools: []\n---\npools: []\n", 2, "", "expected a single document"),
    ("pools: &a\n- *a\n", 2, "", "aliases are not read; write it out, or use `defaults` where there are some"),
    ("pools:\n" + "[" * 20, 2, "", "nested more than 16 deep"),
    ("pools: []\nb: \x07\n", 2, "", "holds a character that YAML forbids"),
    ('pools: "\\UFFFFFFFF"\n', 0, "", "an escape names no character"),
    ("pools: []\n[a]: 1\n", 2, "", "is a list; write a single value"),
]


@pytest.mark.parametrize(("text", "line", "where", "message"), YAML_ERRORS)
def test_yaml_errors_name_line_key_and_remedy(
    tmp_path: Path, text: str, line: int, where: str | None, message: str
) -> None:
    assert_error(tmp_path, "inventory.yaml", text, line, where, message)


def assert_error(tmp_path: Path, name: str, text: str, line: int, where: str | None, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load(tmp_path, name, text)
    error = caught.value
    assert message in error.message
    assert error.line == line
    if where is not None:
        assert error.where == where
    assert str(error).startswith(f"{tmp_path / name}:{line}: " if line else f"{tmp_path / name}: ")
    assert error.where in str(error)
    assert "\n" not in str(error)


def test_an_error_in_a_default_names_the_line_of_the_default(tmp_path: Path) -> None:
    text = "defaults:\n  quantities:\n    cpu: many\npools:\n- {id: a, type: vm}\n"
    assert_error(tmp_path, "inventory.yaml", text, 3, f"{A}.quantities.cpu", "is 'many'")


def test_files_that_cannot_be_used_as_a_whole_are_named(tmp_path: Path) -> None:
    with pytest.raises(match=r"gone\.yaml: cannot be read: No such file"):
        load_inventory(tmp_path / "gone.yaml", owner_domain="site.example")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(match=r"folder\.csv: cannot be read: Is a directory"):
        load_inventory(tmp_path / "folder.csv", owner_domain="site.example")
    with pytest.raises(match=r"machines\.txt: .*name it \.yaml, \.yml or \.csv"):
        load(tmp_path, "machines.txt", HEADER)
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"a,1,1,1,caf\xe9\n")
    with pytest.raises(match=r"latin\.csv:2: is not UTF-8 text"):
        load_inventory(tmp_path / "latin.csv", owner_domain="site.example")
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(match=r"huge\.csv: is larger than 16 MiB"):
        load_inventory(tmp_path / "huge.csv", owner_domain="site.example")


def test_the_demo_has_a_pool_of_every_type_and_every_pool_can_be_sold() -> None:
    specs = load_inventory(DEMO, owner_domain="site.example")
    assert {spec.terms.type for spec in specs} == set(FlavourType)
    assert len(specs) == 8
    models = {value for spec in specs for unit in spec.units for name, value in unit.attributes if name == "model"}
    assert models == {"T4", "A10"}
    for spec in specs:
        bounds = spec.terms.policies.partitionability
        assert bounds is not None
        smallest = Demand(bounds.minimum)
        check_against(smallest, spec.terms, spec.capacity, spec.units, "partition")
        assert spec.terms.price.total(smallest, HOUR) is not None
        on_step = {
            kind: (n - bounds.minimum.of(kind)) % (bounds.step.of(kind) or 1) for kind, n in spec.capacity.items()
        }
        assert set(on_step.values()) == {0}, f"{spec.pool_id} cannot be sold as a whole"


def test_the_gpu_sample_has_several_models_and_machines_with_several_gpus() -> None:
    specs = load_inventory(GPU_MODELS, owner_domain="site.example")
    by_model = {spec.units[0].attributes[0][1] for spec in specs if spec.units}
    assert by_model == {"T4", "P100", "A10", "V100M16", "V100M32", "A100"}
    assert max(len(spec.units) for spec in specs) == 8


def test_the_cluster_trace_loads_whole_and_every_fourth(openb: Path) -> None:
    machines = openb / "openb_node_list_all_node.csv"
    specs = load_inventory(machines, owner_domain="site.example")
    assert len(specs) == 1_523
    assert specs[0].pool_id == "openb-node-0000"
    assert sum(len(spec.units) for spec in specs) == 6_212
    assert len({id(spec.terms) for spec in specs}) == 2
    quarter = load_inventory(machines, owner_domain="site.example", every=4)
    assert quarter == specs[::4]
    assert len(quarter) == 381
