"""Whom a node knows as its neighbours, and the options that name them."""

from __future__ import annotations

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from nodes.neighbour_options import neighbour_options, read_neighbour
from rear.managers.consumer.neighbours import Neighbour, Neighbours, Source
from rear.rpc.announcing import Multicast
from rear.rpc.spiffe import anybody_of, is_expected

DOMAIN = "campus.test"
OWN = "spiffe://campus.test/node/n1"
OTHER = "spiffe://campus.test/node/n2"
THIRD = "spiffe://campus.test/node/n3"


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def neighbours(clock: Clock, *configured: Neighbour, most: int = 3) -> Neighbours:
    return Neighbours(OWN, "127.0.0.1:7400", configured, most=most, clock=clock)


def test_a_node_is_never_its_own_neighbour(clock: Clock) -> None:
    known = neighbours(clock, Neighbour("127.0.0.1:7400"), Neighbour("127.0.0.1:1", OWN))
    assert not known.announced("127.0.0.1:7400", OTHER, 5)
    assert not known.announced("127.0.0.1:7", OWN, 5)
    assert known.all() == ()


def test_what_was_announced_lapses_and_what_was_configured_stays(clock: Clock) -> None:
    named = Neighbour("127.0.0.1:1")
    known = neighbours(clock, named)
    assert known.announced("127.0.0.1:2", OTHER, 5)
    assert known.all() == (named, Neighbour("127.0.0.1:2", OTHER, Source.ANNOUNCED))
    clock.now += 4
    known.announced("127.0.0.1:2", OTHER, 5)
    clock.now += 4
    assert len(known.all()) == 2
    clock.now += 1
    assert known.all() == (named,)


def test_each_endpoint_is_there_once_and_a_configured_one_counts(clock: Clock) -> None:
    known = neighbours(clock, Neighbour("127.0.0.1:1", OTHER))
    known.announced("127.0.0.1:1", THIRD, 5)
    known.announced("127.0.0.1:2", OTHER, 5)
    assert known.all() == (Neighbour("127.0.0.1:1", OTHER),)


def test_the_certificate_decides_where_two_claim_one_endpoint(clock: Clock) -> None:
    known = neighbours(clock)
    for provider_id in (OTHER, THIRD, OTHER):
        known.announced("127.0.0.1:2", provider_id, 5)
    assert known.all() == (Neighbour("127.0.0.1:2", "", Source.ANNOUNCED),)


def test_a_flood_drives_nobody_out_and_is_not_kept(clock: Clock) -> None:
    known = neighbours(clock)
    for port in range(1, 50):
        known.announced(f"127.0.0.1:{port}", f"spiffe://campus.test/node/m{port}", 5)
    assert [each.endpoint for each in known.all()] == ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
    assert not known.announced("127.0.0.1:1", "spiffe://campus.test/node/m1", 9)
    clock.now += 6
    assert known.announced("127.0.0.1:99", OTHER, 5)
    assert [each.endpoint for each in known.all()] == ["127.0.0.1:1", "127.0.0.1:99"]


def test_silence_does_not_count_while_nobody_can_be_heard(clock: Clock) -> None:
    known = neighbours(clock)
    known.announced("127.0.0.1:2", OTHER, 5)
    clock.now += 4
    known.prolong(3)
    clock.now += 3
    assert len(known.all()) == 1
    clock.now += 1
    assert known.all() == ()
    known.prolong(5)
    assert known.all() == ()


@pytest.mark.parametrize("endpoint", ["127.0.0.1:7400", "n2.campus.test:7400", "[::1]:7400", "n2:1"])
def test_a_neighbour_is_an_endpoint_with_or_without_an_identity(endpoint: str) -> None:
    assert read_neighbour(endpoint, DOMAIN) == Neighbour(endpoint)
    assert read_neighbour(f"{OTHER}={endpoint}", DOMAIN) == Neighbour(endpoint, OTHER)


@pytest.mark.parametrize(
    "text",
    [
        *("", "n2", "n2:", ":7400", "n2:0", "n2:65536", "n2:7400,n3:7400", "n2 :7400", "unix:/tmp/x:1"),
        *(f"{OTHER}=", "=n2:7400", "x=n2:7400"),
        *("spiffe://campus.test/local/anonymous=n2:7400", "spiffe://other.test/node/n2=n2:7400"),
    ],
)
def test_anything_else_is_no_neighbour(text: str) -> None:
    with pytest.raises(ValueError, match=r"use \[PROVIDER_ID=\]|not of|names those"):
        read_neighbour(text, DOMAIN)


@click.command()
@click.option("--domain", default=DOMAIN)
@neighbour_options
def command(domain: str, neighbours: tuple[Neighbour, ...], announce: Multicast | None) -> None:
    click.echo(" ".join(f"{each.provider_id}@{each.endpoint}" for each in neighbours))
    if announce is not None:
        click.echo(f"{announce} by {announce.interface or 'any'} every {announce.every:g} s")


def test_neighbours_are_named_by_options_or_by_the_environment() -> None:
    run = CliRunner().invoke
    assert run(command, ["--neighbour", "a:1", "--neighbour", f"{OTHER}=b:2"]).output == f"@a:1 {OTHER}@b:2\n"
    assert run(command, [], env={"REAR_NEIGHBOURS": "a:1 b:2"}).output == "@a:1 @b:2\n"
    assert run(command, []).output == "\n"


def test_a_neighbour_that_is_named_twice_is_refused() -> None:
    refused = CliRunner().invoke(command, ["--neighbour", "a:1", "--neighbour", f"{OTHER}=a:1"])
    assert refused.exit_code == 2
    assert "a:1 is named twice" in refused.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--announce"], "239.255.82.69:7401 by any every 2 s"),
        (["--announce", "239.1.2.3:99", "--announce-interface", "10.0.0.1"], "239.1.2.3:99 by 10.0.0.1 every 2 s"),
        (["--announce", "--announce-every", "5"], "239.255.82.69:7401 by any every 5 s"),
    ],
)
def test_a_node_announces_itself_where_it_is_told_to(arguments: list[str], said: str) -> None:
    assert CliRunner().invoke(command, arguments).output == f"\n{said}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--announce", "127.0.0.1:99"],
        ["--announce", "239.1.2.3"],
        ["--announce", "239.1.2.3:0"],
        ["--announce", "--announce-interface", "eth0"],
        ["--announce", "--announce-every", "0"],
        ["--announce-every", "5"],
    ],
)
def test_where_nobody_can_announce_is_refused(arguments: list[str]) -> None:
    refused = CliRunner().invoke(command, arguments)
    assert refused.exit_code == 2
    assert "--announce" in refused.output


def test_a_group_that_is_none_is_told_what_one_looks_like() -> None:
    refused = CliRunner().invoke(command, ["--announce", "nonsense"])
    assert "use GROUP:PORT, such as 239.255.82.69:7401" in refused.output


def test_a_service_may_be_expected_by_its_identity_or_by_its_domain() -> None:
    assert is_expected(OTHER, OTHER)
    assert is_expected(OTHER, anybody_of(DOMAIN))
    assert not is_expected(OTHER, THIRD)
    assert not is_expected(OTHER, anybody_of("campus.tes"))
    assert not is_expected("spiffe://campus.test.evil.test/node/n2", anybody_of(DOMAIN))
