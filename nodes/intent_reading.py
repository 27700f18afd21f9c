"""How an intent is read that was handed in, whichever form it has (workflow step 2)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from nodes.intent_document import read_document
from nodes.service_handler import ReadIntent
from rear.documents import DocumentError
from rear.domain.intent import Intent
from rear.domain.intent_rules import check_times
from rear.domain.refusals import InvalidField
from rear.domain.window import Duration, Instant
from rear.v1 import intent_service_pb2
from rear.wire.intents import LARGEST_INTENT, intent_from

DOCUMENT: Final = "document"
INTENT: Final = "intent"


class IntentReader:
    """Reads documents on a thread of its own, one after the other.

    A long one takes as long as thousands of reservations, and with many at once these would wait for all of them. One
    whose caller has gone before its turn is not read.
    """

    def __init__(self, skew: Duration) -> None:
        """`skew` is by how much callers' clocks may differ from this one's."""
        self._skew = skew
        self._thread = ThreadPoolExecutor(1, "documents")

    def reader(self, request: intent_service_pb2.SubmitIntentRequest) -> ReadIntent:
        """What reads the intent of a request. Raises InvalidField, as that does."""
        form = request.WhichOneof("form")
        if form is None:
            raise InvalidField("form", "is required: an intent, or a document")
        if form == DOCUMENT:
            return partial(self._from_document, request.document)
        intent = intent_from(request.intent, INTENT)

        async def read(now: Instant) -> Intent:
            check_times(intent, now, self._skew, INTENT)
            return intent

        return read

    async def _from_document(self, text: str, now: Instant) -> Intent:
        size = len(text.encode())
        if size > LARGEST_INTENT:
            raise InvalidField(DOCUMENT, f"has {size} bytes; {LARGEST_INTENT} at most")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read_document, text, now, self._skew)
        except DocumentError as error:
            where = f"{DOCUMENT}.{error.where}" if error.where else DOCUMENT
            line = f"line {error.line}: " if error.line else ""
            raise InvalidField(where, f"{line}{error.message}") from None
