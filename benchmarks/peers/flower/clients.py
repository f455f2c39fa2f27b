"""Flower's own clients for one cell: ``clients.py PORT PARTICIPANTS PARAMETERS``; run by the Python that has Flower.

Each is a `NumPyClient` under `start_client`, which parses its instructions and serializes its answer as Flower does; to
train costs nothing, as `fit` returns an array that is there already. They wait for each other within `fit`. A line on
standard input lets all of them return; the round's seconds, from the first that returns to the last that is called
again, are the answer: they have the clients' own work in them, beside the server's.

There are as many processes as cores, and the clients are threads of these: those of one process share an interpreter.
A process each is slower with many clients on few cores (32 of 1M parameters on two: half as much again, and 3.2 GB), a
single process is slower with large models (2 of 10M: a fifth).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

import numpy as np
from flwr.client import (  # type: ignore[import-not-found]  # lives in an environment of its own
    NumPyClient,
    start_client,
)
from numpy.typing import NDArray

LARGEST_BYTES = 512 * 1024 * 1024

Arrays = list[NDArray[np.float32]]


class Client(NumPyClient):  # type: ignore[misc]  # as above
    """A client that has trained already."""

    def __init__(self, trained: NDArray[np.float32], harness: Connection) -> None:
        self._trained = trained
        self._harness = harness
        self._left = 0.0

    def fit(self, parameters: Arrays, config: Mapping[str, object]) -> tuple[Arrays, int, dict[str, float]]:
        """Tell when it left and when it is back, and wait for the next round."""
        self._harness.send((self._left, time.perf_counter()))
        self._harness.recv_bytes()
        self._left = time.perf_counter()
        return [self._trained], 1, {}


def take_part(port: int, trained: NDArray[np.float32], number: int, harness: Connection) -> None:
    """Run one client; its end of the harness closes when it fails."""
    with harness:
        # gRPC gives all channels of a process that have the same options one connection; each is to have its own
        start_client(
            server_address=f"127.0.0.1:{port}",
            client=Client(trained, harness).to_client(),
            grpc_max_message_length=LARGEST_BYTES - number,
        )


def run(port: int, trained: NDArray[np.float32], harnesses: Sequence[Connection]) -> None:
    """Run one process's share of the clients."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    for number, harness in enumerate(harnesses):
        threading.Thread(target=take_part, args=(port, trained, number, harness)).start()


def start(port: int, participants: int, parameters: int) -> list[Connection]:
    """Start every client; returns the harness's end of each.

    The processes are forked, so that Flower is imported once. That is safe as this one never uses gRPC itself.
    """
    forked = multiprocessing.get_context("fork")
    trained = np.full(parameters, 0.5, np.float32)
    processes = min(participants, os.cpu_count() or 1)
    found: list[Connection] = []
    for first in range(processes):
        ours, theirs = zip(*(forked.Pipe() for _ in range(first, participants, processes)), strict=True)
        forked.Process(target=run, args=(port, trained, theirs), daemon=True).start()
        for end in theirs:
            end.close()  # else nobody would notice that a client has failed
        found.extend(ours)
    return found


def wait_for(harnesses: Sequence[Connection]) -> float:
    """Wait until every client has the next model; returns the seconds since the first one left."""
    left, back = zip(*(harness.recv() for harness in harnesses), strict=True)
    return float(max(back) - min(left))


def main() -> None:
    """Join, then run one round for each line that comes."""
    harnesses = start(*map(int, sys.argv[1:]))
    wait_for(harnesses)
    print("ready", flush=True)
    for _ in sys.stdin:
        for harness in harnesses:
            harness.send_bytes(b"begin")
        print(wait_for(harnesses), flush=True)


if __name__ == "__main__":
    main()
