"""NATS servers that others run: where they are, how they let us in, and which state directory uses them.

What is on files (passwords, keys, certificates) is read anew at each connect, because it is rotated.
"""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from rear.ledger.connection import Endpoint
from rear.ledger.errors import NotLetIn
from rear.ledger.lock import take_lock

SCHEMES: Final = ("nats", "tls")
MOST_REPLICAS: Final = 5
"""What JetStream allows."""
REPLICAS_OF_A_CLUSTER: Final = 3
CREDENTIALS: Final = ("NATS USER JWT", "USER NKEY SEED")
"""The parts of a .creds file."""


@dataclass(frozen=True, slots=True)
class NatsServers:
    """One server, or the servers of one cluster. Files are named by paths; `replicas` is the least that will do."""

    urls: tuple[str, ...]
    user: str | None = None
    password_file: str | None = None
    token_file: str | None = None
    credentials: str | None = None
    """A `.creds` file: a user's JWT and seed."""
    ca: str | None = None
    """Certificates of the authorities that the servers' certificates come from."""
    certificate: str | None = None
    key: str | None = None
    """The client's certificate and its key."""
    replicas: int = 1

    @property
    def url(self) -> str:
        """All of them, separated by commas."""
        return ",".join(self.urls)

    def endpoint(self) -> Endpoint:
        """Where they are and how they let us in, from what is on the files now. Raises NotLetIn."""
        try:
            return Endpoint(
                self.url,
                self.user,
                _secret(self.password_file),
                _credentials(self.credentials),
                self._tls(),
                _secret(self.token_file),
            )
        except ssl.SSLError as error:
            files = ", ".join(file for file in (self.ca, self.certificate, self.key) if file)
            raise NotLetIn(f"what is in {files} cannot be used for TLS: {error.reason or error}") from error
        except (OSError, ValueError) as error:
            raise NotLetIn(f"what the NATS servers ask for cannot be read: {error}") from error

    def _tls(self) -> ssl.SSLContext | None:
        encrypted = self.ca or self.certificate or any(url.startswith("tls://") for url in self.urls)
        if not encrypted:
            return None
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key, password="")  # or it asks at the terminal, and waits
        return context

    def to_json(self) -> str:
        """As text for a file. Holds no secret, only where they are."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> NatsServers:
        """What `to_json` wrote. Raises ValueError."""
        found = json.loads(text)
        try:
            return cls(**{**found, "urls": tuple(found["urls"])})
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error


def parse_urls(text: str) -> tuple[str, ...]:
    """The URLs in a list that is separated by commas. Raises ValueError, which says what is wrong with which."""
    urls = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        url = part if "://" in part else f"nats://{part}"
        # Asked first: no other complaint may repeat what is secret.
        if "@" in part:
            raise ValueError("a password does not belong into a URL, which everybody sees: name a file that holds it")
        split = urlsplit(url)
        more = (split.path.removeprefix("/"), split.query, split.fragment)
        if split.scheme not in SCHEMES or not split.hostname or any(more):
            raise ValueError(f"{part!r} is not nats://HOST:PORT or tls://HOST:PORT")
        split.port  # noqa: B018  raises ValueError where it is none
        urls.append(url.rstrip("/"))
    if not urls:
        raise ValueError("names no server")
    return tuple(urls)


class ExternalServer:
    """The servers as one state directory uses them, which is locked meanwhile: its files have one owner."""

    def __init__(self, servers: NatsServers, lock: Path, *, lock_timeout: float) -> None:
        """`lock` is the lock's file; for `lock_timeout` seconds another process is given time to let go of it."""
        self._servers = servers
        self._path = lock
        self._lock_timeout = lock_timeout
        self._lock: int | None = None

    @property
    def replicas(self) -> int:
        """How many copies of the ledger there must be at least."""
        return self._servers.replicas

    @property
    def endpoint(self) -> Endpoint:
        """Where the servers are and how they let us in just now."""
        return self._servers.endpoint()

    def admit(self) -> None:
        """There is always room as far as we know: the servers turn away what they cannot take."""

    async def __aenter__(self) -> Self:
        """Takes the lock. Raises StoreLocked."""
        self._lock = await take_lock(self._path, self._lock_timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _credentials(path: str | None) -> str | None:
    """The path, where there is a whole file: one that is just being renewed may be read half-written."""
    if path is not None:
        text = Path(path).read_text()
        if not all(f"END {part}" in text for part in CREDENTIALS):
            raise ValueError(f"{path} does not hold {' and '.join(CREDENTIALS)}: it is no .creds file, or not whole")
    return path


def _secret(path: str | None) -> str | None:
    if path is None:
        return None
    text = Path(path).read_text().strip()
    if not text:
        raise ValueError(f"{path} is empty")
    return text
