"""One load generator process: ``python -m benchmarks.load up|down|trips …``; prints one JSON object.

The servers understand, by path (a plain TCP server by the first byte of a connection, *u*, *d* or *e*):

- ``/sink``: takes messages; one of 1 byte is answered by 1 byte.
- ``/source``: a message of 8 bytes, size and count as little-endian uint32, is answered by so many of that size.
- ``/echo``: sends every message back.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.load.raw_client import RawClient, reply_bytes

#: Small messages are sent in batches of about this size, so that the generator is not the bottleneck.
BATCH_BYTES = 2_000_000


def connect(options: argparse.Namespace, path: str, mark: bytes) -> RawClient:
    """Open one connection, to a WebSocket or a plain TCP server."""
    client = RawClient(options.port, None if options.tcp else path)
    if options.tcp:
        client.socket.sendall(mark + struct.pack("<II", options.size, options.count))
    return client


def together(count: int, work: Callable[[int], None]) -> float:
    """Run `work` in so many threads at once and return the seconds until the last has finished."""
    barrier = threading.Barrier(count + 1)

    def run(index: int) -> None:
        barrier.wait()
        work(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def up(options: argparse.Namespace) -> dict[str, Any]:
    """Send `count` messages of `size` bytes on each connection; MB/s over all, until each has been acknowledged."""
    clients = [connect(options, "/sink", b"u") for _ in range(options.connections)]
    message = clients[0].wrap(os.urandom(options.size))
    batched = min(max(BATCH_BYTES // options.size, 1), options.count)
    batch = memoryview(message * batched)
    end = clients[0].wrap(b"!") if not options.tcp else b""

    def send(index: int) -> None:
        client = clients[index]
        for _ in range(options.count // batched):
            client.socket.sendall(batch)
        client.socket.sendall(end)
        client.skip(1)

    seconds = together(options.connections, send)
    sent = options.connections * (options.count // batched) * batched * options.size
    return {"megabytes_per_second": sent / seconds / 1e6}


def down(options: argparse.Namespace) -> dict[str, Any]:
    """Ask for `count` messages of `size` bytes on each connection; MB/s over all."""
    clients = [connect(options, "/source", b"d") for _ in range(options.connections)]
    request = clients[0].wrap(struct.pack("<II", options.size, options.count)) if not options.tcp else b"!"

    def receive(index: int) -> None:
        client = clients[index]
        client.socket.sendall(request)
        for _ in range(options.count):
            client.skip(options.size)

    seconds = together(options.connections, receive)
    return {"megabytes_per_second": options.connections * options.count * options.size / seconds / 1e6}


def trips(options: argparse.Namespace) -> dict[str, Any]:
    """Send a message on each connection and, whenever one came back, the next; `count` in all. Milliseconds."""
    selector = selectors.DefaultSelector()
    clients = [connect(options, "/echo", b"e") for _ in range(options.connections)]
    message = clients[0].wrap(os.urandom(options.size))
    whole = options.size if options.tcp else reply_bytes(options.size)
    missing: dict[Any, int] = {}
    sent_at: dict[Any, float] = {}
    durations: list[float] = []
    buffer = memoryview(bytearray(whole))
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ)
    start = time.perf_counter()
    for client in clients:
        missing[client.socket], sent_at[client.socket] = whole, time.perf_counter()
        client.socket.sendall(message)
    while len(durations) < options.count:
        for ready, _ in selector.select():
            socket: Any = ready.fileobj
            missing[socket] -= socket.recv_into(buffer[: missing[socket]])
            if not missing[socket]:
                now = time.perf_counter()
                durations.append(now - sent_at[socket])
                missing[socket], sent_at[socket] = whole, now
                socket.sendall(message)
    seconds = time.perf_counter() - start
    durations.sort()
    return {
        "median_milliseconds": durations[len(durations) // 2] * 1e3,
        "p99_milliseconds": durations[len(durations) * 99 // 100] * 1e3,
        "per_second": len(durations) / seconds,
    }


def main() -> None:
    """Read the command line, run one load, print its result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description="one load generator process"
    )
    parser.add_argument("load", choices=("up", "down", "trips"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, required=True, help="bytes of a message")
    parser.add_argument("--count", type=int, required=True, help="of messages on a connection; trips: in all")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--tcp", action="store_true", help="the server speaks no WebSocket")
    options = parser.parse_args()
    result = {"up": up, "down": down, "trips": trips}[options.load](options)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
