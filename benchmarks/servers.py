"""Python servers that do nothing but move bytes: ``python -m benchmarks.servers disco|stock|tcp``.

*disco*: hypercorn with Disco's WebSocket layer, and the lane for large messages that a task's connections share.
*stock*: hypercorn and Quart-Trio as they are. *tcp*: Trio without HTTP or WebSocket, as the limit of what the others
could do. What they understand is told in `benchmarks.load`. The port is printed when the server listens.
"""

from __future__ import annotations

import struct
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import websocket
from quart_trio import QuartTrio

from benchmarks.echo import send_back
from disco.runtime.budget import Budget, Reservation
from disco.runtime.lane import Lane
from disco.runtime.poll import Poll
from disco.web import hypercorn_seam
from disco.web.hypercorn_seam import EXTENSION

LIMIT_BYTES = 1 << 30

poll = Poll()
budget, lane = Budget(LIMIT_BYTES), Lane()


async def disco_app(scope: Any, receive: Any, send: Any) -> None:
    """The load's paths on Disco's transport."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    gate = Reservation(budget, lane)
    transport = await scope["extensions"][EXTENSION].accept(limit_bytes=LIMIT_BYTES, gate=gate, poll=poll)
    if scope["path"] == "/echo":
        await send_back(transport)
    while (data := await transport.receive()) is not None:
        if scope["path"] == "/source":
            size, count = struct.unpack("<II", data)
            message = bytes(size)
            for _ in range(count):
                await transport.send(message)
        elif len(data) == 1:
            await transport.send(b"!")
        del data
        gate.release()
    gate.release()


stock_app = QuartTrio(__name__)


@stock_app.websocket("/echo")
async def echo() -> None:
    """See `benchmarks.load`."""
    while True:
        await websocket.send(await websocket.receive())


@stock_app.websocket("/source")
async def source() -> None:
    """See `benchmarks.load`."""
    while True:
        request = await websocket.receive()
        size, count = struct.unpack("<II", request)  # type: ignore[arg-type]  # bytes, as sent
        message = bytes(size)
        for _ in range(count):
            await websocket.send(message)


@stock_app.websocket("/sink")
async def sink() -> None:
    """See `benchmarks.load`."""
    while True:
        if len(await websocket.receive()) == 1:
            await websocket.send(b"!")


async def serve_http(app: Any) -> None:
    """Serve an ASGI app until killed."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.backlog = 1024
    config.websocket_max_message_size = LIMIT_BYTES
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.run)
        (url,) = await nursery.start(partial(hypercorn.trio.serve, app, config))
        announce(int(url.rpartition(":")[2]))


async def serve_tcp() -> None:
    """Serve plain TCP until killed."""
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, tcp_connection, 0, host="127.0.0.1"))
        announce(listener.socket.getsockname()[1])


async def tcp_connection(stream: trio.SocketStream) -> None:
    """Serve one connection; the load generator leaves without a word."""
    with suppress(OSError, trio.BrokenResourceError):
        await tcp_load(stream)


async def tcp_load(stream: trio.SocketStream) -> None:
    """Do what the connection's first 9 bytes say: a letter, size and count."""
    start = b""
    while len(start) < 9:
        start += await stream.receive_some(9 - len(start))
    size, count = struct.unpack("<II", start[1:])
    buffer = memoryview(bytearray(size))
    if start[:1] == b"d":
        await stream.receive_some(1)
        for _ in range(count):
            await stream.send_all(buffer)
    while start[:1] == b"u" and count:
        if not await receive_all(stream, buffer):
            return
        count -= 1
        if not count:
            await stream.send_all(b"!")
    while start[:1] == b"e" and await receive_all(stream, buffer):
        await stream.send_all(buffer)
    await stream.receive_some(1)


async def receive_all(stream: trio.SocketStream, buffer: memoryview) -> bool:
    """Fill the buffer; False at the end of the stream."""
    filled = 0
    while filled < len(buffer):
        count = await stream.socket.recv_into(buffer[filled:])
        if not count:
            return False
        filled += count
    return True


def announce(port: int) -> None:
    """Tell whoever started this server where it listens."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve what the command line names."""
    match sys.argv[1]:
        case "disco":
            if not hypercorn_seam.install():
                raise SystemExit("this hypercorn is unknown")
            trio.run(serve_http, disco_app)
        case "stock":
            trio.run(serve_http, stock_app)
        case "tcp":
            trio.run(serve_tcp)


if __name__ == "__main__":
    main()
