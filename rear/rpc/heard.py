"""How a call to a peer failed, in the domain's words: the way back of `rear.rpc.errors`.

What a peer says goes into the ledger, so no more of it is taken than this service would say itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

import grpc

from rear.domain import refusals
from rear.domain.counter_offer import CounterOffer
from rear.domain.refusals import (
    CapacityExceeded,
    InvalidField,
    NotAuthenticated,
    NotServed,
    PermissionDenied,
    Refusal,
    RefusedElsewhere,
)
from rear.managers.consumer.peers import Unanswered
from rear.rpc.errors import LONGEST_FACT, LONGEST_MESSAGE, cut, cut_facts
from rear.rpc.refused import CallFailed, Refused, UntrueAnswer, WrongService
from rear.rpc.tls_files import TlsError
from rear.v1 import contract_pb2
from rear.wire.heard import Unusable, counter_offer_from

UNTRUE: Final = "UNTRUE_ANSWER"
WRONG_SERVICE: Final = "WRONG_SERVICE"

LONGEST_REASON: Final = 63
"""Bytes of a stable reason, as google.rpc.ErrorInfo has it."""

MOST_FACTS: Final = 16
"""Entries of the metadata that are taken."""

BY_REASON: Final[Mapping[str, type[Refusal]]] = {
    kind.reason: kind
    for kind in (
        refusals.FlavourNotFound,
        refusals.FlavourChanged,
        refusals.ContractNotFound,
        refusals.ServiceRequestNotFound,
        refusals.OperationNotFound,
        refusals.WrongState,
        refusals.TtpPassed,
        refusals.RevisionMismatch,
        refusals.RequestIdReused,
        refusals.PriceAboveMaximum,
        refusals.WrongProvider,
        refusals.TooManyWatches,
        refusals.NotAuthenticated,
        refusals.PermissionDenied,
    )
}
"""Refusals that are made of a message and metadata alone."""

OPEN: Final = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # without a reason it is gRPC's own, about a message's size
    }
)
"""Codes that without a reason of ours leave open what was done."""


def in_domain(error: CallFailed | UntrueAnswer | Unusable | TlsError) -> Refusal | Unanswered:
    """The refusal that the peer meant; `Unanswered` where it said nothing that can be used."""
    if isinstance(error, UntrueAnswer | Unusable):
        return Unanswered(_number(grpc.StatusCode.INTERNAL), cut(str(error), LONGEST_MESSAGE), UNTRUE)
    if isinstance(error, TlsError):
        return Unanswered(_number(grpc.StatusCode.UNAUTHENTICATED), str(error))
    if isinstance(error, WrongService):
        return Unanswered(_number(error.code), cut(error.message, LONGEST_MESSAGE), WRONG_SERVICE)
    if not isinstance(error, Refused) or (error.code in OPEN and error.reason in ("", "INTERNAL")):
        said = cut(error.message, LONGEST_MESSAGE) or error.code.name
        return Unanswered(_number(error.code), said, cut(error.reason, LONGEST_REASON))
    return _refusal(error)


def _refusal(error: Refused) -> Refusal:
    message = cut(error.message, LONGEST_MESSAGE)
    metadata = cut_facts(dict(islice(error.metadata.items(), MOST_FACTS)))
    if error.reason == CapacityExceeded.reason:
        return CapacityExceeded(message, _counter_offer(error.counter_offer))
    if error.violations and error.reason in (InvalidField.reason, NotServed.reason):
        first = error.violations[0]
        kind = InvalidField if error.reason == InvalidField.reason else NotServed
        return kind(cut(first.field, LONGEST_FACT), cut(first.description, LONGEST_MESSAGE))
    known = BY_REASON.get(error.reason)
    if known is None and error.code is grpc.StatusCode.PERMISSION_DENIED:
        known = PermissionDenied
    if known is None and error.code is grpc.StatusCode.UNAUTHENTICATED:
        known = NotAuthenticated
    if known is not None:
        return known(message, metadata)
    return RefusedElsewhere(message, {**metadata, "reason": cut(error.reason, LONGEST_REASON), "code": error.code.name})


def _counter_offer(message: contract_pb2.CounterOffer | None) -> CounterOffer | None:
    """None also where it makes no sense: what was refused is refused all the same."""
    try:
        return None if message is None else counter_offer_from(message)
    except Unusable:
        return None


def _number(code: grpc.StatusCode) -> int:
    number: int = code.value[0]
    return number
