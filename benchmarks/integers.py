"""What v2's weights cost, arrays of integers: contributions to ``disco serve``, and the model back.

*Contributions*: participants post their weights one after the other and ask for statistics, which are answered when the
weights have been decoded. *A round*: two participants post, one asks for statistics until the round has closed, and the
other for the model. The Node server decodes
and encodes as the npm client does, with `@msgpack/msgpack`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import msgpack
import numpy as np

from benchmarks.load.participant import post_task
from benchmarks.load.raw_client import RawClient, frame
from benchmarks.measuring import Row
from benchmarks.plan import Plan, start, take_turns
from benchmarks.processes import Server, disco, node

GROUP = "integers"
PARAMETERS = 1_000_000
REPEATS = 5
CONTRIBUTIONS = 5
#: Participants that a round would take: more than there ever are.
NEVER = 10_000
HELLO, POST, MODEL, STATISTICS = 0, 8, 11, 13
GOALS = {"node": 3.0}


class Member:
    """One v2 participant on a raw socket."""

    def __init__(self, port: int, task: str, participants: int) -> None:
        """Join."""
        self._client = RawClient(port, f"/federated/{task}/{uuid.uuid4()}?participants={participants}")
        self.ask(HELLO)

    def send(self, message: bytes) -> None:
        """Send one frame."""
        self._client.socket.sendall(message)

    def ask(self, word: int) -> bytes:
        """Send a message without content; returns the answer's first bytes."""
        self.send(frame(msgpack.packb({"type": word})))
        return self._client.receive()[0]

    def close(self) -> None:
        """Leave."""
        self._client.close()


def posting(round_: int) -> bytes:
    """Build the frame of one contribution: normally distributed weights as the npm client encodes them."""
    values = np.random.default_rng(1).normal(size=PARAMETERS).astype("<f4").tolist()
    inner = msgpack.packb([{"shape": [PARAMETERS], "data": values}])
    return frame(msgpack.packb({"type": POST, "weights": list(inner), "round": round_}))


class Contributions:
    """Posts to one server, to a round that never closes."""

    def __init__(self, server: Server, message: bytes) -> None:
        """Add the task."""
        self._port, self._message = server.port, message
        if server.name != "node":
            post_task(server.port, "v2_open", NEVER, PARAMETERS)

    def once(self) -> float:
        """Let new participants post; returns milliseconds for each."""
        members = [Member(self._port, "v2_open", NEVER) for _ in range(CONTRIBUTIONS)]
        begun = time.perf_counter()
        for member in members:
            member.send(self._message)
            member.ask(STATISTICS)
        seconds = time.perf_counter() - begun
        for member in members:
            member.close()
        return seconds / CONTRIBUTIONS * 1e3


class RoundTrips:
    """Rounds of two on one server; each of them has a task of its own."""

    def __init__(self, server: Server, message: bytes) -> None:
        """Remember where."""
        self._server, self._message = server, message
        self._tasks = 0

    def once(self) -> float:
        """Run a task's first round; returns milliseconds until the model is there."""
        self._tasks += 1
        task = f"v2_round_{self._tasks}"
        if self._server.name != "node":
            post_task(self._server.port, task, 2, PARAMETERS)
        members = [Member(self._server.port, task, 2) for _ in range(2)]
        begun = time.perf_counter()
        for member in members:
            member.send(self._message)
        while b"\xa5round\x00" in members[1].ask(STATISTICS):
            pass
        members[0].ask(MODEL)
        seconds = time.perf_counter() - begun
        for member in members:
            member.close()
        return seconds * 1e3


def measure(plan: Plan) -> Iterator[Row]:
    """Measure contributions and rounds on both servers."""
    message = posting(0)
    with ExitStack() as stack:
        servers = start(stack, {"disco": disco, "node": node}).servers
        for kind, work in (
            (Contributions, "v2 contribution, 1M parameters"),
            (RoundTrips, "v2 round, 2 × 1M parameters, model fetched"),
        ):
            turns = {name: kind(server, message).once for name, server in servers.items()}
            samples = take_turns(turns, plan.repeats(REPEATS), warm=True)
            yield Row(GROUP, work, "ms", samples, GOALS)
