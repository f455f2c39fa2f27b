"""A bridge from WebSockets over HTTP/1.1, which the Autobahn suite speaks, to the same frames over HTTP/2."""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import suppress
from functools import partial

import trio

from tests.web.h2_tunnel import tunnel

#: RFC 6455, section 1.3.
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


async def bridge(address: str, task_status: trio.TaskStatus[str]) -> None:
    """Take WebSockets on a free port and pass their bytes on to a server (host:port); starts with the bridge's URL."""
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, partial(_carry, address), 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        task_status.started(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")


async def _carry(address: str, client: trio.SocketStream) -> None:
    async with client:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await client.receive_some()
        found = re.search(rb"Sec-WebSocket-Key: *(\S+)", head, re.IGNORECASE)
        if found is None:  # the suite asks for its own pages too
            return
        accept = base64.b64encode(hashlib.sha1(found[1] + MAGIC).digest())
        async with tunnel(address) as server:
            await client.send_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            async with trio.open_nursery() as nursery:

                async def up() -> None:
                    with suppress(*GONE):
                        await server.send_all(head.partition(b"\r\n\r\n")[2])
                        async for data in client:
                            await server.send_all(bytes(data))

                nursery.start_soon(up)
                with suppress(*GONE):
                    while data := await server.receive_some():
                        await client.send_all(data)
                nursery.cancel_scope.cancel()
