"""A relay between a client and a server that can lose what goes one way or the other, without a word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Flag, auto
from types import TracebackType
from typing import Self


class Way(Flag):
    """Which way something goes."""

    TO_SERVER = auto()
    TO_CLIENT = auto()
    BOTH = TO_SERVER | TO_CLIENT


class Relay:
    """Listens on `port` and forwards to the port that `target` gives for each connection.

    What is held back stays on its way, as on a network that drops packets: it goes on once the way is open again,
    where the connection is still there.
    """

    def __init__(self, target: Callable[[], int]) -> None:
        self.port = 0
        self._target = target
        self._held = Way(0)
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        self._cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def holding(self, way: Way) -> AsyncIterator[None]:
        """Nothing goes that way inside of the context; connections stay open, and new ones are taken."""
        self._held = way
        try:
            yield
        finally:
            self._held = Way(0)
            self._tell()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target())
        except OSError:
            writer.close()
            return
        self._writers |= {writer, to_writer}
        for source, sink, way in ((reader, to_writer, Way.TO_SERVER), (to_reader, writer, Way.TO_CLIENT)):
            task = asyncio.create_task(self._pump(source, sink, way))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                while way in self._held:
                    await self._moved.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
        self._writers.discard(sink)
