"""What every handler of a unary call has in common: who asks, how long there is, and how a refusal is answered."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn, Protocol, TypeVar
from uuid import uuid4

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import status_pb2

from rear import failpoints
from rear.domain.refusals import OutcomePending, Refusal, TryAgain
from rear.domain.window import SECOND
from rear.ledger.errors import LedgerDamaged, LedgerError
from rear.rpc.deadlines import within
from rear.rpc.errors import code_of, internal, status_of, trailers
from rear.rpc.undecodable import check_decoded

log = structlog.get_logger(__name__)

MARGIN: Final = 0.05
"""Seconds kept back of a deadline for the way of the answer."""

LONGEST_WAIT: Final = 10.0
"""Seconds after which an open outcome is said to be open, whatever the deadline."""

Context = grpc.aio.ServicerContext[Any, Any]


class Gate(Protocol):
    """Tells whether the service answers."""

    def check(self) -> None:
        """Raises the Refusal that says why it does not."""
        ...


class Servicer(Protocol):
    """What `answered` needs of the object whose method it wraps."""

    @property
    def gate(self) -> Gate:
        """Whether the service answers."""
        ...


S = TypeVar("S", bound=Servicer)
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


def answered(
    handler: Callable[[S, Q, Context], Awaitable[R]],
) -> Callable[[S, Q, Context], Awaitable[R]]:
    """Makes a handler answer refusals with typed errors, open outcomes before the deadline, and faults blindly."""

    @functools.wraps(handler)
    async def answer(self: S, request: Q, context: Context) -> R:
        try:
            self.gate.check()
            check_decoded(request)
            remaining = context.time_remaining()
            with within(LONGEST_WAIT if remaining is None else _wait(remaining)):
                response = await handler(self, request, context)
            failpoints.reach("rpc.before_reply")
            return response
        except Refusal as refusal:
            if isinstance(refusal, OutcomePending):
                refusal.metadata |= _pending_metadata(self, request, context)
            await refuse(context, refusal)
        except TimeoutError:
            await refuse(context, _too_late(self, request, context))
        except Exception:
            await fail(context, handler.__name__)

    return answer


def streamed(
    handler: Callable[[S, Q, Context], AsyncGenerator[R, None]],
) -> Callable[[S, Q, Context], AsyncGenerator[R, None]]:
    """The same for a handler that answers with a stream, which may last as long as it likes."""

    @functools.wraps(handler)
    async def answer(self: S, request: Q, context: Context) -> AsyncGenerator[R, None]:
        try:
            self.gate.check()
            check_decoded(request)
            async with aclosing(handler(self, request, context)) as responses:
                async for response in responses:
                    yield response
        except Refusal as refusal:
            await refuse(context, refusal)
        except LedgerDamaged as damaged:
            log.error("the ledger cannot be read", because=str(damaged))
            await refuse(context, TryAgain("the ledger is damaged; its provider's log says where", SECOND))
        except LedgerError as error:
            log.warning("the ledger cannot be read", because=str(error))
            await refuse(context, TryAgain("the ledger cannot be read just now", SECOND))
        except Exception:
            await fail(context, handler.__name__)

    return answer


async def refuse(context: Context, refusal: Refusal) -> NoReturn:
    """Ends the call with the refusal's status. What is raised has the refusal as its cause."""
    try:
        await _abort(context, code_of(refusal), status_of(refusal))
    except grpc.aio.AbortError as aborted:
        raise aborted from refusal


async def fail(context: Context, what: str) -> NoReturn:
    """Ends the call for a fault of ours, which the log has with the incident's id."""
    incident = str(uuid4())
    log.exception("a call failed", call=what, incident=incident)
    await _abort(context, grpc.StatusCode.INTERNAL, internal(incident))


async def _abort(context: Context, code: grpc.StatusCode, status: status_pb2.Status) -> NoReturn:
    await context.abort(code, status.message, trailers(status))
    raise AssertionError("abort always raises")


def _wait(remaining: float) -> float:
    return max(0.001, min(LONGEST_WAIT, remaining - MARGIN))


def _too_late(servicer: object, request: Message, context: Context) -> TryAgain:
    """What is said when time runs out: of a change that its outcome is open, of a question only to ask again."""
    if "request_id" not in request.DESCRIPTOR.fields_by_name:
        return TryAgain("the ledger did not confirm the answer in time; ask again", SECOND)
    return OutcomePending(
        "the outcome is not known yet; send the same request, with the same request_id, again",
        SECOND,
        _pending_metadata(servicer, request, context),
    )


def _pending_metadata(servicer: object, request: Message, context: Context) -> dict[str, str]:
    """What the open outcome is about, where the request tells."""
    subject: Callable[[Message, Context], dict[str, str]] | None = getattr(servicer, "subject_of", None)
    return {} if subject is None else {name: key for name, key in subject(request, context).items() if key}
