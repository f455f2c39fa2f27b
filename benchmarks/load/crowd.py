"""Many idle participants: ``python -m benchmarks.load.crowd --port PORT --count 10000 --tasks 100``.

Opens WebSockets as fast as the server takes them, prints a line of JSON, waits for a line, lets everybody say hello,
prints a second line, and stays until standard input ends. The tasks are ``crowd_0``, ``crowd_1``, …
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence

import msgpack

from benchmarks.load.raw_client import SILENCE, frame
from benchmarks.processes import allow_files

#: Connections that are on their way at a time; below the backlogs of all servers.
WINDOW = 64
#: Source addresses, as one has no more than 28,000 ports.
SOURCES = 4
FILES_BESIDE = 200


def connect(port: int, number: int, tasks: int) -> socket.socket:
    """Ask for one WebSocket."""
    source = (f"127.0.0.{2 + number % SOURCES}", 0)
    client = socket.create_connection(("127.0.0.1", port), source_address=source)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, SILENCE)
    key = base64.b64encode(os.urandom(16)).decode()
    client.sendall(
        f"GET /federated/crowd_{number % tasks} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return client


def expect(client: socket.socket, words: bytes) -> None:
    """Receive until the words have come."""
    received = b""
    while words not in received:
        more = client.recv(4096)
        if not more:
            raise ConnectionError(f"the server closed in place of {words!r}: {received!r}")
        received += more


def in_windows(count: int, ask: Callable[[int], socket.socket], words: bytes) -> list[socket.socket]:
    """Ask for so many, a window at a time ahead of the answers."""
    waiting: list[socket.socket] = []
    for number in range(count):
        waiting.append(ask(number))
        if number >= WINDOW:
            expect(waiting[number - WINDOW], words)
    for client in waiting[max(0, count - WINDOW) :]:
        expect(client, words)
    return waiting


def tell(begun: float, count: int) -> None:
    """Print how many a second there were."""
    print(json.dumps({"per_second": count / (time.perf_counter() - begun)}), flush=True)


def greet(clients: Sequence[socket.socket]) -> None:
    """Let everybody say hello."""
    hello = frame(msgpack.packb({"type": "ClientConnected"}))

    def ask(number: int) -> socket.socket:
        clients[number].sendall(hello)
        return clients[number]

    in_windows(len(clients), ask, b"NewFederatedNodeInfo")


def main() -> None:
    """Connect, say hello, stay."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.crowd")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--tasks", type=int, required=True)
    options = parser.parse_args()
    if not allow_files(options.count + FILES_BESIDE):
        raise SystemExit(f"the system does not allow {options.count} open files")
    begun = time.perf_counter()
    clients = in_windows(
        options.count, lambda number: connect(options.port, number, options.tasks), b"\r\n\r\n"
    )
    tell(begun, options.count)
    sys.stdin.readline()
    begun = time.perf_counter()
    greet(clients)
    tell(begun, options.count)
    sys.stdin.read()


if __name__ == "__main__":
    main()
