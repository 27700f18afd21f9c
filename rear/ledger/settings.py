"""The settings of streams: which ones matter, and what they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

REQUIRED: Final[Mapping[str, object]] = {
    "storage": "file",
    "retention": "limits",
    "discard": "new",
    "deny_delete": True,
    "deny_purge": True,
    "allow_direct": True,
    "allow_atomic": True,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
}
"""Settings without which an acknowledged event could go, or could not be written and read as we do."""

FORBIDDEN: Final = (
    "sealed",
    "no_ack",
    "mirror",
    "sources",
    "subject_transform",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_counter",
    "allow_msg_schedules",
    "persist_mode",
)
"""Settings that must not be on: each lets messages go, change or wait, or acknowledges them unwritten."""


OFFERS: Final[Mapping[str, object]] = {
    "storage": "file",
    "retention": "limits",
    "discard": "new",
    "allow_direct": True,
    "allow_atomic": True,
    "allow_msg_ttl": True,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": 1,
}
"""Settings of a stream of peering candidates: the latest for each subject, and what is marked so expires."""

FORBIDDEN_TO_OFFERS: Final = ("sealed", "no_ack", "mirror", "sources", "subject_transform", "persist_mode")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What a stream must be like to keep what it is for."""

    required: Mapping[str, object]
    forbidden: Sequence[str]
    purpose: str

    def differences(self, config: Mapping[str, Any], subjects: Sequence[str], replicas: int) -> list[str]:
        """What a stream's settings have that must not be, one phrase each; empty where all is well."""
        wrong = [
            f"{name} is {config.get(name)!r}, must be {value!r}"
            for name, value in self.required.items()
            if config.get(name) != value
        ]
        wrong += [f"{name} is on" for name in self.forbidden if config.get(name) not in (None, False, "default")]
        if config.get("num_replicas", 1) < replicas:
            wrong.append(f"num_replicas is {config.get('num_replicas')}, must be {replicas} or more")
        if set(config.get("subjects") or ()) != set(subjects):
            wrong.append(f"subjects are {config.get('subjects')}, must be {list(subjects)}")
        return wrong


LEDGER_SETTINGS: Final = StreamSettings(REQUIRED, FORBIDDEN, "keep a ledger")
OFFERS_SETTINGS: Final = StreamSettings(OFFERS, FORBIDDEN_TO_OFFERS, "keep candidates")
