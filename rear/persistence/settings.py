"""What the environment says about the server and the streams."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from eventsourcing.utils import Environment, strtobool

from rear.ledger.connection import Endpoint

T = TypeVar("T")

URL: Final = "JETSTREAM_URL"
USER: Final = "JETSTREAM_USER"
PASSWORD: Final = "JETSTREAM_PASSWORD"
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

    endpoint: Endpoint
    prefix: str
    replicas: int
    connect_timeout: float
    timeout: float

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
    endpoint = Endpoint(
        url,
        user=env.get(USER) or None,
        password=env.get(PASSWORD) or None,
        credentials=env.get(CREDENTIALS) or None,
        tls=_tls(env),
    )
    prefix = env.get(PREFIX) or "ES"
    if not _NAME.fullmatch(prefix) or prefix.upper() == "REAR":
        raise OSError(
            f"Environment value for key '{PREFIX}' is invalid: '{prefix}'; letters, digits, _ and -, not REAR"
        )
    return RecorderSettings(
        endpoint,
        prefix,
        replicas=_number(env, REPLICAS, "1", int),
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


def _tls(env: Environment) -> ssl.SSLContext | None:
    authority, certificate, key = env.get(TLS_CA), env.get(TLS_CERTIFICATE), env.get(TLS_KEY)
    if not (authority or certificate or key):
        return None
    try:
        context = ssl.create_default_context(cafile=authority or None)
        if certificate or key:
            context.load_cert_chain(certificate or "", key or None)
    except (OSError, ssl.SSLError) as error:
        raise OSError(
            f"Environment values for {TLS_CA}, {TLS_CERTIFICATE} or {TLS_KEY} are invalid: {error}"
        ) from error
    return context
