"""How fast bytes move: Disco's WebSocket layer, stock hypercorn, Node's `ws`, and plain TCP into Trio, side by side.

    python -m benchmarks.transport [--repeats 3] [--only up] [--out results.json]

Every cell is measured for one server after the other, several times over, so that a noisy minute does not hit one of
them alone; the median is printed, and how many times better than each of the others Disco is. The load generator is a
process of its own (`benchmarks.load`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
COMMANDS = {
    "disco": [sys.executable, "-m", "benchmarks.servers", "disco"],
    "stock": [sys.executable, "-m", "benchmarks.servers", "stock"],
    "node": ["node", str(PEERS / "node_server.mjs")],
    "tcp": [sys.executable, "-m", "benchmarks.servers", "tcp"],
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of work.

    Args:
        name: as printed.
        load: *up*, *down* or *trips*.
        size: bytes of a message.
        count: of messages on each connection; of all round trips.
        connections: at once.
        unit: the key of the load's result.
    """

    name: str
    load: str
    size: int
    count: int
    connections: int = 1
    unit: str = "megabytes_per_second"


CELLS = (
    Cell("up, 40 kB", "up", 40_000, 10_000),
    Cell("up, 4 MB", "up", 4_000_000, 200),
    Cell("up, 40 MB", "up", 40_000_000, 25),
    Cell("up, 40 MB, 8 senders", "up", 40_000_000, 5, 8),
    Cell("down, 40 kB", "down", 40_000, 10_000),
    Cell("down, 4 MB", "down", 4_000_000, 200),
    Cell("down, 40 MB", "down", 40_000_000, 25),
    Cell("down, 4 MB, 32 readers", "down", 4_000_000, 10, 32),
    Cell("round trip, 1 kB, median", "trips", 1_000, 8_000, 1, "median_milliseconds"),
    Cell("round trip, 1 kB, p99", "trips", 1_000, 8_000, 1, "p99_milliseconds"),
    Cell("round trip, 40 kB, median", "trips", 40_000, 4_000, 1, "median_milliseconds"),
    Cell("round trip, 40 kB, p99", "trips", 40_000, 4_000, 1, "p99_milliseconds"),
    Cell("200 connections, 1 kB, median", "trips", 1_000, 20_000, 200, "median_milliseconds"),
    Cell("200 connections, 1 kB, p99", "trips", 1_000, 20_000, 200, "p99_milliseconds"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server process that runs."""

    name: str
    pid: int
    port: int

    def peak_megabytes(self) -> float:
        """Return the most memory it has had; NaN where the system does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return float("nan")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def running(name: str) -> Iterator[Server]:
    """Start a server and wait until it listens."""
    with subprocess.Popen(COMMANDS[name], stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line:
                raise RuntimeError(f"the server {name} did not start")
            yield Server(name, process.pid, int(line))
        finally:
            process.kill()


def measure(cell: Cell, server: Server) -> dict[str, float]:
    """Put one load on one server."""
    command = [sys.executable, "-m", "benchmarks.load", cell.load, "--port", str(server.port)]
    command += ["--size", str(cell.size), "--count", str(cell.count), "--connections", str(cell.connections)]
    command += ["--tcp"] if server.name == "tcp" else []
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure_all(
    cells: Sequence[Cell], servers: Sequence[Server], repeats: int
) -> dict[str, dict[str, float]]:
    """Return the median of each cell for each server; loads that differ only in what is read off run once."""
    runs: dict[tuple[object, ...], list[dict[str, float]]] = {}
    medians: dict[str, dict[str, float]] = {}
    for cell in cells:
        medians[cell.name] = {}
        work = (cell.load, cell.size, cell.count, cell.connections)
        if (work, servers[0].name) not in runs:
            for _ in range(repeats):
                for server in servers:
                    runs.setdefault((work, server.name), []).append(measure(cell, server))
        for server in servers:
            values = [run[cell.unit] for run in runs[work, server.name]]
            medians[cell.name][server.name] = statistics.median(values)
        print(row(cell, medians[cell.name]), flush=True)
    return medians


def row(cell: Cell, values: dict[str, float]) -> str:
    """Format one line: each server's value, then how many times better than Node and stock hypercorn Disco is."""
    digits = ".0f" if cell.unit == "megabytes_per_second" else ".3f"
    columns = "".join(f"{value:>10{digits}}" for value in values.values())
    return f"{cell.name:<32}{columns}" + "".join(
        f"{better(cell, values['disco'], values[other]):>9.2f} x" if other in values else ""
        for other in ("node", "stock", "tcp")
    )


def better(cell: Cell, ours: float, theirs: float) -> float:
    """Return the ratio that is above 1 when ours is better: MB/s are good, milliseconds bad."""
    return ours / theirs if cell.unit == "megabytes_per_second" else theirs / ours


def machine() -> dict[str, object]:
    """Describe where this was measured."""
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transport", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="cells whose name begins so")
    parser.add_argument("--servers", default="disco,stock,node,tcp")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "transport.json")
    options = parser.parse_args()
    names = options.servers.split(",")
    if "node" in names and not (PEERS / "node_modules").exists():
        npm = shutil.which("npm") or "npm"
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=PEERS, check=True)
    cells = [cell for cell in CELLS if cell.name.startswith(options.only)]
    described = machine()
    print(", ".join(f"{key} {value}" for key, value in described.items()))
    print(f"{'':<32}" + "".join(f"{name:>10}" for name in names) + "     to node   to stock     to tcp")
    with ExitStack() as stack:
        servers = [stack.enter_context(running(name)) for name in names]
        medians = measure_all(cells, servers, options.repeats)
        peaks = {server.name: server.peak_megabytes() for server in servers}
    print(f"{'peak memory, MB':<32}" + "".join(f"{value:>10.0f}" for value in peaks.values()))
    options.out.parent.mkdir(exist_ok=True)
    report = {"machine": described, "cells": [asdict(cell) for cell in cells], "medians": medians}
    options.out.write_text(json.dumps({**report, "peak_megabytes": peaks}, indent=2) + "\n")


if __name__ == "__main__":
    main()
