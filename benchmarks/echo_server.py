"""A bare gRPC server as the node is one: its loop, its options. It takes bytes, answers bytes, and does nothing."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any, Final

import click
import grpc

from rear.process import run
from rear.rpc.server import OPTIONS

SERVICE: Final = "rear.benchmarks.Echo"
METHOD: Final = "Echo"


@click.command()
@click.option("--response-bytes", type=click.IntRange(0), required=True)
@click.option("--ready-file", type=click.Path(path_type=Path), required=True)
def main(response_bytes: int, ready_file: Path) -> None:
    """Serve until SIGTERM; the ready file tells where."""
    run(_serve(bytes(response_bytes), ready_file))


async def _serve(response: bytes, ready_file: Path) -> None:
    async def echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return response

    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {METHOD: grpc.unary_unary_rpc_method_handler(echo)}
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    partial = ready_file.with_suffix(".partial")
    partial.write_text(f"127.0.0.1:{port}")
    partial.rename(ready_file)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    main()
