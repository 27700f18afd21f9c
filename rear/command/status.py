"""`rear status`: whether a service is ready, and what keeps it from being so."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import click

from rear.command import failures
from rear.command.output import write_facts, write_json, write_table
from rear.command.settings import common_options, settings

VARIABLE: Final = "REAR_OPS"
DEFAULT: Final = "127.0.0.1:7480"
LARGEST: Final = 1 << 20
"""Bytes of an answer that are read."""


class NoStatus(Exception):
    """What answered is not an operations endpoint, or nothing did."""


@click.command("status")
@common_options
@click.argument("ops", required=False, metavar="[HOST:PORT|URL]")
def status(ops: str | None) -> None:
    """Whether a service is ready, its role and position, and why it is not ready.

    It asks the operations endpoint, where `rear up --ops HOST:PORT` was told to listen: by default $REAR_OPS, else
    127.0.0.1:7480. Exit codes: 0 ready, 1 not ready, 4 no answer.
    """
    url = url_of(ops or os.environ.get(VARIABLE) or DEFAULT)
    try:
        document = ask(url, settings().timeout)
    except NoStatus as error:
        failures.complain(str(error))
        click.get_current_context().exit(failures.UNREACHABLE)
    if settings().json:
        write_json(document)
    else:
        _show(document)
    click.get_current_context().exit(0 if document["ready"] else failures.FAILURE)


def url_of(endpoint: str) -> str:
    """The address to ask, for HOST:PORT or a URL. Raises BadParameter."""
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or parts.scheme)
    except ValueError:
        known = None
    if not known:
        raise click.BadParameter("use HOST:PORT or a URL, such as http://127.0.0.1:7480", param_hint="HOST:PORT|URL")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}/readyz"


def ask(url: str, timeout: float) -> Mapping[str, Any]:
    """What the operations endpoint says. Raises NoStatus."""
    opener = build_opener(ProxyHandler({}))
    try:
        try:
            answer = opener.open(Request(url, headers={"Accept": "application/json"}), timeout=timeout)
        except HTTPError as error:
            if error.code != 503:
                raise NoStatus(
                    f"{url} answered {error.code} {error.reason}: no operations endpoint is there"
                ) from error
            answer = error
        with answer:
            document = json.loads(answer.read(LARGEST))
    except (URLError, OSError, HTTPException) as error:
        why = _plain(error.reason if isinstance(error, URLError) else error)
        raise NoStatus(f"no answer from {url}: {why}; was the service started with --ops?") from error
    except ValueError as error:
        raise NoStatus(f"what {url} answered is not the status of a service") from error
    if not isinstance(document, dict) or not isinstance(document.get("ready"), bool):
        raise NoStatus(f"what {url} answered is not the status of a service")
    return document


def _plain(error: object) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _show(document: Mapping[str, Any]) -> None:
    facts = [(name.replace("_id", ""), str(document.get(name, ""))) for name in ("role", "provider_id")]
    known = {"ready", "role", "provider_id", "reasons", "warnings"}
    facts += [(name, str(value)) for name, value in document.items() if name not in known]
    write_facts("ready" if document["ready"] else "not ready", facts)
    rows = [*_rows("", document.get("reasons", ())), *_rows("warning: ", document.get("warnings", ()))]
    if rows:
        click.echo()
        write_table(("what", "since", "why"), rows)


def _rows(kind: str, reasons: Sequence[Mapping[str, str]]) -> list[tuple[str, str, str]]:
    return [(kind + one.get("what", ""), one.get("since", ""), one.get("why", "")) for one in reasons]
