"""Nodes of a domain find each other by multicast: each says every few seconds where it is, and listens to the others.

Whatever comes is untrusted: little of it is read, less is kept, and none of it proves anything. Where more comes than
is read, nobody's silence counts, so that a flood neither brings neighbours in nor drives them out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from rear.background import end
from rear.managers.consumer.neighbours import Neighbours
from rear.rpc.announcements import LARGEST, Announcement, read_announcement, write_announcement
from rear.rpc.spiffe import domain_of

log = structlog.get_logger(__name__)

GROUP: Final = "239.255.82.69"
PORT: Final = 7401
EVERY: Final = 2.0

LEASES: Final = 3.5
"""How many times as long as the pause between two of them an announcement counts: two may be lost."""

SHORTEST_GAP: Final = 0.25
"""Seconds between announcements also where newcomers ask for more."""

LONGEST_WAIT: Final = 5.0
"""Seconds after its start that a node asks nobody for flavours, so that it has heard of those that are there."""

BREATH: Final = 1.0
MOST_IN_A_BREATH: Final = 500
"""Datagrams that are read in so many seconds; the kernel throws away what comes beyond."""

AT_ONCE: Final = 32
"""Datagrams that are read before the loop does something else."""

RECEIVE_BUFFER: Final = 64 * 1024

_IP_MULTICAST_ALL: Final = 49
"""Linux: whether a socket gets what other sockets joined for. The socket module does not know it before Python 3.14."""


class CannotAnnounce(OSError):
    """Why a node cannot announce itself, and what to do."""


@dataclass(frozen=True, slots=True)
class Multicast:
    """Where and how often a node announces itself; without an `interface` by the one that it listens on."""

    group: str = GROUP
    port: int = PORT
    interface: str = ""
    every: float = EVERY

    def __str__(self) -> str:
        return f"{self.group}:{self.port}"


class Announcing:
    """One node's part in it, once it is started: listens, and announces the node while it serves."""

    def __init__(
        self,
        multicast: Multicast,
        provider_id: str,
        endpoint: str,
        authenticated: bool,
        serves: Callable[[], bool],
    ) -> None:
        """`endpoint` is where the node listens, `serves` whether it is to be found just now.

        Unless services are `authenticated`, a node that listens on loopback takes only what is there for a neighbour.
        Raises CannotAnnounce.
        """
        self._multicast = multicast
        self._domain = domain_of(provider_id)
        self._serves = serves
        host, _, port = endpoint.rpartition(":")
        self._interface = _interface(multicast, host)
        self._anywhere = authenticated or not ipaddress.ip_address(self._interface).is_loopback
        self._own = Announcement(provider_id, f"{self._interface}:{port}", LEASES * multicast.every)
        self._datagram = write_announcement(self._own)
        self._ear, self._mouth = open_sockets(multicast, self._interface)
        self._neighbours: Neighbours
        self._soon = asyncio.Event()
        self._fault = ""
        self._unanswered_since: float | None = None
        self._left = MOST_IN_A_BREATH
        self._task: asyncio.Task[None] | None = None
        self._refill: asyncio.TimerHandle | None = None

    @property
    def trouble(self) -> str | None:
        """Why others may not hear of this node; None while its own announcements come back."""
        since = self._unanswered_since
        if since is None or asyncio.get_running_loop().time() - since < self._own.lease / 2:
            return None
        because = self._fault or "what it announces does not come back"
        return (
            f"it cannot be found on {self._multicast} by {self._interface}: {because}; announce on another interface "
            "with --announce-interface, or name the nodes to each other with --neighbour"
        )

    def start(self, neighbours: Neighbours) -> None:
        """Listens from now on, and tells `neighbours` what it hears."""
        self._neighbours = neighbours
        neighbours.expect(min(self._multicast.every, LONGEST_WAIT))
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ear, self._read)
        self._task = loop.create_task(self._announce(), name="announcing")

    async def close(self) -> None:
        """Ends it. Who has heard of the node forgets it in time."""
        if self._refill is not None:
            self._refill.cancel()
        asyncio.get_running_loop().remove_reader(self._ear)
        await end(self._task)
        self._ear.close()
        self._mouth.close()

    # -- saying ----------------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        while True:
            self._soon.clear()
            if self._serves():
                self._send()
                pause = self._multicast.every * random.uniform(0.8, 1.0)
            else:
                pause = SHORTEST_GAP
            await asyncio.sleep(SHORTEST_GAP)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause - SHORTEST_GAP):
                    await self._soon.wait()

    def _send(self) -> None:
        if self._unanswered_since is None:
            self._unanswered_since = asyncio.get_running_loop().time()
        try:
            self._mouth.sendto(self._datagram, (self._multicast.group, self._multicast.port))
            self._fault = ""
        except OSError as error:
            self._fault = error.strerror or str(error)

    # -- hearing ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        loop = asyncio.get_running_loop()
        if self._refill is None:
            self._refill = loop.call_later(BREATH, self._listen_again)
        for _ in range(min(AT_ONCE, self._left)):
            try:
                data, (source, _) = self._ear.recvfrom(LARGEST + 1)
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("an announcement could not be read", error=str(error))
                self._left -= 1
                continue
            self._left -= 1
            self._hear(data, source)
        if self._left == 0:
            loop.remove_reader(self._ear)
            self._neighbours.prolong(BREATH)

    def _listen_again(self) -> None:
        self._refill = None
        if self._left == 0:
            asyncio.get_running_loop().add_reader(self._ear, self._read)
        self._left = MOST_IN_A_BREATH

    def _hear(self, data: bytes, source: str) -> None:
        if data == self._datagram:
            self._unanswered_since = None
            return
        heard = read_announcement(data, source, self._domain)
        if heard is None or not (self._anywhere or ipaddress.ip_address(source).is_loopback):
            return
        if self._neighbours.announced(heard.endpoint, heard.provider_id, heard.lease):
            log.info("heard of a neighbour", provider=heard.provider_id, endpoint=heard.endpoint)
            self._soon.set()


def _interface(multicast: Multicast, host: str) -> str:
    """The address of the interface to announce on: the node must be reached at it."""
    try:
        listens = ipaddress.ip_address(socket.gethostbyname(host.strip("[]")))
    except OSError as error:
        raise CannotAnnounce(f"cannot announce {host}: {error.strerror}; listen on an IPv4 address") from error
    if not listens.is_unspecified:
        if multicast.interface not in ("", str(listens)):
            raise CannotAnnounce(
                f"cannot announce on {multicast.interface} a node that listens on {listens} only: "
                "listen there, or on all addresses, or leave --announce-interface out"
            )
        return str(listens)
    if multicast.interface:
        return multicast.interface
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((multicast.group, multicast.port))  # sends nothing: it asks for the way there
        except OSError as error:
            raise CannotAnnounce(
                f"cannot announce on {multicast}: {error.strerror}; name an interface with --announce-interface"
            ) from error
        return str(probe.getsockname()[0])


def open_sockets(multicast: Multicast, interface: str) -> tuple[socket.socket, socket.socket]:
    """One to hear with and one to speak with, both for one interface and this network only."""
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        way = socket.inet_aton(interface)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if sys.platform == "linux":
            ear.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        ear.bind((multicast.group, multicast.port))
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(multicast.group) + way)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, way)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        mouth.bind((interface, 0))
        for each in (ear, mouth):
            each.setblocking(False)
    except OSError as error:
        ear.close()
        mouth.close()
        raise CannotAnnounce(
            f"cannot announce on {multicast} by {interface}: {error.strerror or error}; name another interface with "
            "--announce-interface, or leave --announce out and name the nodes to each other with --neighbour"
        ) from error
    return ear, mouth
