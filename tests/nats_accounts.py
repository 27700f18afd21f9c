"""An operator, an account and a user of NATS, as JWTs: for servers that know their users by credentials files."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys
from nkeys import PREFIX_BYTE_ACCOUNT as ACCOUNT
from nkeys import PREFIX_BYTE_OPERATOR as OPERATOR
from nkeys import PREFIX_BYTE_USER as USER


def with_credentials(folder: Path) -> tuple[str, Path]:
    """What a server is configured with, and the credentials file of the one user that it lets in."""
    operator, account, user = _pair(OPERATOR), _pair(ACCOUNT), _pair(USER)
    system = _pair(ACCOUNT)
    operator_jwt = _signed(operator, operator, "operator", {"system_account": system.public_key.decode()})
    limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1}
    storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    system_jwt = _signed(operator, system, "account", {"limits": {**limits, "wildcards": True}})
    account_jwt = _signed(operator, account, "account", {"limits": {**limits, **storage, "wildcards": True}})
    user_jwt = _signed(account, user, "user", {"subs": -1, "data": -1, "payload": -1})
    file = folder / "user.creds"
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    access = (
        f'operator: "{operator_jwt}"\nresolver: MEMORY\n'
        f'resolver_preload {{ {account.public_key.decode()}: "{account_jwt}", '
        f'{system.public_key.decode()}: "{system_jwt}" }}'
    )
    return access, file


def _pair(prefix: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), prefix))


def _signed(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, kind: str, claims: dict[str, Any]) -> str:
    body: dict[str, Any] = {
        "iat": int(time.time()) - 60,
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "name": kind,
        "nats": {**claims, "type": kind, "version": 2},
    }
    digest = hashlib.sha512(json.dumps(body).encode()).digest()[:32]
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    text = f"{_coded(json.dumps(head).encode())}.{_coded(json.dumps(body).encode())}"
    return f"{text}.{_coded(issuer.sign(text.encode()))}"


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
