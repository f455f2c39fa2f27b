"""How long a federated round takes, and what it costs the server's memory.

    python -m benchmarks.rounds                           this checkout's server
    python -m benchmarks.rounds --against node            and the minimal Node server beside it
    python -m benchmarks.rounds --url http://host:8080    any server of the DISCO protocol (v4) that takes POST /tasks

A round is timed from the first byte that the first participant sends to the last byte that the last one receives. All
participants are threads of one process which send frames built beforehand, so that the server is what is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import msgpack
import numpy as np

from benchmarks.load.raw_client import RawClient, frame

ROOT = Path(__file__).parents[1]
#: Participants × parameters of the default run.
CELLS = tuple((k, p) for p in (10_000, 1_000_000, 10_000_000) for k in (2, 8, 32))
#: The memory of all frames that are in the generator at once is one frame a round, whatever the participants.
HEAD_BYTES = 256


@dataclass(frozen=True)
class Server:
    """A server that is measured: its port and, where known, its process."""

    name: str
    port: int
    process: int | None


@dataclass(frozen=True)
class Result:
    """One cell: seconds a round (median, best), megabytes moved a second, and megabytes of peak memory over idle."""

    server: str
    participants: int
    parameters: int
    rounds: int
    median_seconds: float
    best_seconds: float
    megabytes_per_second: float
    peak_over_idle_megabytes: float | None


class Participant:
    """One v4 participant on a raw socket."""

    def __init__(self, server: Server, task: str) -> None:
        self._client = RawClient(server.port, f"/federated/{task}")
        self._buffer = memoryview(bytearray(4 * 1024 * 1024))
        self._client.socket.sendall(frame(msgpack.packb({"type": "ClientConnected"})))
        self.wait_for(b"NewFederatedNodeInfo")

    def send(self, message: bytes) -> None:
        """Send one frame."""
        self._client.socket.sendall(message)

    def wait_for(self, kind: bytes) -> None:
        """Receive messages up to and including the first of a type."""
        while True:
            header = self._exactly(2)
            size = header[1] & 127
            if size >= 126:
                size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
            head = self._exactly(min(size, HEAD_BYTES))
            missing = size - len(head)
            while missing:
                missing -= self._client.socket.recv_into(self._buffer[: min(missing, len(self._buffer))])
            if kind in head:
                return

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            more = self._client.socket.recv(count - len(received))
            if not more:
                raise ConnectionError("the server has gone")
            received += more
        return received

    def close(self) -> None:
        """Leave."""
        self._client.close()


def update_frame(parameters: int, round_: int) -> bytes:
    """Build the frame of one contribution: one tensor of float32."""
    values = np.full(parameters, 0.5, "<f4").tobytes()
    payload = msgpack.packb([{"shape": [parameters], "data": msgpack.ExtType(0x17, values)}])
    return frame(msgpack.packb({"type": "SendPayload", "round": round_, "payload": payload}))


def post_task(port: int, task: str, participants: int, parameters: int) -> None:
    """Add a task whose model is one tensor."""
    specs = [{"name": "weights", "shape": [parameters], "dtype": "float32"}]
    artifacts = {
        "modelTopology": {"class_name": "Sequential", "config": {"name": task, "layers": []}},
        "weightSpecs": specs,
        "weightData": msgpack.ExtType(0x1A, bytes(4 * parameters)),
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


@contextmanager
def disco() -> Iterator[Server]:
    """Run this checkout's server on a free port."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as none:
        command = [sys.executable, "-m", "disco", "serve", "--port", "0", "--log-level", "error"]
        environment = {**os.environ, "DISCO_DATA_DIR": folder, "DISCO_TASKS_DIR": none, "COLUMNS": "200"}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    if found := re.match(r"address .*:(\d+)/", line):
                        yield Server("disco", int(found[1]), process.pid)
                        break
            finally:
                process.terminate()


@contextmanager
def node(participants: int) -> Iterator[Server]:
    """Run the minimal Node server for so many participants."""
    peers = ROOT / "benchmarks" / "peers"
    if not (peers / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent"], cwd=peers, check=True)
    command = ["node", "node_server.mjs", str(participants)]
    with subprocess.Popen(command, cwd=peers, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Server("node", int(process.stdout.readline()), process.pid)
        finally:
            process.terminate()


def memory(process: int | None, field: str) -> float | None:
    """Return a field of the process's memory in megabytes: VmRSS now, VmHWM at its peak."""
    if process is None:
        return None
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(found[1]) / 1000 if found else None


def forget_peak(process: int | None) -> None:
    """Let the process's peak memory begin anew (proc(5), clear_refs)."""
    if process is not None:
        Path(f"/proc/{process}/clear_refs").write_text("5")


def together(people: Sequence[Participant], message: bytes, *, staggered: bool = False) -> float:
    """Let everybody contribute, at once or one after the other; returns the seconds until the last has its result."""
    barrier = threading.Barrier(len(people) + 1)
    turn = threading.Lock()

    def contribute(person: Participant) -> None:
        barrier.wait()
        with turn if staggered else nullcontext():
            person.send(message)
        person.wait_for(b"ReceiveServerPayload")

    with ThreadPoolExecutor(len(people)) as pool:
        futures = [pool.submit(contribute, person) for person in people]
        barrier.wait()
        start = time.perf_counter()
        for future in futures:
            future.result()
        return time.perf_counter() - start


def measure(
    server: Server, task: str, participants: int, parameters: int, rounds: int, *, staggered: bool = False
) -> Result:
    """Run rounds of one cell; the first warms up and is not counted."""
    people = [Participant(server, task) for _ in range(participants)]
    forget_peak(server.process)
    idle = memory(server.process, "VmRSS")
    seconds = []
    for number in range(rounds + 1):
        message = update_frame(parameters, number)
        seconds.append(together(people, message, staggered=staggered))
    peak = memory(server.process, "VmHWM")
    for person in people:
        person.close()
    median = statistics.median(seconds[1:])
    moved = 2 * participants * parameters * 4 / 1e6
    over = peak - idle if peak is not None and idle is not None else None
    return Result(
        server.name, participants, parameters, rounds, median, min(seconds[1:]), moved / median, over
    )


def rounds_for(parameters: int, participants: int) -> int:
    """Return how many rounds make a steady median in bearable time."""
    return max(3, min(50, int(2e8 / (parameters * participants))))


def run(
    cells: Sequence[tuple[int, int]], against: Sequence[str], url: str | None, *, staggered: bool = False
) -> list[Result]:
    """Measure every cell on every server, printing each result as it comes."""
    results: list[Result] = []

    def one(server: Server, participants: int, parameters: int) -> None:
        task = f"bench_{participants}_{parameters}_{time.time_ns()}"
        if server.name != "node":
            post_task(server.port, task, participants, parameters)
        count = rounds_for(parameters, participants)
        result = measure(server, task, participants, parameters, count, staggered=staggered)
        results.append(result)
        print(line(result), flush=True)

    print(HEADER)
    for participants, parameters in cells:
        if url is not None:
            one(Server("given", int(url.rstrip("/").rpartition(":")[2]), None), participants, parameters)
            continue
        with disco() as server:
            one(server, participants, parameters)
        if "node" in against:
            with node(participants) as server:
                one(server, participants, parameters)
    return results


HEADER = f"{'server':8}{'participants':>13}{'parameters':>12}{'median ms':>11}{'best ms':>9}{'MB/s':>8}{'peak MB':>9}"


def line(result: Result) -> str:
    """Write one row of the table."""
    peak = "" if result.peak_over_idle_megabytes is None else f"{result.peak_over_idle_megabytes:.0f}"
    return (
        f"{result.server:8}{result.participants:>13}{result.parameters:>12}{result.median_seconds * 1e3:>11.1f}"
        f"{result.best_seconds * 1e3:>9.1f}{result.megabytes_per_second:>8.0f}{peak:>9}"
    )


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rounds", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--participants", type=int, nargs="*", help="default: 2 8 32")
    parser.add_argument("--parameters", type=int, nargs="*", help="default: 10000 1000000 10000000")
    parser.add_argument("--against", nargs="*", default=[], choices=["node"], help="measure these beside it")
    parser.add_argument("--url", help="measure a server on this machine that runs already")
    parser.add_argument("--staggered", action="store_true", help="participants send one after the other")
    parser.add_argument("--json", type=Path, help="write the results to a file")
    options = parser.parse_args()
    cells = [
        (k, p)
        for p in options.parameters or sorted({p for _, p in CELLS})
        for k in options.participants or sorted({k for k, _ in CELLS})
    ]
    results = run(cells, options.against, options.url, staggered=options.staggered)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    if not all(math.isfinite(result.median_seconds) for result in results):
        raise SystemExit("a round did not end")


if __name__ == "__main__":
    main()
