"""Groups for tests to announce in, each of its own, and whether this machine can."""

from __future__ import annotations

import itertools
import os
import socket

import pytest

from rear.rpc.announcing import CannotAnnounce, Multicast, open_sockets

_counter = itertools.count()


def a_group(every: float = 0.3) -> Multicast:
    """A group that nobody else uses. Skips the test where multicast does not work on loopback."""
    number = os.getpid() * 17 + next(_counter)
    multicast = Multicast(f"239.255.{number >> 8 & 255}.{number & 255}", 20_000 + number % 10_000, "127.0.0.1", every)
    try:
        ear, mouth = open_sockets(multicast, "127.0.0.1")
        with ear, mouth:
            mouth.sendto(b"?", (multicast.group, multicast.port))
            ear.settimeout(2)
            ear.recvfrom(1)
    except (CannotAnnounce, OSError, TimeoutError) as error:
        pytest.skip(f"multicast does not work on loopback here: {error or 'nothing comes back'}")
    return multicast


def say(multicast: Multicast, *datagrams: bytes) -> None:
    """Sends datagrams to the group, from loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        mouth.bind(("127.0.0.1", 0))
        for each in datagrams:
            mouth.sendto(each, (multicast.group, multicast.port))
