"""Clients of Flower's server that cost next to nothing: ``bare.py PORT PARTICIPANTS PARAMETERS``.

All are threads of one process on Flower's own gRPC service, run by the Python that has Flower. Each has its answer
serialized beforehand and does not parse what it receives, so that the server alone is measured; Flower's own clients
are in `clients`. A line on standard input begins a round; its seconds, from the first byte that the first client sends
to the last that the last one receives, are the answer.
"""

from __future__ import annotations

import queue
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc  # type: ignore[import-untyped]  # lives in an environment of its own
import numpy as np
from flwr.common import ndarrays_to_parameters  # type: ignore[import-not-found]
from flwr.proto.transport_pb2 import (  # type: ignore[import-not-found]
    ClientMessage,
    Code,
    Parameters,
    Status,
)

LARGEST_BYTES = 512 * 1024 * 1024
JOIN = "/flwr.proto.FlowerService/Join"
PATIENCE_SECONDS = 300.0


def answer(parameters: int) -> bytes:
    """Serialize what every client answers: one array of float32, trained on one example."""
    array = ndarrays_to_parameters([np.full(parameters, 0.5, np.float32)])
    weights = Parameters(tensors=array.tensors, tensor_type=array.tensor_type)
    trained = ClientMessage.FitRes(
        status=Status(code=Code.OK, message=""), parameters=weights, num_examples=1
    )
    message: bytes = ClientMessage(fit_res=trained).SerializeToString()
    return message


class Participant:
    """One gRPC stream."""

    def __init__(self, port: int) -> None:
        """Connect; the server pushes its first instruction once all are there."""
        limits = [("grpc.max_send_message_length", LARGEST_BYTES)]
        limits += [("grpc.max_receive_message_length", LARGEST_BYTES), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=limits)
        self._sent: queue.Queue[bytes] = queue.Queue()
        grpc.channel_ready_future(self._channel).result(timeout=PATIENCE_SECONDS)
        join = self._channel.stream_stream(JOIN, request_serializer=None, response_deserializer=None)
        self._received: Any = join(iter(self._sent.get, None))

    def send(self, message: bytes) -> None:
        """Contribute."""
        self._sent.put(message)

    def wait(self) -> None:
        """Receive the next instruction, with the model."""
        next(self._received)


def main() -> None:
    """Join, then run one round for each line that comes."""
    port, participants, parameters = map(int, sys.argv[1:])
    people = [Participant(port) for _ in range(participants)]
    message = answer(parameters)

    def contribute(person: Participant) -> None:
        person.send(message)
        person.wait()

    with ThreadPoolExecutor(participants) as pool:
        list(pool.map(Participant.wait, people))
        print("ready", flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            list(pool.map(contribute, people))
            print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
