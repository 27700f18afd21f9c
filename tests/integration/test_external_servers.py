"""A ledger on servers that others run: let in by what they ask for, turned away in words that say what to do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rear.ledger.connection import Connection
from rear.ledger.errors import LedgerError, LedgerUnavailable, NotLetIn, StoreLocked
from rear.ledger.external import NatsServers, parse_urls
from rear.ledger.message import Outgoing
from rear.ledger.store import StateDirectory, Store, open_store
from rear.ledger.stream import EventStream
from tests.authority import Authority
from tests.nats_accounts import with_credentials
from tests.nats_servers import NatsCluster
from tests.waiting import eventually

HASH = "ab12"


@asynccontextmanager
async def opened(folder: Path, servers: NatsServers) -> AsyncIterator[Store]:
    directory = StateDirectory(folder / "state")
    directory.claim("spiffe://example.org/node/n1")
    directory.keep_on(servers)
    async with AsyncExitStack() as stack:
        yield await open_store(stack, directory, check=False, lock_timeout=0.3)


async def append(stream: EventStream, count: int = 1, aggregate: str = "a") -> int:
    tip = await stream.tip()
    messages = [Outgoing(f"rear.log.n1.pool.{aggregate}", b"x", HASH) for _ in range(count)]
    return await stream.append(messages, tip, timeout=2)


async def again(store: Store) -> None:
    """Wait for another connection than the first."""
    await eventually(lambda: store.connection.connected and store.stream.generation > 1)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that gives up soon."""
    monkeypatch.setattr("rear.ledger.store.CONNECT_TIMEOUT", 0.5)


class TestLetIn:
    async def test_by_user_and_password(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats") as nats:
            async with opened(tmp_path, nats.servers()) as store:
                assert await append(store.stream, 3) == 3
            async with opened(tmp_path, nats.servers()) as store:
                assert await store.stream.tip() == 3

    async def test_by_a_token(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats", access='authorization { token: "a secret" }') as nats:
            async with opened(tmp_path, nats.servers(token_file=str(nats.password_file))) as store:
                assert await append(store.stream) == 1

    async def test_by_a_credentials_file(self, tmp_path: Path) -> None:
        access, credentials = with_credentials(tmp_path)
        with NatsCluster(tmp_path / "nats", access=access) as nats:
            async with opened(tmp_path, nats.servers(credentials=str(credentials))) as store:
                assert await append(store.stream) == 1
            with pytest.raises(NotLetIn, match="check the user and password, token or credentials"):
                async with opened(tmp_path / "other", nats.servers()):
                    pass

    async def test_a_wrong_password_is_said_at_once(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats") as nats:
            nats.password_file.write_text("another secret")
            began = time.monotonic()
            with pytest.raises(NotLetIn, match="check the user and password") as refused:
                async with opened(tmp_path, nats.servers()):
                    pass
            assert time.monotonic() - began < 5, "waiting would mend nothing"
            assert "another secret" not in str(refused.value)

    async def test_a_password_that_changes_is_read_again(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats") as nats:
            async with opened(tmp_path, nats.servers()) as store:
                await append(store.stream)
                nats.kill(0)
                nats.access = nats.access.replace("a secret", "a new one")
                nats.password_file.write_text("a new one")
                nats.start()
                await again(store)
                assert await append(store.stream) == 2


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path / "pki")

    @pytest.fixture
    def nats(self, tmp_path: Path, authority: Authority) -> NatsCluster:
        certificate, key = authority.issue("server")
        tls = f'cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.file}", verify: true'
        return NatsCluster(tmp_path / "nats", access=f"tls {{ {tls} }}")

    def trusting(self, nats: NatsCluster, authority: Authority, pair: tuple[Path, Path] | None) -> NatsServers:
        access: dict[str, Any] = {"ca": str(authority.file)}
        if pair is not None:
            access |= {"certificate": str(pair[0]), "key": str(pair[1])}
        return nats.servers(**access)

    async def test_both_sides_show_certificates(self, tmp_path: Path, nats: NatsCluster, authority: Authority) -> None:
        with nats:
            async with opened(tmp_path, self.trusting(nats, authority, authority.issue("n1"))) as store:
                assert await append(store.stream, 300) == 300

    async def test_a_certificate_that_is_renewed_is_used_from_the_next_connect_on(
        self, tmp_path: Path, nats: NatsCluster, authority: Authority
    ) -> None:
        stranger = Authority(tmp_path / "strange", "stranger")
        with nats:
            async with opened(tmp_path, self.trusting(nats, authority, pair := authority.issue("n1"))) as store:
                for old, new in zip(pair, stranger.issue("n1"), strict=True):
                    old.write_bytes(new.read_bytes())
                nats.kill(0)
                await eventually(lambda: not store.connection.connected)
                nats.start()
                with pytest.raises(LedgerUnavailable):  # a running service goes on trying
                    await store.connection.client(0.5)
                authority.issue("n1")
                await again(store)
                assert await append(store.stream) == 1

    @pytest.mark.parametrize("pair", ["none", "strange"])
    async def test_without_a_certificate_that_the_server_trusts_nobody_comes_in(
        self, tmp_path: Path, nats: NatsCluster, authority: Authority, pair: str
    ) -> None:
        shown = Authority(tmp_path / "strange", "stranger").issue("n1") if pair == "strange" else None
        with nats, pytest.raises(NotLetIn, match="certificate"):
            async with opened(tmp_path, self.trusting(nats, authority, shown)):
                pass

    async def test_a_server_of_another_authority_is_not_trusted(
        self, tmp_path: Path, nats: NatsCluster, authority: Authority
    ) -> None:
        other = Authority(tmp_path / "other", "other")
        with nats, pytest.raises(NotLetIn, match="check the authorities' certificates"):
            async with opened(tmp_path, self.trusting(nats, other, authority.issue("n1"))):
                pass

    async def test_a_password_is_not_sent_to_a_server_without_tls(self, tmp_path: Path, authority: Authority) -> None:
        with NatsCluster(tmp_path / "plain") as plain, pytest.raises(NotLetIn, match="does not require TLS"):
            async with opened(tmp_path, replace(plain.servers(), ca=str(authority.file))):
                pass

    async def test_files_that_are_no_certificates_are_named(self, tmp_path: Path, authority: Authority) -> None:
        with NatsCluster(tmp_path / "plain") as plain:
            wrong = str(plain.password_file)
            with pytest.raises(NotLetIn, match=wrong):
                async with opened(tmp_path, plain.servers(ca=str(authority.file), certificate=wrong)):
                    pass


class TestTurnedAway:
    async def test_nobody_answers(self, tmp_path: Path, hasty: None) -> None:
        nats = NatsCluster(tmp_path / "nats")
        with pytest.raises(LedgerUnavailable, match=rf"NATS at {nats.url}.*see that it runs"):
            async with opened(tmp_path, nats.servers()):
                pass

    async def test_without_jetstream(self, tmp_path: Path, hasty: None) -> None:
        nats = NatsCluster(tmp_path / "nats")
        nats.jetstream = None
        with nats, pytest.raises(LedgerUnavailable, match=r"JetStream.*switch it on"):
            async with opened(tmp_path, nats.servers()):
                pass

    async def test_more_replicas_than_servers(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats") as nats, pytest.raises(LedgerError, match="a single server keeps one"):
            async with opened(tmp_path, replace(nats.servers(), replicas=3)):
                pass

    async def test_a_stream_of_fewer_replicas_than_asked_for(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats") as nats:
            async with opened(tmp_path, nats.servers()):
                pass
            with pytest.raises(LedgerError, match=r"num_replicas is 1, must be 3 or more.*nats stream edit"):
                async with opened(tmp_path, replace(nats.servers(), replicas=3)):
                    pass

    async def test_a_full_account_turns_a_commit_away(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats", jetstream="sync_interval: always, max_file_store: 100000") as nats:
            async with opened(tmp_path, nats.servers()) as store:
                large = [Outgoing("rear.log.n1.pool.a", bytes(20_000), HASH)]
                for tip in range(5):
                    await store.stream.append(large, tip, timeout=5)
                with pytest.raises(LedgerUnavailable, match="insufficient resources"):
                    await store.stream.append(large, 5, timeout=5)
                assert await store.stream.tip() == 5


class TestDirectory:
    async def test_it_has_one_user_at_a_time(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path / "nats") as nats:
            async with opened(tmp_path, nats.servers()):
                with pytest.raises(StoreLocked):
                    async with opened(tmp_path, nats.servers()):
                        pass

    def test_it_remembers_its_servers_and_no_secret(self, tmp_path: Path) -> None:
        nats = NatsCluster(tmp_path / "nats")
        directory = StateDirectory(tmp_path / "state")
        directory.keep_on(nats.servers())
        assert directory.servers == nats.servers()
        assert "a secret" not in (tmp_path / "state" / "nats-servers").read_text()
        with pytest.raises(LedgerError, match=f"kept by NATS at {nats.url}: name it by --nats"):
            directory.keep_on(None)

    def test_a_ledger_on_an_embedded_server_does_not_move_by_itself(self, tmp_path: Path) -> None:
        directory = StateDirectory(tmp_path)
        directory.nats.mkdir()
        with pytest.raises(LedgerError, match="embedded server; start without --nats"):
            directory.keep_on(NatsServers(("nats://127.0.0.1:4222",)))


class TestCluster:
    async def test_what_was_acknowledged_is_read_from_every_replica_at_once(self, tmp_path: Path) -> None:
        """A direct get is answered by any replica, also by one that has not got the newest yet."""
        with NatsCluster(tmp_path / "nats", 3, jetstream="sync_interval: 1s") as nats:
            await nats.ready()
            async with opened(tmp_path, nats.servers()) as store:
                await append(store.stream)
                for number, url in enumerate(nats.urls):
                    servers = replace(nats.servers(), urls=(url,))
                    connection = Connection(servers.endpoint, name="reader")
                    await connection.open(5)
                    reader = EventStream(connection, store.stream.name, ["rear.log.n1.>"])
                    for _ in range(60):
                        last = await append(store.stream, 40, f"to-{number}")
                        subject = f"rear.log.n1.pool.to-{number}"
                        chosen = [
                            one.sequence async for page in reader.pages(last - 39, subject=subject) for one in page
                        ]
                        assert chosen == list(range(last - 39, last + 1))
                        all_of_them = [one.sequence async for page in reader.pages(last - 39) for one in page]
                        assert all_of_them == chosen
                        found = await reader.last()
                        assert found is not None
                        assert found.sequence == last
                    await connection.close()


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("127.0.0.1:4222", ("nats://127.0.0.1:4222",)),
        ("nats://a:1, tls://b:2/", ("nats://a:1", "tls://b:2")),
        ("[::1]:4222", ("nats://[::1]:4222",)),
    ],
)
def test_urls_are_read(text: str, urls: tuple[str, ...]) -> None:
    assert parse_urls(text) == urls


@pytest.mark.parametrize(
    "text", ["", ",", "http://a:1", "nats://", "nats://u:p@a:1", "nats://a:b", "nats://a:1/x", "nats://a?x"]
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_urls(text)


@pytest.mark.parametrize(
    "text", ["nats://u:secret@a:1", "http://u:secret@a:1", "nats://u:sec/ret@a:1", "u:secret@[::1"]
)
def test_a_password_in_a_url_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="does not belong into a URL") as caught:
        parse_urls(text)
    assert "sec" not in str(caught.value)
