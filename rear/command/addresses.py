"""Addresses to listen on, as they are typed."""

from __future__ import annotations

import ipaddress

import click


def read_address(text: str, option: str, such_as: str = "HOST:PORT, such as 127.0.0.1:7400") -> tuple[str, int]:
    """The host and port of `HOST:PORT`. Raises BadParameter, which names the option and says what to write."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise click.BadParameter(f"use {such_as}", param_hint=option)
    return host, int(port)


def listening_address(text: str, option: str, anywhere: bool, beyond: str) -> tuple[str, int]:
    """The host and port to listen on; `beyond` is what is said of one that is not loopback, unless `anywhere` is set.

    Raises BadParameter, which names the option.
    """
    host, port = read_address(text, option)
    if not anywhere and not is_loopback(host):
        raise click.BadParameter(f"{host} is not loopback, and {beyond}", param_hint=option)
    return host, port


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
