"""What the environment says about the server and the streams."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from eventsourcing.utils import Environment, strtobool

from rear.ledger.connection import Endpoint
from rear.ledger.errors import NotLetIn
from rear.ledger.external import NatsServers, parse_urls

T = TypeVar("T")

URL: Final = "JETSTREAM_URL"
USER: Final = "JETSTREAM_USER"
PASSWORD: Final = "JETSTREAM_PASSWORD"
PASSWORD_FILE: Final = "JETSTREAM_PASSWORD_FILE"
TOKEN_FILE: Final = "JETSTREAM_TOKEN_FILE"
CREDENTIALS: Final = "JETSTREAM_CREDENTIALS"
TLS_CA: Final = "JETSTREAM_TLS_CA"
TLS_CERTIFICATE: Final = "JETSTREAM_TLS_CERTIFICATE"
TLS_KEY: Final = "JETSTREAM_TLS_KEY"
PREFIX: Final = "JETSTREAM_PREFIX"
REPLICAS: Final = "JETSTREAM_REPLICAS"
CONNECT_TIMEOUT: Final = "JETSTREAM_CONNECT_TIMEOUT"
TIMEOUT: Final = "JETSTREAM_TIMEOUT"
CREATE_TABLE: Final = "CREATE_TABLE"

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """How to reach the server, what the streams are called, and for how long to try (seconds)."""

    servers: NatsServers
    password: str | None = field(repr=False)
    """One that is not in a file."""
    prefix: str
    connect_timeout: float
    timeout: float

    def endpoint(self) -> Endpoint:
        """Where the servers are and how they let us in, from what is on the files now. Raises NotLetIn."""
        endpoint = self.servers.endpoint()
        return endpoint if self.password is None else replace(endpoint, password=self.password)

    def stream(self, application: str, purpose: str) -> str:
        """A stream's name. Raises OSError where the names cannot be part of one."""
        return "_".join((self.prefix, *_names(application, purpose))).upper()

    def subject(self, application: str, purpose: str) -> str:
        """What the subjects of a stream begin with. Raises as `stream` does."""
        return ".".join((self.prefix, *_names(application, purpose))).lower()


def read_settings(env: Environment) -> RecorderSettings:
    """Raises OSError, naming the variable, for what is missing or wrong, as the library's own modules do."""
    url = env.get(URL)
    if not url:
        raise OSError(f"JetStream URL not found in environment with keys: {', '.join(env.create_keys(URL))}")
    try:
        urls = parse_urls(url)
    except ValueError as error:
        raise OSError(f"Environment value for key '{URL}' is invalid: {error}") from error
    servers = NatsServers(
        urls,
        user=env.get(USER) or None,
        password_file=env.get(PASSWORD_FILE) or None,
        token_file=env.get(TOKEN_FILE) or None,
        credentials=env.get(CREDENTIALS) or None,
        ca=env.get(TLS_CA) or None,
        certificate=env.get(TLS_CERTIFICATE) or None,
        key=env.get(TLS_KEY) or None,
        replicas=_number(env, REPLICAS, "1", int),
    )
    try:
        servers.endpoint()
    except NotLetIn as error:
        files = ", ".join((PASSWORD_FILE, TOKEN_FILE, CREDENTIALS, TLS_CA, TLS_CERTIFICATE, TLS_KEY))
        raise OSError(f"Environment values for {files} are invalid: {error}") from error
    prefix = env.get(PREFIX) or "ES"
    if not _NAME.fullmatch(prefix) or prefix.upper() == "REAR":
        raise OSError(
            f"Environment value for key '{PREFIX}' is invalid: '{prefix}'; letters, digits, _ and -, not REAR"
        )
    return RecorderSettings(
        servers,
        env.get(PASSWORD) or None,
        prefix,
        connect_timeout=_number(env, CONNECT_TIMEOUT, "20", float),
        timeout=_number(env, TIMEOUT, "30", float),
    )


def may_create(env: Environment) -> bool:
    """Whether streams that are not there are made."""
    return bool(strtobool(env.get(CREATE_TABLE) or "yes"))


def _names(application: str, purpose: str) -> tuple[str, str]:
    application = application or "stored"
    for name in (application, purpose):
        if not _NAME.fullmatch(name):
            raise OSError(f"'{name}' cannot be part of a stream's name: letters, digits, _ and - can")
    return application, purpose


def _number(env: Environment, key: str, default: str, kind: Callable[[str], T]) -> T:
    said = env.get(key) or default
    try:
        number = kind(said)
    except ValueError:
        number = None
    if number is None or not number > 0:  # type: ignore[operator]  # it is int or float
        raise OSError(f"Environment value for key '{key}' is invalid: '{said}'; a number above 0 is expected")
    return number
