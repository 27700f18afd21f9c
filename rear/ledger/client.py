"""nats-py's client, with the two things that a ledger does all day made direct: send a block, take replies.

`Client.publish` costs 7 µs a message and a received message 22 µs, most of it in checks and queues that a
batch of 200 or a page of 1,000 does not need. Here a block of frames is written as it is, and what arrives at
our own inbox goes straight to whoever waits for it. The members of nats-py that this leans on are not public:
they are `_pending`, `_pending_data_size`, `_flush_pending`, `_process_msg`, `_close` and `_transport`, and nothing
else.

A request whose connection is lost fails at once; nats-py would let it run into its timeout.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from rear import failpoints

log = structlog.get_logger(__name__)

PING_EVERY: Final = 1
"""Seconds between pings. A connection that went silent is found dead after one more than UNANSWERED_PINGS."""
UNANSWERED_PINGS: Final = 2

Take = Callable[[bytes, bytes], bool]
"""Takes one reply (raw header block, payload) and tells whether it was the last."""


class NotConnected(Exception):
    """There is no connection; nothing was sent."""


class ConnectionLost(Exception):
    """The connection was lost after something was sent on it."""


class NotEncrypted(nats.errors.Error):
    """TLS was asked for, and the server offers none; nothing secret was sent."""


class LedgerClient(Client):
    """One connection. Once lost it stays lost: `rear.ledger.connection` opens another."""

    def __init__(self) -> None:
        """Not connected yet."""
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.lost = asyncio.Event()
        """Set when the connection is gone, for whatever reason."""
        self._inbox = b""
        self._inbox_sid = -1
        self._tokens = itertools.count()
        self._waiting: dict[bytes, tuple[Take, asyncio.Future[None]]] = {}
        self._socket: asyncio.WriteTransport | None = None
        self._home: asyncio.AbstractEventLoop

    async def attach(self) -> None:
        """Subscribe to our inbox. To be called once, after `connect`."""
        self._inbox = self.new_inbox().encode() + b"."
        subscription = await self.subscribe(self._inbox.decode() + "*", cb=_ignore)
        self._inbox_sid = subscription._id
        self._home = asyncio.get_running_loop()
        self._socket = self._transport._io_writer.transport  # type: ignore[union-attr]
        failpoints.can_be_cut(self)

    def cut(self) -> None:
        """Lose the connection without a word to the server. May be called on any thread."""
        if self._socket is not None and not self.lost.is_set():
            self._home.call_soon_threadsafe(self._socket.abort)

    async def exchange(
        self, frames: Callable[[bytes], bytes], take: Take, sent: Callable[[], None] | None = None
    ) -> None:
        """Send what `frames` makes for a reply subject, and hand every reply to `take` until it has the last.

        `sent` is called once all bytes are out.

        Waits without an end of its own. Raises `NotConnected` where nothing was sent, else `ConnectionLost`.
        """
        token = b"%x" % next(self._tokens)
        block = frames(self._inbox + token)
        if not self.is_connected or self.lost.is_set():
            raise NotConnected("not connected")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[token] = (take, done)
        try:
            self._pending.append(block)
            self._pending_data_size += len(block)
            await self._flush_pending(force_flush=sent is not None)
            if sent is not None:
                await self._written()
                sent()
            await done
        finally:
            del self._waiting[token]

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send a message that nobody answers. Raises `NotConnected` where nothing was sent."""
        if not self.is_connected or self.lost.is_set():
            raise NotConnected("not connected")
        block = frame(subject, b"", b"", payload)
        self._pending.append(block)
        self._pending_data_size += len(block)
        await self._flush_pending()

    async def _written(self) -> None:
        """Waits until the kernel has all bytes, or the connection is lost."""
        while self._socket is not None and self._socket.get_write_buffer_size() and not self.lost.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def request_one(
        self, frames: Callable[[bytes], bytes], sent: Callable[[], None] | None = None
    ) -> tuple[bytes, bytes]:
        """Send, and return the one reply: its raw header block and its payload. `sent` is called in between."""
        replies: list[tuple[bytes, bytes]] = []

        def take(headers: bytes, payload: bytes) -> bool:
            replies.append((headers, payload))
            return True

        await self.exchange(frames, take, sent)
        return replies[0]

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if sid != self._inbox_sid:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        waiting = self._waiting.get(subject[len(self._inbox) :])
        if waiting is None or waiting[1].done():
            return  # its caller has given up
        take, done = waiting
        try:
            if take(headers or b"", data):
                done.set_result(None)
        except Exception as error:
            done.set_exception(error)

    def _connect_command(self) -> bytes:
        # nats-py would send the password in the clear to a server that does not ask for TLS.
        if self.options.get("tls") is not None and not self._server_info.get("tls_required"):
            raise NotEncrypted("it does not require TLS, which it was to be reached by")
        return bytes(super()._connect_command())

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self.lost.set()
        for _, done in self._waiting.values():
            if not done.done():
                done.set_exception(ConnectionLost("the connection was lost"))
        await super()._close(status, do_cbs)


async def _ignore(_: Msg) -> None:
    """The inbox's messages never come this way."""


def frame(subject: str, reply: bytes, headers: bytes, payload: bytes) -> bytes:
    """A message as it goes over the wire; `headers` is a block that ends in an empty line, or nothing."""
    if not headers:
        return b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply, len(payload), payload)
    return b"HPUB %s %s %d %d\r\n%s%s\r\n" % (
        subject.encode(),
        reply,
        len(headers),
        len(headers) + len(payload),
        headers,
        payload,
    )


def status(headers: bytes) -> int:
    """The status in a header block's first line; 0 where it has none."""
    code = headers[9:12]
    return int(code) if headers[8:9] == b" " and code.isdigit() else 0


def connect_options(name: str, wait: float, failures: list[Exception]) -> dict[str, Any]:
    """How we connect: each server tried once, no reconnect, nothing buffered while there is no connection.

    nats-py writes what it buffered after a reconnect, also what its caller has given up by then. Of several
    servers that fail it tells the last one's failure only, so all of them go into `failures`.
    """

    async def report(error: Exception) -> None:
        failures.append(error)
        log.debug("nats client", connection=name, error=str(error) or repr(error))

    return {
        "name": name,
        "error_cb": report,
        "allow_reconnect": False,
        "pending_size": 0,
        "connect_timeout": wait,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0,
        "ping_interval": PING_EVERY,
        "max_outstanding_pings": UNANSWERED_PINGS,
    }
