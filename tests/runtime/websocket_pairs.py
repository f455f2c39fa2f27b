"""A server's WebSocket and the client's end of its connection, in memory."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair

from disco.runtime import byte_stream
from disco.runtime.fast_websocket import FastWebSocket

LIMIT = 1_000_000


@dataclass
class Client:
    """The client's end: bytes in, the server's frames out."""

    stream: Any
    buffer: bytearray = field(default_factory=bytearray)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def frame(self) -> tuple[int, bytes] | None:
        """Return the next frame's opcode and payload; None when the end comes before it is whole."""
        if not await self.take(2):
            return None
        opcode, size, start = self.buffer[0] & 0x7F, self.buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if not await self.take(start):
                return None
            size = int.from_bytes(self.buffer[2:start])
        if not await self.take(start + size):
            return None
        payload = bytes(self.buffer[start : start + size])
        del self.buffer[: start + size]
        return opcode, payload

    async def take(self, size: int) -> bool:
        """Receive until the buffer holds so many bytes; False if the end comes before."""
        while len(self.buffer) < size:
            try:
                data = await self.stream.receive_some(65_536)
            except trio.BrokenResourceError:
                return False
            if not data:
                return False
            self.buffer += data
        return True


def in_memory(**options: Any) -> tuple[FastWebSocket, Client]:
    """Connect with unbounded buffers: sending never waits."""
    client, server = memory_stream_pair()
    return FastWebSocket(byte_stream.over(server), LIMIT, **options), Client(client)


def in_lockstep(**options: Any) -> tuple[FastWebSocket, Client]:
    """Connect without buffers: sending waits until the other end has taken every byte."""
    client, server = lockstep_stream_pair()
    return FastWebSocket(byte_stream.over(server), LIMIT, **options), Client(client)


def socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Connect two TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = trio.socket.from_stdlib_socket(socket.create_connection(listener.getsockname()))
        right = trio.socket.from_stdlib_socket(listener.accept()[0])
    return trio.SocketStream(left), trio.SocketStream(right)


def on_sockets(**options: Any) -> tuple[FastWebSocket, Client]:
    """Connect by TCP."""
    client, server = socket_pair()
    return FastWebSocket(byte_stream.over(server), LIMIT, **options), Client(client)
