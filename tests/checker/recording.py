"""A client that writes down each attempt at a call: what it asked, from when to when, and what it was told."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from rear.rpc.client import Client
from rear.rpc.line import Line
from rear.rpc.refused import failure_of
from tests.checker.history import METHOD_OF, Call, Outcome, Refusal, Unknown

Answer = TypeVar("Answer")

NOTHING_CHANGED: Final = frozenset(
    {"LEDGER_UNAVAILABLE", "NOT_READY", "NOT_WRITER", "CLEARING_OVERDUE", "WRONG_PROVIDER", "NOT_SERVED"}
)
"""Reasons that come with UNAVAILABLE or the like, and say for certain that the attempt did nothing."""


class RecordingClient(Client):
    """A client whose every attempt, also each one that it repeats by itself, is added to `calls`."""

    def __init__(self, endpoint: str, calls: list[Call], *, name: str, **options: Any) -> None:
        super().__init__(endpoint, **options)
        self._calls = calls
        self._name = name

    async def _call(
        self, method: Callable[[Line], Callable[..., Awaitable[Answer]]], request: Any, *, patience: float | None = None
    ) -> Answer:
        asked = type(request).FromString(request.SerializeToString())

        async def recorded(line: Line, request: Any, **options: Any) -> Answer:
            began = time.monotonic_ns()
            outcome: Outcome = Unknown("cancelled")
            try:
                answer = await method(line)(request, **options)
                assert isinstance(answer, Message)
                outcome = answer
                return answer
            except grpc.aio.AioRpcError as error:
                outcome = _told(error)
                raise
            finally:
                kind = METHOD_OF[type(asked)]
                ended = time.monotonic_ns()
                self._calls.append(
                    Call(self._name, self.caller or "", kind, asked, began, ended, time.time_ns(), outcome)
                )

        return await super()._call(lambda line: partial(recorded, line), request, patience=patience)


def _told(error: grpc.aio.AioRpcError) -> Outcome:
    failure = failure_of(error)
    transient = failure.code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    )
    if transient and failure.reason not in NOTHING_CHANGED:
        return Unknown(str(failure))
    reason = failure.reason or failure.code.name
    return Refusal(reason, failure.message, failure.metadata, failure.counter_offer)
