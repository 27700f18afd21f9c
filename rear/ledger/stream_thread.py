"""A connection to NATS on an event loop in a thread of its own, for callers without a loop.

The `eventsourcing` library is synchronous and threaded; what runs here may be called from any of its threads, and
fails with the library's errors.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from eventsourcing.persistence import DatabaseError, InterfaceError, OperationalError, ProgrammingError

from rear.ledger.connection import Connection, Endpoint
from rear.ledger.errors import LedgerError, LedgerMissing, LedgerUnavailable, OutcomeUnknown

T = TypeVar("T")

CONNECT_TIMEOUT: Final = 20.0
"""Seconds to wait for the server at first."""


class StreamThread:
    """A connection on a thread of its own. It ends with `close`, or when nobody holds this any more."""

    def __init__(self, endpoint: Callable[[], Endpoint], name: str, *, connect_timeout: float | None = None) -> None:
        """Connects. Raises OperationalError where there is no server within `connect_timeout` (CONNECT_TIMEOUT)."""
        loop = asyncio.new_event_loop()
        self._loop = loop
        self.connection = Connection(endpoint, name=name)
        """For streams whose work is handed to `call`."""
        self._thread = threading.Thread(target=_run, args=(loop,), name=name, daemon=True)
        self._thread.start()
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end, loop, self.connection)
        try:
            self.call(self.connection.open(CONNECT_TIMEOUT if connect_timeout is None else connect_timeout))
        except BaseException:
            self.close()
            raise

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns. Ledger errors come as the library's; must not be called on the thread itself."""
        with self._lock:
            if not self._end.alive:
                work.close()
                raise InterfaceError("the recorder is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except (LedgerUnavailable, OutcomeUnknown) as error:
            if not self._end.alive:
                raise InterfaceError("the recorder was closed") from error
            raise OperationalError(str(error)) from error
        except LedgerMissing as error:
            raise ProgrammingError(str(error)) from error
        except LedgerError as error:
            raise DatabaseError(str(error)) from error
        except asyncio.CancelledError as error:
            raise InterfaceError("the recorder was closed") from error

    def close(self) -> None:
        """Disconnects and ends the thread. Whoever waits for an answer gets an InterfaceError."""
        with self._lock:
            self._end()
        self._thread.join()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
    """Asks the thread to end; does not wait for it, because a finaliser may run on any thread, also on that one."""
    loop.call_soon_threadsafe(lambda: loop.create_task(_leave(loop, connection)))


async def _leave(loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
    try:
        await connection.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await loop.shutdown_asyncgens()
    finally:
        loop.stop()
