"""What the guard keeps and logs of those who ask for what there is not."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from rear.domain.refusals import Refusal
from rear.rpc import guard as module
from rear.rpc.guard import Guard

MALLORY = "spiffe://local.test/guest/mallory"


class _Callers:
    """Mallory, who may do nothing."""

    def identity_of(self, _: object) -> str:
        return MALLORY

    def allows(self, caller: str, any_of: object) -> bool:
        return False


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    async def refuse(_: object, refusal: Refusal) -> None:
        raise refusal

    monkeypatch.setattr(module, "refuse", refuse)
    return Guard(_Callers())


async def asked(guard: Guard, method: str) -> Any:
    """What stands before the handler of a method, after it refused mallory."""

    async def find(_: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda *_: None)

    details: Any = SimpleNamespace(method=method)
    handler = await guard.intercept_service(find, details)
    with pytest.raises(Refusal):
        await handler.unary_unary(b"", None)
    return handler.unary_unary


async def test_methods_that_callers_make_up_are_not_kept(guard: Guard) -> None:
    kept = [weakref.ref(await asked(guard, f"/rear.v1.ContractService/Made{n}")) for n in range(20)]
    gc.collect()
    assert not [guarded for guarded in kept if guarded() is not None]


async def test_a_refused_caller_is_logged_once_for_each_rpc_that_there_is(guard: Guard) -> None:
    reserve, buy = "/rear.v1.ContractService/ReserveFlavour", "/rear.v1.ContractService/PurchaseFlavour"
    with capture_logs() as logs:
        for n in range(20):
            for method in (reserve, buy, f"/rear.v1.ContractService/Made{n}"):
                await asked(guard, method)
    assert [entry["method"] for entry in logs] == [reserve, buy, "/rear.v1.ContractService/Made0"]
