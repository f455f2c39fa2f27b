"""Where the server's time goes: ``python -m benchmarks.profile [--work trips] [--seconds 10] [--native]``.

py-spy looks at ``disco serve`` a thousand times a second from outside while it works, its worker threads included.
Printed are the functions that were running (*self*), and Disco's own that had been called and not returned (*with
callees*), each with its share of all samples. Threads that wait for work are left out.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.joins import TASK, join
from benchmarks.load.participant import post_task
from benchmarks.processes import Server, disco, tools
from benchmarks.rounds import Rounds
from benchmarks.trips import UNLIMITED, Trips
from benchmarks.updates import Received, Work

PY_SPY = "0.4.3"
SAMPLES_A_SECOND = 1000
SHOWN = 30
#: Where threads wait for work, though py-spy may take them for busy.
WAITING = ("EpollIOManager.get_events", "WorkerThread._work")


def rounds(server: Server, participants: int, parameters: int) -> Callable[[], object]:
    """Prepare rounds, of which each call runs one."""
    return Rounds(server, participants, parameters).one


def contributions(server: Server, parameters: int) -> Callable[[], object]:
    """Prepare contributions to a round that does not close, of which each call makes some."""
    received = Received(server, Work(parameters, 1, 1, 1.0))
    return lambda: received.once(10)


def joins(server: Server) -> Callable[[], object]:
    """Prepare joins, of which each call makes some."""
    post_task(server.port, TASK, 2, 10)
    return lambda: [join(server.port) for _ in range(20)]


def trips(server: Server, connections: int) -> Callable[[], object]:
    """Prepare round trips of 1 kB, of which each call makes some."""
    made = Trips(server, 1_000, connections)
    return lambda: made.once(10 * connections)


WORKS: dict[str, Callable[[Server], Callable[[], object]]] = {
    "small-rounds": lambda server: rounds(server, 2, 10_000),
    "large-rounds": lambda server: rounds(server, 8, 10_000_000),
    "contributions": lambda server: contributions(server, 1_000_000),
    "joins": joins,
    "trips": lambda server: trips(server, 200),
}


def stacks(lines: Iterable[str]) -> Iterable[tuple[list[str], int]]:
    """Read py-spy's collapsed stacks: frames from the outermost in, and how often they were seen."""
    for line in lines:
        frames, _, count = line.rpartition(" ")
        yield [frame.rpartition(":")[0] + ")" for frame in frames.split(";")], int(count)


def shares(lines: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    """Count samples by the function that ran, by every function of Disco's on the stack, and in all."""
    alone: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for frames, count in stacks(lines):
        if frames[-1].startswith(WAITING):
            continue
        alone[frames[-1]] += count
        for frame in set(frames):
            inclusive[frame] += count * ("(disco/" in frame)
    return alone, inclusive, alone.total()


def record(work: str, seconds: float, native: bool) -> list[str]:
    """Profile one kind of work; returns the collapsed stacks."""
    program = str(tools("py-spy", PY_SPY) / "py-spy")
    with tempfile.TemporaryDirectory() as folder, disco(**UNLIMITED) as server:
        step = WORKS[work](server)
        step()
        found = Path(folder) / "stacks"
        command = [program, "record", "--pid", str(server.process), "--output", str(found), "--format", "raw"]
        command += ["--rate", str(SAMPLES_A_SECOND), "--duration", str(int(seconds)), "--nonblocking"]
        command += ["--native"] if native else []
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
            begun, steps = time.perf_counter(), 0
            while spy.poll() is None:
                step()
                steps += 1
            each = (time.perf_counter() - begun) / steps * 1e3
        if spy.returncode:
            raise SystemExit("py-spy could not look at the server; it needs the right to ptrace")
        print(f"\n{work}: {steps} steps of {each:.2f} ms")
        return found.read_text().splitlines()


def main() -> None:
    """Profile, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--work", nargs="+", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--native", action="store_true", help="show the functions of C extensions too")
    options = parser.parse_args()
    for work in options.work:
        alone, inclusive, total = shares(record(work, options.seconds, options.native))
        for title, counted in (("self", alone), ("with callees", inclusive)):
            print(f"{title}, of {total} samples:")
            for name, count in counted.most_common(SHOWN):
                print(f"  {100 * count / total:5.1f} %  {name}")


if __name__ == "__main__":
    main()
