"""A service's ledger as a whole: its server, connection, stream and anchor, opened and closed together."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from rear.ledger.anchor import Anchor
from rear.ledger.connection import Connection, Endpoint
from rear.ledger.embedded import EmbeddedServer
from rear.ledger.errors import LedgerError
from rear.ledger.external import ExternalServer, NatsServers
from rear.ledger.opening import check_anchor
from rear.ledger.stream import EventStream

SERVICE_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
"""What a service may be called: it is a token of subjects and streams."""

CONNECT_TIMEOUT: Final = 20.0
"""Seconds to wait for the server at a start."""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Where one service keeps everything that outlives it."""

    path: Path

    @property
    def nats(self) -> Path:
        """The embedded server's store, log and lock."""
        return self.path / "nats"

    @property
    def anchor(self) -> Path:
        """The anchor's file."""
        return self.path / "anchor"

    @property
    def owner(self) -> Path:
        """The file that says whose directory this is."""
        return self.path / "service"

    def claim(self, identity: str) -> None:
        """Makes the directory the service's own. Raises LedgerError where it is another's."""
        self._make()
        if not self.owner.exists():
            _write_durably(self.owner, identity + "\n")
        elif self.identity() != identity:
            raise LedgerError(
                f"{self.path} belongs to {self.identity()}, not to {identity}; start with that name and domain, "
                "or name another state directory"
            )

    @property
    def untouched(self) -> bool:
        """Whether it never held anything of a ledger."""
        return not (self.anchor.exists() or self.tables.exists() or self.nats.exists())

    def identity(self) -> str:
        """Whose directory this is. Raises LedgerError where it is nobody's."""
        try:
            return self.owner.read_text().strip()
        except FileNotFoundError:
            raise LedgerError(f"{self.path} is not the state directory of a service") from None

    @property
    def service(self) -> str:
        """The service's token in subjects and streams: the last part of its identity."""
        return self.identity().rpartition("/")[2]

    @property
    def servers(self) -> NatsServers | None:
        """The servers of others that keep the ledger; None where an embedded one does. Raises LedgerError."""
        try:
            return NatsServers.from_json(self._servers.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise LedgerError(f"{self._servers} cannot be read ({error}); delete it, and start with --nats") from error

    def keep_on(self, servers: NatsServers | None) -> None:
        """Settles which servers keep the ledger (None: an embedded one), and remembers it for the operator's tools.

        Raises LedgerError where it is kept elsewhere: it does not move by itself.
        """
        before = self.servers
        if servers is None and before is not None:
            raise LedgerError(f"the ledger of {self.path} is kept by NATS at {before.url}: name it by --nats")
        if servers is not None and self.nats.exists():
            raise LedgerError(
                f"the ledger of {self.path} is kept by its embedded server; start without --nats, or name another "
                "state directory"
            )
        if servers is not None and servers != before:
            self._make()
            _write_durably(self._servers, servers.to_json())

    def _make(self) -> None:
        """For its owner's eyes only: the tables tell who bought what."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def _servers(self) -> Path:
        return self.path / "nats-servers"

    @property
    def lock(self) -> Path:
        """The lock of a directory whose ledger is kept by servers of others."""
        return self.path / "lock"

    @property
    def scrub(self) -> Path:
        """The file that says how far the scrub is and what it found."""
        return self.path / "scrub.json"

    @property
    def fabric_key(self) -> Path:
        """The secret from which the credentials of peerings are made."""
        return self.path / "fabric.key"

    @property
    def tables(self) -> Path:
        """The tables' file, which may be deleted."""
        return self.path / "tables.sqlite"

    @property
    def candidates(self) -> Path:
        """The file of the table of peering candidates, which follows another stream; it may be deleted too."""
        return self.path / "candidates.sqlite"


def _write_durably(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


class LedgerServer(Protocol):
    """What keeps the ledger's stream: a nats-server of ours, or servers of others."""

    @property
    def replicas(self) -> int:
        """How many copies of the ledger there must be at least."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """Where it is and how it lets us in just now. Raises LedgerUnavailable."""
        ...

    def admit(self) -> None:
        """Raises LedgerUnavailable where there is no room for another batch."""
        ...

    async def __aenter__(self) -> object:
        """Takes what is ours of it."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets go of it."""
        ...


@dataclass(frozen=True, slots=True)
class Store:
    """An open ledger, not yet read and not yet fenced."""

    stream: EventStream
    anchor: Anchor
    connection: Connection
    server: LedgerServer


def stream_name(service: str) -> str:
    """`REAR_<SERVICE>_LEDGER`."""
    return f"REAR_{service.upper().replace('-', '_')}_LEDGER"


def stream_subjects(service: str) -> Sequence[str]:
    """The subjects of a service's ledger."""
    return (f"rear.log.{service}.>",)


async def open_store(
    stack: AsyncExitStack, directory: StateDirectory, *, check: bool = True, lock_timeout: float = 10.0
) -> Store:
    """Starts the embedded server, where no other keeps the ledger, connects, and holds the ledger against its anchor
    at every connect.

    `check` False is for the operator's tools that mend what the check refuses. Raises StoreLocked,
    LedgerUnavailable or LedgerDamaged, or LedgerError for a directory that nobody has claimed. Everything is
    closed with `stack`.
    """
    service = directory.service
    servers = directory.servers
    server: LedgerServer = (
        EmbeddedServer(directory.nats, lock_timeout=lock_timeout)
        if servers is None
        else ExternalServer(servers, directory.lock, lock_timeout=lock_timeout)
    )
    await stack.enter_async_context(server)
    anchor = Anchor(directory.anchor)
    stack.callback(anchor.close)

    async def prove() -> None:
        await stream.ensure()
        if check:
            await check_anchor(stream, anchor)

    connection = Connection(lambda: server.endpoint, name=f"rear-{service}", on_connect=prove)
    stream = EventStream(
        connection, stream_name(service), stream_subjects(service), replicas=server.replicas, admit=server.admit
    )
    await connection.open(CONNECT_TIMEOUT)
    stack.push_async_callback(connection.close)
    return Store(stream, anchor, connection, server)
