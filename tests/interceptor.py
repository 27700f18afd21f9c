"""What stands between a client and a server, and can keep back what the server answers."""

from __future__ import annotations

import asyncio

from rear.ledger.connection import Endpoint


class Interceptor:
    """A relay to `target`. While `mute`, what the server answers goes nowhere; `cut` ends every connection."""

    def __init__(self, target: Endpoint) -> None:
        self._target = target
        self.mute = False
        self.cut_on_answer = False
        self.answers_kept_back = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Interceptor:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def endpoint(self) -> Endpoint:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return Endpoint(f"nats://127.0.0.1:{port}", self._target.user, self._target.password)

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.url.removeprefix("nats://").partition(":")
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        self._writers += [writer, server_writer]
        for source, sink, answers in ((reader, server_writer, False), (server_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, answers))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool) -> None:
        while data := await source.read(1 << 16):
            if answers and self.mute:
                self.answers_kept_back.set()
                if self.cut_on_answer:
                    self.cut()
                continue
            sink.write(data)
            await sink.drain()
        sink.close()
