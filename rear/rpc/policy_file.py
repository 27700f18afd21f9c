"""The policy file: YAML, checked as a whole, read again when it changes.

grants:
  - who: spiffe://local.test/buyer/*
    may: [list, reserve]
  - who: [spiffe://local.test/auditor/eve, spiffe://partner.example/auditor/*]
    may: [audit]
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import structlog

from rear.documents import DocumentError, TextError, quoted, read_text, signature
from rear.rpc.policy import Grant, Permission, Policy
from rear.rpc.spiffe import NoIdentity, check_identity
from rear.yaml_tree import Value, parse_document

log = structlog.get_logger(__name__)

MOST_BYTES: Final = 256 * 1024

_WILDCARD: Final = re.compile(r"spiffe://(?:[a-z0-9._-]+/(?:[A-Za-z0-9._-]+/)?)?\*")


def read_policy(path: Path) -> Policy:
    """The policy in a file. Raises DocumentError, which names the line."""
    document = parse_document(path, read_text(path, MOST_BYTES))
    fields = document.fields(("grants",), required=("grants",))
    grants = tuple(grant for item in fields["grants"].items() for grant in _grants(item))
    return Policy(grants, str(path))


class WatchedPolicy:
    """The newest usable policy of a file. One that is wrong is logged once, and the one before it stays.

    It is tried again at every look: what was wrong need not lie in what it holds.
    """

    def __init__(self, path: Path) -> None:
        """Reads it for the first time. Raises DocumentError."""
        self.path = path
        self._signature = signature(path)
        self.policy = read_policy(path)
        self.trouble: str | None = None
        """Why the file as it is now cannot be used; None while it can."""

    def look(self) -> None:
        """Reads the file again if it has changed."""
        found = signature(self.path)
        if found == self._signature and self.trouble is None:
            return
        self._signature = found
        try:
            self.policy = read_policy(self.path)
        except DocumentError as error:
            if self.trouble != str(error):
                self.trouble = str(error)
                log.error("the changed policy cannot be used; the one from before stays", because=self.trouble)
            return
        self.trouble = None
        log.info("the policy was read again", policy=str(self.path), grants=len(self.policy.grants))


def _grants(item: Value) -> list[Grant]:
    fields = item.fields(("who", "may"), required=("who", "may"))
    may = frozenset(one.read(_permission) for one in _one_or_more(fields["may"]))
    return [Grant(one.read(_who), may) for one in _one_or_more(fields["who"])]


def _one_or_more(value: Value) -> list[Value]:
    if not value.is_list:
        return [value]
    values = value.items()
    if not values:
        value.fail("is empty; name at least one")
    return values


def _permission(text: str) -> Permission:
    try:
        return Permission(text)
    except ValueError:
        raise TextError(f"is {quoted(text)}; write one of: {', '.join(Permission)}") from None


def _who(text: str) -> str:
    if "*" not in text:
        try:
            return check_identity(text)
        except NoIdentity as error:
            raise TextError(str(error)) from None
    # `spiffe://campus.ex*` would mean campus.example.attacker.test as well.
    if _WILDCARD.fullmatch(text) is None:
        raise TextError(
            f"is {quoted(text)}; write an identity, or one with * in place of its last parts, "
            "as in spiffe://campus.example/* or spiffe://campus.example/buyer/*"
        )
    return text
