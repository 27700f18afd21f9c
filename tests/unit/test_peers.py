"""Connections to other services: kept for the next call, and not for ever."""

from __future__ import annotations

import asyncio

import pytest

from rear.domain.selector import FlavourOrder, Selector
from rear.managers.consumer.peers import Question, Unanswered
from rear.rpc import peers as module
from rear.rpc.client import Client
from rear.rpc.peers import RpcPeers
from tests.examples import NOW

MOST = 4


async def test_of_all_who_were_ever_asked_only_so_many_connections_are_kept_and_no_call_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_CLIENTS", MOST)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    closed: list[str] = []

    class Told(Client):
        async def close(self) -> None:
            closed.append(self.endpoint)
            await super().close()

    monkeypatch.setattr(module, "Client", Told)
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    peers = RpcPeers(None, "local.test")

    def ask(endpoint: str, deadline: float) -> asyncio.Task[object]:
        asking = peers.list_flavours(endpoint, "", Question(Selector(), FlavourOrder.PRICE, 1), NOW, deadline=deadline)
        return asyncio.ensure_future(asking)

    waiting = ask(f"127.0.0.1:{port}", 60)
    try:
        for number in range(1, 3 * MOST):  # at none of these ports is anybody
            with pytest.raises(Unanswered):
                await ask(f"127.0.0.1:{number}", 2)
            await asyncio.sleep(0)

        assert closed == [f"127.0.0.1:{number}" for number in range(1, 2 * MOST + 1)]
        assert not waiting.done()
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await peers.close()
        silent.close()
