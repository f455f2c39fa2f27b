"""Participants of the v4 wire reduced to what costs nothing, and the tasks that they take part in.

They are threads of one process that send frames built beforehand, so that the server is what is measured. They speak
to Disco and to the minimal Node server alike: what Disco knows from its task, Node reads from the query string.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np

from benchmarks.load.raw_client import RawClient, frame, reply_bytes

FLOAT32 = 0x17
WEIGHT_DATA = 0x1A


class Participant:
    """One v4 participant on a raw socket."""

    def __init__(self, port: int, task: str, participants: int = 2, *, verdicts: bool = False) -> None:
        """Join; `verdicts` asks to be told what becomes of each contribution."""
        self._client = RawClient(port, f"/federated/{task}?participants={participants}")
        hello: dict[str, Any] = {"type": "ClientConnected"}
        if verdicts:
            hello["extensions"] = ["verdicts"]
        self.hello = frame(msgpack.packb(hello))
        self.send(self.hello)
        self.wait_for(b"NewFederatedNodeInfo")

    @property
    def socket(self) -> Any:
        """The socket, for whoever waits for many."""
        return self._client.socket

    def send(self, message: bytes | memoryview) -> None:
        """Send one frame."""
        self._client.socket.sendall(message)

    def wait_for(self, kind: bytes) -> int:
        """Receive messages up to and including the first of a type; returns the bytes of its frame."""
        while True:
            head, size = self._client.receive()
            if kind in head:
                return reply_bytes(size)

    def expect_accepted(self) -> None:
        """Wait for the verdict on a contribution.

        Raises:
            RuntimeError: it was not accepted, so that nothing that was to be measured has happened.
        """
        while b"ContributionVerdict" not in (head := self._client.receive()[0]):
            pass
        if b"accepted" not in head:
            raise RuntimeError(f"a contribution was not accepted: {head!r}")

    def close(self) -> None:
        """Leave."""
        self._client.close()


@lru_cache(maxsize=1)  # all servers have the same round in turn
def update_frame(parameters: int, round_: int) -> bytes:
    """Build the frame of one contribution: one tensor of float32."""
    values = np.full(parameters, 0.5, "<f4").tobytes()
    payload = msgpack.packb([{"shape": [parameters], "data": msgpack.ExtType(FLOAT32, values)}])
    return frame(msgpack.packb({"type": "SendPayload", "round": round_, "payload": payload}))


def post_task(port: int, task: str, participants: int, parameters: int) -> None:
    """Add a task whose model is one tensor."""
    specs = [{"name": "weights", "shape": [parameters], "dtype": "float32"}]
    artifacts = {
        "modelTopology": {"class_name": "Sequential", "config": {"name": task, "layers": []}},
        "weightSpecs": specs,
        "weightData": msgpack.ExtType(WEIGHT_DATA, bytes(4 * parameters)),
    }
    document = {
        "id": task,
        "dataType": "tabular",
        "displayInformation": {"title": task, "summary": {"preview": task, "overview": task}},
        "trainingInformation": {
            "scheme": "federated", "aggregationStrategy": "mean", "tensorBackend": "tfjs", "epochs": 1,
            "batchSize": 1, "roundDuration": 1, "validationSplit": 0, "minNbOfParticipants": participants,
            "inputColumns": ["x"], "outputColumn": "y",
        },
    }  # fmt: skip
    body = msgpack.packb({"task": document, "model": msgpack.packb([0, artifacts])})
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/tasks", body, {"Content-Type": "application/msgpack"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=120).read()


def at_once(people: Sequence[Participant], work: Callable[[Participant], None]) -> float:
    """Let everybody work in a thread of its own; returns the seconds from the start until the last has finished."""
    barrier = threading.Barrier(len(people) + 1)

    def run(person: Participant) -> None:
        barrier.wait()
        work(person)

    with ThreadPoolExecutor(len(people)) as pool:
        futures = [pool.submit(run, person) for person in people]
        barrier.wait()
        start = time.perf_counter()
        for future in futures:
            future.result()
        return time.perf_counter() - start


def together(people: Sequence[Participant], message: bytes, *, staggered: bool = False) -> float:
    """Let everybody contribute, at once or one after the other; returns the seconds until the last has its result."""
    turn = threading.Lock()

    def contribute(person: Participant) -> None:
        with turn if staggered else nullcontext():
            person.send(message)
        person.wait_for(b"ReceiveServerPayload")

    return at_once(people, contribute)
