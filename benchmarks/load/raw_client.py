"""A WebSocket client reduced to what costs nothing: plain sockets, frames built beforehand."""

from __future__ import annotations

import base64
import os
import socket
import struct

import numpy as np

BINARY = 0x82
RECEIVE_BYTES = 4 * 1024 * 1024
#: What is kept of a message, to know its type.
HEAD_BYTES = 256
#: Silence after which a server is given up. The kernel keeps it: Python's own timeouts cost a system call a read.
SILENCE = struct.pack("ll", 120, 0)


def frame(payload: bytes) -> bytes:
    """Write one masked binary frame."""
    key = os.urandom(4)
    size = len(payload)
    if size < 126:
        header = bytes((BINARY, 0x80 | size))
    elif size < 1 << 16:
        header = bytes((BINARY, 0x80 | 126)) + struct.pack(">H", size)
    else:
        header = bytes((BINARY, 0x80 | 127)) + struct.pack(">Q", size)
    words = np.frombuffer(payload + bytes(-size % 4), np.uint32) ^ np.frombuffer(key, np.uint32)
    return b"".join((header, key, words.view(np.uint8)[:size].data))


def reply_bytes(size: int) -> int:
    """Return how long a server's frame with `size` bytes of payload is."""
    return size + (2 if size < 126 else 4 if size < 1 << 16 else 10)


class RawClient:
    """One connection; a WebSocket if it has a path, plain TCP else."""

    def __init__(self, port: int, path: str | None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, SILENCE)
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._websocket = path is not None
        if path is not None:
            self._upgrade(path)

    def _upgrade(self, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(answer.decode())

    def wrap(self, payload: bytes) -> bytes:
        """Return what to send for one message."""
        return frame(payload) if self._websocket else payload

    def skip(self, size: int) -> None:
        """Receive one message of `size` bytes and drop it."""
        missing = reply_bytes(size) if self._websocket else size
        while missing:
            count = self.socket.recv_into(self._buffer[:missing])
            if not count:
                raise ConnectionError("the server has gone")
            missing -= count

    def receive(self) -> tuple[bytes, int]:
        """Receive one message; returns its first bytes and its size, and drops the rest."""
        size = self._exactly(2)[1]
        if size >= 126:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        head = self._exactly(min(size, HEAD_BYTES))
        missing = size - len(head)
        while missing:
            count = self.socket.recv_into(self._buffer[: min(missing, len(self._buffer))])
            if not count:
                raise ConnectionError("the server has gone")
            missing -= count
        return head, size

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            more = self.socket.recv(count - len(received))
            if not more:
                raise ConnectionError("the server has gone")
            received += more
        return received

    def close(self) -> None:
        """Leave without a word."""
        self.socket.close()
