"""Ten thousand connected participants that do nothing: how fast they come, and what each costs.

Every turn starts a server anew. The participants are of one process (`benchmarks.load.crowd`), from several addresses
of this machine, spread over many tasks, because Disco tells the others in a task of everybody who joins it. Memory is
the server's VmRSS over what it had before, first with open WebSockets only, then when all have joined.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from benchmarks.load.participant import post_task
from benchmarks.measuring import Row
from benchmarks.plan import Plan, say, take_turns
from benchmarks.processes import PeerMissing, Server, allow_files, disco, node, process

GROUP = "idle"
CONNECTIONS, TASKS = 10_000, 400
REPEATS = 2
FILES_BESIDE = 500
SETTLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Taken:
    """What one server reached: WebSockets and hellos a second, and bytes for each participant."""

    accepts: float
    open_bytes: float
    hellos: float
    joined_bytes: float


def measure(plan: Plan) -> Iterator[Row]:
    """Measure both servers."""
    count = plan.amount(CONNECTIONS)
    if not allow_files(count + FILES_BESIDE):
        note = f"the system does not allow {count + FILES_BESIDE} open files"
        yield Row(GROUP, f"{count:,} idle participants", "a second", {}, notes={"disco": note})
        return
    starters: dict[str, Callable[[], AbstractContextManager[Server]]] = {
        "disco": partial(disco, DISCO_LIMITS_FIRST_MESSAGE="600"),
        "node": node,
    }
    found: dict[str, list[Taken]] = {}
    notes: dict[str, str] = {}
    for name, starter in starters.items():  # warms the disk's cache, and tells which can be started
        try:
            with starter():
                found[name] = []
        except PeerMissing as error:
            notes[name] = str(error)
            say(f"{name} is left out: {error}")
    turns = {name: partial(turn, starters[name], count) for name in found}
    found = take_turns(turns, 1 if plan.quick else REPEATS)
    yield from rows(count, found, notes)


def rows(count: int, found: dict[str, list[Taken]], notes: dict[str, str]) -> Iterator[Row]:
    """Make the rows of all turns."""
    for work, unit, field, limit in (
        (f"{count:,} WebSockets opened", "a second", "accepts", 1_500.0),
        (f"{count:,} hellos answered", "a second", "hellos", None),
        ("an open WebSocket", "kB", "open_bytes", None),
        ("an idle participant", "kB", "joined_bytes", 20.0),
    ):
        scale = 1e-3 if unit == "kB" else 1.0
        samples = {name: [scale * getattr(taken, field) for taken in turns] for name, turns in found.items()}
        yield Row(GROUP, work, unit, samples, limit=limit, notes=notes)


def turn(starter: Callable[[], AbstractContextManager[Server]], count: int) -> Taken:
    """Start a server and let everybody come."""
    command = [sys.executable, "-m", "benchmarks.load.crowd", "--count", str(count), "--tasks", str(TASKS)]
    with starter() as server:
        if server.name != "node":
            for number in range(TASKS):
                post_task(server.port, f"crowd_{number}", 2, 10)
        before = resident(server)
        with process([*command, "--port", str(server.port)]) as crowd:
            accepts = rate(crowd)
            opened = resident(server)
            assert crowd.stdin is not None
            crowd.stdin.write("\n")
            crowd.stdin.flush()
            hellos = rate(crowd)
            joined = resident(server)
    return Taken(accepts, (opened - before) / count, hellos, (joined - before) / count)


def rate(crowd: subprocess.Popen[str]) -> float:
    """Read what the crowd tells of its next step."""
    assert crowd.stdout is not None
    line = crowd.stdout.readline()
    if not line:
        raise RuntimeError("the crowd was sent away; its reason is above")
    per_second: float = json.loads(line)["per_second"]
    return per_second


def resident(server: Server) -> float:
    """Return the server's memory in bytes, a moment after the last thing that it did."""
    time.sleep(SETTLE_SECONDS)
    return (server.memory() or 0.0) * 1e6
