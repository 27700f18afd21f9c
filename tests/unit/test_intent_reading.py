"""How intents are read that were handed in."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from nodes import intent_reading
from nodes.intent_document import read_document
from nodes.intent_reading import IntentReader
from rear.domain.demand import Demand
from rear.domain.intent import Component, Intent, Workload
from rear.domain.quantities import Quantities
from rear.domain.refusals import InvalidField
from rear.domain.window import SECOND, Duration, Instant
from rear.v1 import intent_pb2
from rear.v1.intent_service_pb2 import SubmitIntentRequest
from rear.wire.intents import write_intent

NOW = Instant(1_800_000_000 * SECOND)
INTENT = Intent("shop", (Component("web", Demand(Quantities({"pods": 1})), Workload(("serve",))),))


async def test_documents_are_read_one_after_the_other_and_not_at_all_for_those_who_have_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    side_by_side: list[int] = []
    busy, may_go_on = threading.Semaphore(1), threading.Event()

    def read(text: str, *_: object) -> Intent:
        begun.append(text)
        if not busy.acquire(blocking=False):
            side_by_side.append(1)
            return INTENT
        may_go_on.wait(5)
        time.sleep(0.001)
        busy.release()
        return INTENT

    monkeypatch.setattr(intent_reading, "read_document", read)
    reader = IntentReader(Duration(0))

    def reading(text: str) -> asyncio.Task[Intent]:
        async def read_it() -> Intent:
            return await reader.reader(SubmitIntentRequest(document=text))(NOW)

        return asyncio.create_task(read_it())

    tasks = [reading(f"document {n}") for n in range(8)]
    await asyncio.sleep(0)
    tasks[7].cancel()
    await asyncio.sleep(0)
    may_go_on.set()

    assert await asyncio.gather(*tasks[:7]) == [INTENT] * 7
    await reading("another")
    assert not side_by_side
    assert begun == [*(f"document {n}" for n in range(7)), "another"]


@pytest.mark.parametrize("form", ["intent", "document"])
async def test_what_lies_in_the_past_is_refused_with_the_field_of_the_form_that_was_sent(form: str) -> None:
    document = """
        name: shop
        components:
        - name: web
          quantities: {pods: 1}
          window: {start: 2027-01-15T07:00:00Z}
          workload: {command: [serve]}
    """
    message = intent_pb2.Intent()
    write_intent(message, read_document(document, Instant(0), Duration(0)))
    request = SubmitIntentRequest(document=document) if form == "document" else SubmitIntentRequest(intent=message)

    with pytest.raises(InvalidField) as refused:
        await IntentReader(Duration(0)).reader(request)(NOW)

    assert refused.value.field == f"{form}.components[0].window.start"
