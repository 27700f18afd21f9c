"""google.rpc.Status with the stable reason that clients decide by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

DOMAIN: Final = "rear.v1"
"""`ErrorInfo.domain` of every refusal."""


def status_with_reason(
    code: int, message: str, reason: str, metadata: Mapping[str, str] | None = None
) -> status_pb2.Status:
    """A status with an ErrorInfo as its only detail."""
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    return status_pb2.Status(code=code, message=message, details=[packed])
