"""How fast bytes move: Disco's WebSocket layer, stock hypercorn, Node's `ws`, and plain TCP into Trio.

    python -m benchmarks --only transport

The servers do nothing else (`benchmarks.servers`), so that the frame layer is what is measured; `benchmarks.updates`
and `benchmarks.trips` measure the same through ``disco serve``. The load generator is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from benchmarks.measuring import Row
from benchmarks.plan import Plan, start, take_turns
from benchmarks.processes import Server, echo, node

GROUP = "transport"
REPEATS = 7


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of load.

    Args:
        name: as printed.
        load: *up*, *down* or *trips*.
        size: bytes of a message.
        count: of messages on each connection; of all round trips.
        connections: at once.
        goals: see `Row.goals`.
    """

    name: str
    load: str
    size: int
    count: int
    connections: int = 1
    goals: dict[str, float] = field(default_factory=dict)


AHEAD = {"node": 1.0}
WORKS = (
    Work("up, 40 kB", "up", 40_000, 4_000),
    Work("up, 4 MB", "up", 4_000_000, 50, goals={"node": 2.5, "tcp": 0.8}),
    Work("up, 40 MB", "up", 40_000_000, 8, goals={"node": 2.5}),
    Work("up, 40 MB, 8 senders", "up", 40_000_000, 2, 8, {"node": 3.0}),
    Work("down, 40 kB", "down", 40_000, 4_000),
    Work("down, 4 MB", "down", 4_000_000, 100, goals=AHEAD),
    Work("down, 40 MB", "down", 40_000_000, 12, goals=AHEAD),
    Work("down, 4 MB, 32 readers", "down", 4_000_000, 5, 32, AHEAD),
    Work("round trip, 1 kB", "trips", 1_000, 4_000, goals=AHEAD),
    Work("round trip, 40 kB", "trips", 40_000, 2_000, goals=AHEAD),
    Work("round trip, 1 kB, 200 connections", "trips", 1_000, 10_000, 200, AHEAD),
)


def measure(plan: Plan) -> Iterator[Row]:
    """Measure every kind of load on every server."""
    starters = {name: partial(echo, name) for name in ("disco", "stock", "tcp")}
    with ExitStack() as stack:
        found = start(stack, {**starters, "node": node})
        for work in WORKS:
            turns = {name: partial(load, plan, work, server) for name, server in found.servers.items()}
            yield from rows(work, take_turns(turns, plan.repeats(REPEATS)))


def load(plan: Plan, work: Work, server: Server) -> dict[str, float]:
    """Put one load on one server."""
    command = [sys.executable, "-m", "benchmarks.load", work.load, "--port", str(server.port)]
    command += ["--size", str(work.size), "--count", str(plan.amount(work.count))]
    command += ["--connections", str(work.connections), *(["--tcp"] if server.name == "tcp" else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def rows(work: Work, results: dict[str, list[dict[str, float]]]) -> Iterator[Row]:
    """Make a row of what a load gives: the rate of moving bytes, or a round trip's median and p99."""

    def row(name: str, unit: str, key: str) -> Row:
        samples = {server: [each[key] for each in taken] for server, taken in results.items()}
        return Row(GROUP, name, unit, samples, work.goals)

    if work.load == "trips":
        yield row(f"{work.name}, median", "ms", "median_milliseconds")
        yield row(f"{work.name}, p99", "ms", "p99_milliseconds")
    else:
        yield row(work.name, "MB/s", "megabytes_per_second")


if __name__ == "__main__":
    from benchmarks.__main__ import main

    main(["--only", GROUP, *sys.argv[1:]])
