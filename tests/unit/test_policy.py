"""Who may do what: the table of RPCs, grants, and what is wrong with a policy file."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import rear.v1
from rear.documents import DocumentError
from rear.rpc.policy import REQUIRED, Grant, Permission, Policy, default_policy
from rear.rpc.policy_file import WatchedPolicy, read_policy

ALICE = "spiffe://local.test/buyer/alice"

GOOD = f"""\
grants:
  - who: spiffe://local.test/buyer/*
    may: [list, reserve]
  - who: [{ALICE}, spiffe://partner.example/*]
    may: audit
"""


def methods() -> Iterator[str]:
    """Every RPC of every service that there are stubs for."""
    modules = [importlib.import_module(f"rear.v1.{found.name}") for found in pkgutil.iter_modules(rear.v1.__path__)]
    descriptors = [module.DESCRIPTOR for module in modules if module.__name__.endswith("_pb2")]
    for file in (*descriptors, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR, operations_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def test_every_rpc_says_what_it_asks_for() -> None:
    assert set(REQUIRED) == set(methods())


def test_only_health_and_reflection_ask_for_nothing() -> None:
    assert {method.split("/")[1] for method, needed in REQUIRED.items() if not needed} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize(
    ("who", "identity", "covered"),
    [
        (ALICE, ALICE, True),
        (ALICE, ALICE + "2", False),
        ("spiffe://local.test/buyer/*", ALICE, True),
        ("spiffe://local.test/buyer/*", "spiffe://local.test/buyers/alice", False),
        ("spiffe://local.test/*", ALICE, True),
        ("spiffe://local.test/*", "spiffe://local.test.evil.example/buyer/alice", False),
        ("spiffe://*", ALICE, True),
    ],
)
def test_a_grant_covers_one_identity_or_all_below(who: str, identity: str, covered: bool) -> None:
    assert Grant(who, frozenset({Permission.LIST})).covers(identity) is covered


def test_what_is_not_granted_is_refused() -> None:
    policy = Policy((Grant(ALICE, frozenset({Permission.LIST})), Grant(ALICE, frozenset({Permission.AUDIT}))), "here")
    assert policy.of(ALICE) == {Permission.LIST, Permission.AUDIT}
    assert policy.allows(ALICE, {Permission.AUDIT, Permission.ADMINISTER})
    assert not policy.allows(ALICE, {Permission.ADMINISTER})
    assert not policy.allows("spiffe://local.test/buyer/bob", {Permission.LIST})
    assert policy.allows("spiffe://local.test/buyer/bob", ())


def test_by_default_the_own_domain_lists_and_reserves() -> None:
    policy = default_policy("local.test")
    assert policy.of(ALICE) == {Permission.LIST, Permission.RESERVE}
    assert policy.of("spiffe://partner.example/buyer/alice") == set()


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    policy = read_policy(path)
    assert policy.of(ALICE) == {Permission.LIST, Permission.RESERVE, Permission.AUDIT}
    assert policy.of("spiffe://partner.example/auditor/eve") == {Permission.AUDIT}


@pytest.mark.parametrize(
    ("text", "line", "where", "message"),
    [
        ("", 0, "", "is empty"),
        ("grants:\n  - {}\n", 2, "grants[0]", "has no `who`"),
        ("rules: []\n", 1, "", "unknown key 'rules'; known are: grants"),
        (GOOD.replace("reserve", "reserv"), 3, "grants[0].may[1]", "is 'reserv'; write one of: list, reserve, relay"),
        (GOOD.replace("[list, reserve]", "[]"), 3, "grants[0].may", "is empty; name at least one"),
        (GOOD.replace("/buyer/*", "/buyer/a*"), 2, "grants[0].who", "one with * in place of its last parts"),
        (GOOD.replace("local.test/buyer/*", "local.*"), 2, "grants[0].who", "one with * in place of its last parts"),
        (GOOD.replace(ALICE, "alice"), 4, "grants[1].who[0]", "is not of the form spiffe://"),
        (GOOD.replace("buyer/alice", "local/anonymous"), 4, "grants[1].who[0]", "no certificate may claim it"),
        (GOOD + "  - who\n", 6, "grants[2]", "is a single value"),
        ("grants: [", 1, "", "is not valid YAML"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, text: str, line: int, where: str, message: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        read_policy(path)
    assert (caught.value.line, caught.value.where) == (line, where)
    assert message in caught.value.message


def test_a_changed_file_takes_effect_and_a_broken_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    watched = WatchedPolicy(path)
    first = watched.policy
    watched.look()
    assert watched.policy is first

    path.write_text("grants: [")
    watched.look()
    assert watched.policy is first
    assert "is not valid YAML" in (watched.trouble or "")

    path.unlink()
    watched.look()
    assert watched.policy is first
    assert "cannot be read" in (watched.trouble or "")

    path.write_text(GOOD.replace("reserve", "audit"))
    os.utime(path, ns=(1, 1))
    watched.look()
    assert watched.policy.of("spiffe://local.test/buyer/bob") == {Permission.LIST, Permission.AUDIT}
    assert watched.trouble is None


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("grants: []")
    watched = WatchedPolicy(path)
    path.write_text(GOOD)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", _no_permission)
        watched.look()
    assert "Permission denied" in (watched.trouble or "")
    watched.look()
    assert watched.policy.of(ALICE)
    assert watched.trouble is None


def _no_permission(*_: object) -> None:
    raise PermissionError(13, "Permission denied")
