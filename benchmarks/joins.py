"""How long joining takes, while the server is idle and while it sums 40 MB models.

A join is ``GET /tasks/x`` on a new connection, a WebSocket's upgrade, and the answer to hello. The rounds of 40 MB are
another task's, without a pause between them, by a process of its own (`benchmarks.load.summing`).
"""

from __future__ import annotations

import http.client
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.load.participant import Participant, post_task
from benchmarks.measuring import OURS, Row
from benchmarks.plan import Plan, start, take_turns
from benchmarks.processes import Server, disco, node, process, said

GROUP = "joins"
TASK = "classroom"
PARAMETERS = 10_000_000
SUMMING = 2
JOINS, REPEATS = 300, 5
#: A join's p99 while models are summed may be so many times its p99 when idle.
TIMES_IDLE = 5.0


def join(port: int) -> float:
    """Join and leave; returns milliseconds until hello is answered."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/tasks/{TASK}")
    connection.getresponse().read()
    connection.close()
    person = Participant(port, TASK)
    seconds = time.perf_counter() - begun
    person.close()
    return seconds * 1e3


def p99(port: int, count: int) -> float:
    """Return the 99th percentile of so many joins, one after the other, in milliseconds."""
    return statistics.quantiles([join(port) for _ in range(count)], n=100)[98]


def measure(plan: Plan) -> Iterator[Row]:
    """Measure joins on both servers, idle first."""
    count = max(100, plan.amount(JOINS))
    with ExitStack() as stack:
        servers = start(stack, {"disco": disco, "node": node}).servers
        for server in servers.values():
            if server.name != "node":
                post_task(server.port, TASK, 2, 10_000)
        turns = {name: partial(p99, server.port, count) for name, server in servers.items()}
        idle = take_turns(turns, plan.repeats(REPEATS), warm=True)
        first = Row(GROUP, "a join, p99, idle", "ms", idle)
        yield first
        turns = {name: partial(while_summing, server, count) for name, server in servers.items()}
        busy = take_turns(turns, plan.repeats(REPEATS))
        limit = TIMES_IDLE * first.median(OURS)
        yield Row(GROUP, "a join, p99, while 40 MB models are summed", "ms", busy, limit=limit)


def while_summing(server: Server, count: int) -> float:
    """Return the p99 of joins while rounds are summed."""
    task = f"summing_{time.time_ns()}"
    if server.name != "node":
        post_task(server.port, task, SUMMING, PARAMETERS)
    command = [sys.executable, "-m", "benchmarks.load.summing", "--port", str(server.port), "--task", task]
    command += ["--participants", str(SUMMING), "--parameters", str(PARAMETERS)]
    with process(command) as rounds:
        said(rounds, r"([\d.]+)")
        return p99(server.port, count)
