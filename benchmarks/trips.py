"""How long a small message takes through ``disco serve`` and back.

A participant contributes to a round that is over, which is answered with the current model: a message up and one of the
same size down, through decoding, the session, encoding and the outbox, without waiting for others or for the disk.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.load.participant import Participant, post_task, together, update_frame
from benchmarks.measuring import Row
from benchmarks.plan import Plan, Starters, start, take_turns
from benchmarks.processes import Server, disco, hypercorn, node

GROUP = "trips"
REPEATS = 5
#: One connection sends faster here than the limit lets it.
UNLIMITED = {"DISCO_LIMITS_MESSAGES_PER_SECOND": "1000000"}
#: Bytes, connections at once, and trips over all of them.
WORKS = ((1_000, 1, 4_000), (40_000, 1, 2_000), (1_000, 200, 10_000))


class Trips:
    """Connections to one server, each with one message on its way at a time."""

    def __init__(self, server: Server, size: int, connections: int) -> None:
        """Add the task, run its first round, and let everybody join."""
        task, parameters = f"trips_{size}_{connections}", size // 4
        if server.name != "node":
            post_task(server.port, task, 1, parameters)
        first = Participant(server.port, task, 1)
        self._late = update_frame(parameters, 0)
        together([first], self._late)
        first.close()
        self._people = [Participant(server.port, task, 1) for _ in range(connections)]
        for person in self._people:
            person.send(self._late)
            self._answer = person.wait_for(b"ReceiveServerPayload")  # all answers are of one size

    def once(self, count: int) -> tuple[float, float]:
        """Make so many trips; returns their median and p99 in milliseconds."""
        with selectors.DefaultSelector() as selector:
            for person in self._people:
                selector.register(person.socket, selectors.EVENT_READ)
            durations = sorted(self._run(selector, count))
        return durations[len(durations) // 2] * 1e3, durations[len(durations) * 99 // 100] * 1e3

    def _run(self, selector: selectors.BaseSelector, count: int) -> list[float]:
        durations: list[float] = []
        missing: dict[Any, int] = {}
        sent_at: dict[Any, float] = {}
        buffer = memoryview(bytearray(self._answer))
        for person in self._people:
            missing[person.socket], sent_at[person.socket] = self._answer, time.perf_counter()
            person.send(self._late)
        while missing:
            for ready, _ in selector.select():
                socket: Any = ready.fileobj
                missing[socket] -= socket.recv_into(buffer[: missing[socket]])
                if missing[socket]:
                    continue
                now = time.perf_counter()
                durations.append(now - sent_at[socket])
                if len(durations) + len(missing) > count:
                    del missing[socket]
                    continue
                missing[socket], sent_at[socket] = self._answer, now
                socket.sendall(self._late)
        return durations

    def close(self) -> None:
        """Let everybody leave."""
        for person in self._people:
            person.close()


def measure(plan: Plan) -> Iterator[Row]:
    """Measure every size on every server."""
    starters: Starters = {
        "disco": partial(disco, **UNLIMITED), "hypercorn": partial(hypercorn, **UNLIMITED), "node": node,
    }  # fmt: skip
    with ExitStack() as stack:
        servers = start(stack, starters).servers
        for size, connections, count in WORKS:
            loads = {name: Trips(server, size, connections) for name, server in servers.items()}
            number = max(plan.amount(count), 2 * connections)
            turns = take_turns(
                {name: partial(load.once, number) for name, load in loads.items()},
                plan.repeats(REPEATS),
                warm=True,
            )
            for load in loads.values():
                load.close()
            name = f"{size // 1000} kB there and back" + (f", {connections} connections" * (connections > 1))
            for index, what in enumerate(("median", "p99")):
                samples = {server: [each[index] for each in taken] for server, taken in turns.items()}
                yield Row(GROUP, f"{name}, {what}", "ms", samples, goals={"node": 1.0})
