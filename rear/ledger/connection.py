"""One live connection to NATS at a time, opened anew after each loss."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

import nats.errors
import structlog

from rear import failpoints
from rear.background import end
from rear.ledger.client import LedgerClient, connect_options
from rear.ledger.errors import LedgerUnavailable, NotLetIn, OutcomeUnknown

log = structlog.get_logger(__name__)

DIAL_TIMEOUT: Final = 2.0
"""Seconds for one attempt to connect."""

REMEDIES: Final[Mapping[str, str]] = {
    "authorization": "check the user and password, token or credentials",
    "authentication": "check the user and password, token or credentials",
    "does not require tls": "check the URL, or reach it without TLS",
    "certificate verify failed": "check the authorities' certificates, and the host's name in the server's",
    "tlsv1": "check the client's certificate and key, and whether its authority is known to the server",
    "alert": "check the client's certificate and key, and whether its authority is known to the server",
    "ssl": "check the certificates on both sides",
    "secure connection": "name the authorities' certificates and, where it asks for one, a client's certificate",
    "seed": "check the credentials file",
}
"""What to do where a failure to connect has these words: waiting does not mend it."""

DISCARD_TIMEOUT: Final = 1.0
"""Seconds for a client to close that is not used any more."""

FIRST_PAUSE: Final = 0.02
LAST_PAUSE: Final = 1.0
"""Seconds between attempts: doubled after each one that failed, or that led to a connection as short as this."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server or cluster is, and how to be let in."""

    url: str
    """One URL, or several of one cluster, separated by commas."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    credentials: str | None = None
    """Path of a `.creds` file."""
    tls: ssl.SSLContext | None = None
    token: str | None = field(default=None, repr=False)


async def dial(endpoint: Endpoint, name: str, *, wait: float = DIAL_TIMEOUT) -> LedgerClient:
    """A connected client. `wait` is in seconds, for each of the servers.

    Raises NotLetIn where one of them turns us away, or we it, and LedgerUnavailable where none answers.
    """
    client, failures = LedgerClient(), list[Exception]()
    servers = [url.strip() for url in endpoint.url.split(",")]
    try:
        async with asyncio.timeout(wait * len(servers)):
            await client.connect(
                servers=servers,
                user=endpoint.user,
                password=endpoint.password,
                token=endpoint.token,
                user_credentials=endpoint.credentials,
                tls=endpoint.tls,
                **connect_options(name, wait, failures),
            )
            await client.attach()
    except Exception as error:  # of any kind: nats-py expects files and servers to be well formed
        await _discard(client)
        raise _no_connection(endpoint, [*failures, error]) from error
    except BaseException:
        await _discard(client)
        raise
    return client


def _no_connection(endpoint: Endpoint, failures: Sequence[Exception]) -> LedgerUnavailable:
    """What to tell of failures to connect: of those that only a person can mend, rather than of others."""
    told = [error for error in failures if not isinstance(error, nats.errors.NoServersError)] or failures
    for error in told:
        text = str(error) or type(error).__name__
        for sign, remedy in REMEDIES.items():
            if sign in text.lower():
                return NotLetIn(f"NATS at {endpoint.url} and we do not agree: {text.rstrip('.')}; {remedy}")
    text = str(told[-1]) or f"no answer ({type(told[-1]).__name__})"
    return LedgerUnavailable(f"no connection to NATS at {endpoint.url}: {text}; see that it runs and can be reached")


async def _discard(client: LedgerClient) -> None:
    with contextlib.suppress(Exception):  # what has failed to connect may fail to close, in whatever way
        async with asyncio.timeout(DISCARD_TIMEOUT):  # after a failed TLS handshake nats-py waits for ever
            await client.close()


_candidate: ContextVar[tuple[Connection, LedgerClient] | None] = ContextVar("candidate", default=None)


class Connection:
    """Keeps a client connected. It never buffers: while there is no connection, nothing is sent.

    `on_connect` is awaited after each connect, before anybody else gets the client; inside of it `client()`
    returns the new one. Where it raises LedgerUnavailable or OutcomeUnknown the connection is tried again;
    any other error (LedgerDamaged above all) closes this for good, and `client()` raises it from then on.
    """

    def __init__(
        self,
        endpoint: Callable[[], Endpoint],
        *,
        name: str,
        on_connect: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`endpoint` is asked before each attempt, and may raise LedgerUnavailable."""
        self._endpoint = endpoint
        self._name = name
        self._on_connect = on_connect
        self._client: LedgerClient | None = None
        self._generation = 0
        self._fatal: Exception | None = None
        self._why = "not opened"
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a live client that has passed `on_connect`."""
        return self._client is not None and not self._client.lost.is_set()

    @property
    def trouble(self) -> str | None:
        """Why there is no connection; None while there is one."""
        if self.connected:
            return None
        if self._fatal is not None:
            return f"the ledger was refused: {self._fatal}"
        return f"there is no connection to the ledger's server: {self._why}"

    @property
    def generation(self) -> int:
        """How many connections there were so far, this one included."""
        return self._generation

    async def open(self, timeout: float) -> None:  # noqa: ASYNC109
        """Connect, and keep connected until `close`.

        Raises LedgerUnavailable where that takes longer than `timeout` seconds, or what `on_connect` raised;
        then it is closed again.
        """
        if self._keeper is not None:
            raise RuntimeError(f"connection {self._name} is open already")
        self._fatal = None
        self._why = "still connecting"
        self._keeper = asyncio.create_task(self._keep(), name=f"nats-{self._name}")
        try:
            await self.client(timeout)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect. Whoever waits for an answer gets an error at once."""
        keeper, self._keeper = self._keeper, None
        await end(keeper)
        self._why = "closed"
        self._tell()

    async def client(self, timeout: float) -> LedgerClient:  # noqa: ASYNC109
        """The live client, waited for; LedgerUnavailable where there is none within `timeout` seconds."""
        if self._client is not None and not self._client.lost.is_set():
            return self._client
        candidate = _candidate.get()
        if candidate is not None and candidate[0] is self:
            return candidate[1]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._keeper is not None and self._fatal is None:
                    await self._changed.wait()
                    if self._client is not None and not self._client.lost.is_set():
                        return self._client
        if self._fatal is not None:
            raise self._fatal
        raise LedgerUnavailable(f"no connection to the ledger's server: {self._why}")

    def _tell(self) -> None:
        """Wake everybody who waits for a change, once."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _keep(self) -> None:
        pause, loop = FIRST_PAUSE, asyncio.get_running_loop()
        while True:
            try:
                client = await dial(self._endpoint(), self._name)
            except LedgerUnavailable as error:
                if isinstance(error, NotLetIn) and self._generation == 0:
                    self._fatal = error  # waiting mends nothing; one that was let in before goes on trying
                    self._tell()
                    return
                self._note(str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
                continue
            try:
                self._generation += 1
                await self._check(client)
                failpoints.reach("connection.checked")
                self._client = client
                self._tell()
                began = loop.time()
                log.info("connected to the ledger's server", connection=self._name, times=self._generation)
                await client.lost.wait()
                self._why = "the connection was lost"
                log.warning("lost the connection to the ledger's server", connection=self._name)
                if loop.time() - began > LAST_PAUSE:
                    pause = FIRST_PAUSE
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
            except (LedgerUnavailable, OutcomeUnknown) as error:
                self._note(str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
            except Exception as error:
                log.error("the ledger was refused", connection=self._name, error=str(error))
                self._fatal = error
                self._tell()
                return
            finally:
                self._client = None
                await _discard(client)

    def _note(self, why: str) -> None:
        """Says why there is no connection, once for each reason."""
        if why != self._why:
            log.warning("no connection to the ledger's server yet", connection=self._name, because=why)
        self._why = why

    async def _check(self, client: LedgerClient) -> None:
        if self._on_connect is None:
            return
        token = _candidate.set((self, client))
        try:
            await self._on_connect()
        finally:
            _candidate.reset(token)
