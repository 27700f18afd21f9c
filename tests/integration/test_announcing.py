"""Announcements by multicast on loopback: who is taken for a neighbour, and what is not."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from rear.managers.consumer.neighbours import MOST_ANNOUNCED, Neighbour, Neighbours, Source
from rear.rpc import announcing as module
from rear.rpc.announcements import LARGEST, Announcement, read_announcement, write_announcement
from rear.rpc.announcing import Announcing, CannotAnnounce, Multicast
from rear.v1.announcement_pb2 import Announcement as Message
from tests.multicast import a_group, say
from tests.waiting import eventually

DOMAIN = "campus.test"
HERE = "127.0.0.1"


def node(name: str, domain: str = DOMAIN) -> str:
    return f"spiffe://{domain}/node/{name}"


class Party:
    """One node's part, with what it knows."""

    def __init__(self, multicast: Multicast, name: str, port: int, domain: str = DOMAIN) -> None:
        endpoint = f"{HERE}:{port}"
        self.serving = True
        self.announcing = Announcing(multicast, node(name, domain), endpoint, False, lambda: self.serving)
        self.neighbours = Neighbours(node(name, domain), endpoint)
        self.announcing.start(self.neighbours)

    @property
    def knows(self) -> set[str]:
        return {each.provider_id.rpartition("/")[2] for each in self.neighbours.all()}


Join = Callable[..., Party]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    parties: list[Party] = []

    def join(*arguments: object) -> Party:
        parties.append(Party(*arguments))  # type: ignore[arg-type]
        return parties[-1]

    yield join
    closing: list[Awaitable[None]] = [each.announcing.close() for each in parties]
    await asyncio.gather(*closing)


async def test_nodes_find_each_other_and_strangers_do_not_count(join: Join) -> None:
    group = a_group()
    first, stranger = join(group, "n1", 1001), join(group, "n9", 1009, "other.test")
    second = join(group, "n2", 1002)
    await eventually(lambda: first.knows == {"n2"} and second.knows == {"n1"})
    assert first.neighbours.all() == (Neighbour(f"{HERE}:1002", node("n2"), Source.ANNOUNCED),)
    assert stranger.knows == set()
    assert first.announcing.trouble is None


async def test_a_newcomer_is_answered_at_once(join: Join) -> None:
    group = a_group(every=15.0)
    first = join(group, "n1", 1001)
    await asyncio.sleep(0.5)
    second = join(group, "n2", 1002)
    await eventually(lambda: first.knows == {"n2"} and second.knows == {"n1"}, within=5.0)


async def test_one_that_falls_silent_is_forgotten(join: Join) -> None:
    group = a_group()
    first, second = join(group, "n1", 1001), join(group, "n2", 1002)
    await eventually(lambda: first.knows == {"n2"})
    second.serving = False
    await eventually(lambda: not first.knows, within=5.0)
    assert second.knows == {"n1"}


async def test_garbage_and_a_flood_do_no_harm(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IN_A_BREATH", 100)
    group = a_group()
    first, second = join(group, "n1", 1001), join(group, "n2", 1002)
    await eventually(lambda: first.knows == {"n2"} and second.knows == {"n1"})
    garbage = (b"", b"\xff" * 40, os.urandom(900), b"x" * 60_000)
    for number in range(600):
        say(group, *garbage, write_announcement(Announcement(node(f"m{number}"), f"{HERE}:{2_000 + number}", 1e6)))
        await asyncio.sleep(0.002)
    assert "n2" in first.knows
    assert "n1" in second.knows
    assert len(first.knows) <= MOST_ANNOUNCED
    join(group, "n3", 1003)
    await eventually(lambda: "n3" in second.knows, within=10.0)


async def test_few_datagrams_are_no_flood_however_long_they_come(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IN_A_BREATH", 12)
    monkeypatch.setattr(module, "BREATH", 0.2)
    group = a_group(every=15.0)
    first = join(group, "n1", 1001)
    deaf: list[float] = []
    monkeypatch.setattr(first.neighbours, "prolong", deaf.append)
    for number in range(20):
        say(group, write_announcement(Announcement(node(f"m{number}"), f"{HERE}:{2_000 + number}", 60)))
        await asyncio.sleep(0.05)
    await eventually(lambda: len(first.knows) == 20)
    assert deaf == []


async def test_a_node_that_is_not_heard_says_so(join: Join) -> None:
    group = a_group()
    deaf = join(group, "n1", 1001)
    membership = socket.inet_aton(group.group) + socket.inet_aton(HERE)
    deaf.announcing._ear.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, membership)
    await eventually(lambda: "does not come back" in (deaf.announcing.trouble or ""), within=5.0)
    deaf.announcing._ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    await eventually(lambda: deaf.announcing.trouble is None, within=5.0)


def test_what_cannot_be_announced_is_refused_at_the_start() -> None:
    group = Multicast("239.255.1.1", 20_001)
    with pytest.raises(CannotAnnounce, match="listen on an IPv4 address"):
        Announcing(group, node("n1"), "[::1]:7400", False, lambda: True)
    with pytest.raises(CannotAnnounce, match=r"cannot announce on 239\.255\.1\.1:20001 by 192\.0\.2\.1"):
        Announcing(Multicast("239.255.1.1", 20_001, "192.0.2.1"), node("n1"), "0.0.0.0:7400", False, lambda: True)
    with pytest.raises(CannotAnnounce, match=r"a node that listens on 127\.0\.0\.1 only"):
        Announcing(Multicast("239.255.1.1", 20_001, "192.0.2.1"), node("n1"), "127.0.0.1:7400", False, lambda: True)


def message(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "version": 1,
        "provider_id": node("n2"),
        "endpoint": f"{HERE}:1002",
        "domain": DOMAIN,
        "lease": Duration(seconds=7),
    }
    return Message(**(fields | changes)).SerializeToString()  # type: ignore[arg-type]


def test_an_announcement_is_read_as_it_was_written() -> None:
    said = Announcement(node("n2"), f"{HERE}:1002", 7.0)
    assert write_announcement(said) == message()
    assert read_announcement(message(), HERE, DOMAIN) == said
    assert read_announcement(message() + struct.pack("BB", 15 << 3, 9), HERE, DOMAIN) == said


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"domain": "other.test"},
        {"provider_id": node("n2", "other.test")},
        {"provider_id": "spiffe://campus.test/local/anonymous"},
        {"provider_id": ""},
        {"endpoint": "10.0.0.1:1002"},
        {"endpoint": "localhost:1002"},
        {"endpoint": f"{HERE}:0"},
        {"endpoint": f"{HERE}:65536"},
        {"endpoint": f"{HERE}:01"},
        {"endpoint": HERE},
        {"lease": Duration(seconds=-1)},
        {"lease": Duration()},
        {"provider_id": node("n" * LARGEST)},
    ],
    ids=str,
)
def test_an_announcement_that_is_not_of_this_domain_and_its_own_address_is_ignored(change: dict[str, object]) -> None:
    assert read_announcement(message(**change), HERE, DOMAIN) is None


def test_a_lease_is_bounded() -> None:
    heard = read_announcement(message(lease=Duration(seconds=315_576_000_000)), HERE, DOMAIN)
    assert heard is not None
    assert heard.lease == 60


@given(st.binary(max_size=LARGEST + 10), st.integers(0, 80), st.binary(max_size=8))
def test_no_datagram_breaks_the_reading(data: bytes, at: int, replacement: bytes) -> None:
    genuine = message()
    for each in (data, genuine[:at] + replacement + genuine[at + len(replacement) :]):
        heard = read_announcement(each, HERE, DOMAIN)
        assert heard is None or (heard.endpoint.startswith(f"{HERE}:") and 0 < heard.lease <= 60)
