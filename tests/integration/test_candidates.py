"""Peering candidates on a real server: the stream keeps the latest of each pool, and table and memory follow it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rear.command.tables import tables
from rear.domain.candidate import Candidate
from rear.domain.window import DAY, MINUTE, Instant
from rear.ledger.connection import Connection, Endpoint
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.message import Stored
from rear.ledger.offers import News, OffersStream, provider_token
from rear.ledger.stream import EventStream
from rear.managers.consumer.candidates import PeeringCandidates
from rear.projections.candidates import CandidatesTable, candidates_digest, refill
from rear.projections.tables import Tables
from rear.wire.offers import Withdrawn, read_news
from tests.examples import NOW
from tests.market import OWN_ID, offer, provider
from tests.nats_servers import PlainServer
from tests.waiting import eventually


class Keeper:
    """Candidates of one service over a stream and a file."""

    def __init__(self, connection: Connection, folder: Path, service: str = "me", write_within: float = 5.0) -> None:
        self.connection = connection
        self.write_within = write_within
        self.path = folder / "candidates.sqlite"
        self.stream = OffersStream(connection, service)
        self.candidates = self._anew()

    def _anew(self) -> PeeringCandidates:
        return PeeringCandidates(
            OWN_ID, self.stream, lambda: CandidatesTable(self.path), write_within=self.write_within
        )

    async def start(self) -> None:
        self.candidates.start()
        await self.candidates.opened()

    async def restart(self) -> None:
        await self.candidates.stop()
        self.candidates = self._anew()
        await self.start()

    async def stored(self) -> list[Stored]:
        return [message async for page in self.stream.all() for message in page]

    def rows(self) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute("SELECT provider_id, pool_id, flavour_id FROM peering_candidates").fetchall()

    def digest(self) -> tuple[int, str]:
        with closing(sqlite3.connect(self.path)) as connection:
            return candidates_digest(connection)

    async def digest_of_a_refill(self, folder: Path) -> tuple[int, str]:
        table = CandidatesTable(folder / "again.sqlite")
        await refill(self.stream, table)
        table.close()
        with closing(sqlite3.connect(folder / "again.sqlite")) as connection:
            return candidates_digest(connection)

    async def take(self, *heard: Candidate, gone: tuple[Candidate, ...] = (), now: Instant = NOW) -> None:
        await self.candidates.take(heard, gone, now)


@asynccontextmanager
async def keeping(connection: Connection, folder: Path) -> AsyncIterator[Keeper]:
    keeper = Keeper(connection, folder)
    await keeper.start()
    try:
        yield keeper
    finally:
        await keeper.candidates.stop()


@pytest.fixture
async def keeper(connection: Connection, tmp_path: Path) -> AsyncIterator[Keeper]:
    async with keeping(connection, tmp_path) as keeper:
        yield keeper


def later(duration: int) -> Instant:
    return Instant(NOW + duration)


async def test_what_was_heard_is_kept_in_stream_table_and_memory(keeper: Keeper) -> None:
    await keeper.take(offer(1), offer(2))

    stored = await keeper.stored()
    assert [message.subject for message in stored] == [
        "rear.offers.me.d_dexample_snode_sp1.pool",
        "rear.offers.me.d_dexample_snode_sp2.pool",
    ]
    assert [read_news(message.payload) for message in stored] == [offer(1), offer(2)]
    assert sorted(keeper.rows()) == [(provider(1), "pool", "pool-1"), (provider(2), "pool", "pool-1")]
    assert keeper.digest()[0] == 2


async def test_a_restart_keeps_them(keeper: Keeper) -> None:
    await keeper.take(offer(1), offer(2))

    await keeper.restart()

    assert sorted(each.pool for each in keeper.candidates.of({provider(1), provider(2)})) == [
        f"{provider(1)}/pool",
        f"{provider(2)}/pool",
    ]
    assert list(keeper.candidates.of({provider(1)})) == [offer(1)]


async def test_a_table_that_is_lost_is_filled_again_with_the_same_rows(keeper: Keeper) -> None:
    await keeper.take(offer(1), offer(2), offer(3))
    await keeper.take(offer(1, flavour=2), gone=(offer(2),))
    before = keeper.digest()
    await keeper.candidates.stop()
    keeper.path.unlink()

    await keeper.restart()

    assert keeper.digest() == before
    assert len(keeper.candidates) == 2


async def test_a_damaged_table_is_filled_again(keeper: Keeper) -> None:
    await keeper.take(offer(1))
    before = keeper.digest()
    await keeper.candidates.stop()
    keeper.path.write_bytes(b"no database at all" * 100)

    await keeper.restart()

    assert keeper.digest() == before


async def test_the_latest_offer_of_a_pool_replaces_the_one_before(keeper: Keeper, tmp_path: Path) -> None:
    await keeper.take(offer(1))
    await keeper.take(offer(1, flavour=2))

    assert len(await keeper.stored()) == 1
    assert keeper.rows() == [(provider(1), "pool", "pool-2")]
    assert keeper.digest() == await keeper.digest_of_a_refill(tmp_path)


async def test_an_offer_that_is_as_before_is_not_written_for_a_while(keeper: Keeper) -> None:
    await keeper.take(offer(1))
    for seconds in (10, 20, 59):
        await keeper.take(replace(offer(1), heard_at=later(seconds * 10**9)), now=later(seconds * 10**9))
    assert [message.sequence for message in await keeper.stored()] == [1]
    assert next(keeper.candidates.of({provider(1)})).heard_at == later(59 * 10**9), "memory knows better"

    await keeper.take(replace(offer(1), heard_at=later(MINUTE)), now=later(MINUTE))

    assert [message.sequence for message in await keeper.stored()] == [2]


async def test_what_is_withdrawn_leaves_a_message_that_expires(keeper: Keeper, tmp_path: Path) -> None:
    await keeper.take(offer(1), offer(2))
    await keeper.take(gone=(offer(1),))

    stored = await keeper.stored()
    assert [type(read_news(message.payload)) for message in stored] == [Candidate, Withdrawn]
    assert keeper.rows() == [(provider(2), "pool", "pool-1")]
    assert keeper.digest() == await keeper.digest_of_a_refill(tmp_path)


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_nobody_has_offered_for_a_day_is_kept_no_longer(
    keeper: Keeper, tmp_path: Path, restarted: bool
) -> None:
    await keeper.take(offer(1), offer(2))
    await keeper.take(replace(offer(2), heard_at=later(DAY // 2)), now=later(DAY // 2))
    if restarted:
        await keeper.restart()

    await keeper.take(replace(offer(3), heard_at=later(DAY)), now=later(DAY))

    assert sorted(each.provider_id for each in keeper.candidates.of({provider(1), provider(2), provider(3)})) == [
        provider(2),
        provider(3),
    ]
    assert len(keeper.rows()) == 2
    assert keeper.digest() == await keeper.digest_of_a_refill(tmp_path)


async def test_a_message_that_expires_goes_by_itself(keeper: Keeper) -> None:
    await keeper.stream.put([News(keeper.stream.subject(provider(1), "pool"), b"", 1)])
    deadline = time.monotonic() + 10

    while await keeper.stored():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("count", [1, 16, 17, 1_200])
async def test_many_at_once_are_acknowledged_before_the_search_goes_on(
    keeper: Keeper, tmp_path: Path, count: int
) -> None:
    await keeper.take(*(offer(1, f"pool-{number}") for number in range(count)))

    assert len(keeper.rows()) == count
    assert keeper.digest() == await keeper.digest_of_a_refill(tmp_path)


async def test_a_stream_that_was_deleted_is_filled_again(keeper: Keeper, tmp_path: Path) -> None:
    await keeper.take(offer(1), offer(2))
    assert (await keeper.stream._api(f"STREAM.DELETE.{keeper.stream.name}"))["success"]

    await keeper.take(offer(1, flavour=2))
    assert len(keeper.candidates) == 2, "memory answers meanwhile"
    await eventually(lambda: keeper.candidates.trouble is None)
    await keeper.take(offer(1, flavour=2), offer(2))

    assert len(await keeper.stored()) == 2
    assert len(keeper.rows()) == 2
    assert keeper.digest() == await keeper.digest_of_a_refill(tmp_path)


async def test_a_stream_that_somebody_else_has_written_is_read_again(keeper: Keeper, tmp_path: Path) -> None:
    await keeper.take(offer(1))
    other = Keeper(keeper.connection, tmp_path / "other")
    await other.start()
    await other.take(offer(2))
    await other.candidates.stop()

    await keeper.take(offer(3))
    await eventually(lambda: keeper.candidates.trouble is None)

    assert {row[0] for row in keeper.rows()} == {provider(1), provider(2), provider(3)}
    assert keeper.digest() == await keeper.digest_of_a_refill(tmp_path)


async def test_without_a_server_memory_answers_and_the_stream_gets_it_later(
    embedded: EmbeddedServer, tmp_path: Path
) -> None:
    connection = Connection(lambda: embedded.endpoint, name="later")
    keeper = Keeper(connection, tmp_path)
    await connection.open(10)
    keeper.candidates.start()
    await connection.close()
    await keeper.take(offer(1))
    await keeper.candidates.stop()
    assert len(keeper.candidates) == 1

    await connection.open(10)
    await keeper.start()
    await keeper.take(offer(1))

    assert len(await keeper.stored()) == 1
    await keeper.candidates.stop()
    await connection.close()


async def test_a_stream_that_is_not_ours_is_left_alone(connection: Connection, tmp_path: Path) -> None:
    await EventStream(connection, "REAR_ME_OFFERS", ["rear.offers.me.>"]).ensure()
    keeper = Keeper(connection, tmp_path)
    keeper.candidates.start()
    await eventually(lambda: keeper.candidates.trouble is not None)

    await keeper.take(offer(1))

    assert "settings under which it cannot keep candidates" in str(keeper.candidates.trouble)
    assert len(keeper.candidates) == 1
    await keeper.candidates.stop()


async def test_a_stream_that_may_not_be_written_holds_nobody_up(tmp_path: Path) -> None:
    may = 'permissions: {publish: ["$JS.API.>"], subscribe: ["_INBOX.>"]}'
    access = f"authorization {{ users: [ {{user: rear, password: secret, {may}}} ] }}"
    server = PlainServer(tmp_path / "nats", more=access).start()
    connection = Connection(lambda: Endpoint(server.url, "rear", "secret"), name="restricted")
    await connection.open(10)
    keeper = Keeper(connection, tmp_path, write_within=0.3)
    await keeper.start()
    try:
        began = time.monotonic()
        await keeper.take(offer(1))
        assert time.monotonic() - began >= 0.3
        assert "may this user of the NATS server publish to it?" in str(keeper.candidates.trouble)
        began = time.monotonic()
        await keeper.take(offer(2))
        assert time.monotonic() - began < 0.2
        assert len(keeper.candidates) == 2
    finally:
        await keeper.candidates.stop()
        await connection.close()
        server.stop()


async def test_servers_of_others_keep_it_too(plain_server: PlainServer, tmp_path: Path) -> None:
    connection = Connection(lambda: Endpoint(plain_server.url), name="external")
    await connection.open(10)
    async with keeping(connection, tmp_path) as keeper:
        await keeper.take(*(offer(1, f"pool-{number}") for number in range(20)))
        await keeper.take(gone=(offer(1, "pool-3"),))
        await keeper.restart()
        assert len(keeper.candidates) == 19
        assert keeper.digest() == await keeper.digest_of_a_refill(tmp_path)
    await connection.close()


identities = st.from_regex(r"spiffe://[a-z0-9._-]{1,9}/[A-Za-z0-9._-]{1,5}/[A-Za-z0-9._-]{1,5}", fullmatch=True)


@given(identities, identities)
def test_no_two_providers_share_a_subject(one: str, other: str) -> None:
    token = provider_token(one)

    assert (token == provider_token(other)) == (one == other)
    assert not {".", "*", ">", " ", "/"} & set(token)


async def test_the_operator_sees_the_table(keeper: Keeper, tmp_path: Path) -> None:
    await keeper.take(offer(1), offer(2))
    Tables(tmp_path / "tables.sqlite").close()
    look = CliRunner()

    def told(*command: str) -> str:
        result = look.invoke(tables, [*command, "--state", str(tmp_path)])
        assert result.exit_code == 0, result.output
        return result.output

    assert told("digest", "--candidates") == f"{keeper.digest()[1]}  at sequence 2\n"
    assert "peering_candidates   2" in told("show")
    rows = json.loads(told("show", "peering_candidates", "--json"))["rows"]
    assert [(row["provider_id"], row["flavour_id"], row["hops"]) for row in rows] == [
        (provider(1), "pool-1", 0),
        (provider(2), "pool-1", 0),
    ]
