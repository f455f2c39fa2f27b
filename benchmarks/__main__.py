"""Disco measured beside its peers, on this machine, in one run.

    python -m benchmarks                      everything, in about 10 minutes on two cores
    python -m benchmarks --only rounds idle   some of it
    python -m benchmarks --quick              roughly, for development
    python -m benchmarks --table run.json     the table of an earlier run, as Markdown
    python -m benchmarks --publish            docs/benchmarks.md shows benchmarks/results

The table goes to standard output, progress to standard error. A whole run's JSON and chart go to
``benchmarks/results/``, those of a part or of a quick run only where ``--out`` says.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import idle, integers, joins, residency, rounds, superlink, transport, trips, updates
from benchmarks.chart import draw
from benchmarks.measuring import OURS, Report, Row
from benchmarks.plan import Plan, say
from benchmarks.processes import FLOWER_VERSION
from benchmarks.tables import markdown, replaced, text

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
CELLS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    module.GROUP: module.measure
    for module in (transport, updates, trips, rounds, superlink, integers, residency, idle, joins)
}


def machine() -> dict[str, Any]:
    """Describe where and when this is measured, and with what."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "CPU": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "Python": platform.python_version(),
        **{name: version(name) for name in ("trio", "hypercorn", "numpy", "msgspec")},
        "Node": output("node", "--version"),
        "Flower": FLOWER_VERSION,
        "commit": output("git", "describe", "--always", "--dirty"),
    }


def processor() -> str:
    """Return the processor's name as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def output(*command: str) -> str:
    """Return what a program says, or *none* if there is no such program."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=RESULTS).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "none"


def run(plan: Plan) -> Report:
    """Measure what the plan says, telling each row as it comes; SIGINT and SIGTERM end it with what there is."""
    found: list[Row] = []
    described = machine()
    begun = time.monotonic()
    try:
        for group, measure in CELLS.items():
            if plan.only and group not in plan.only:
                continue
            say(f"[{time.monotonic() - begun:4.0f} s] {group}")
            for row in watched(group, measure(plan)):
                found.append(row)
                medians = ", ".join(f"{server} {row.median(server):.3g}" for server in row.samples)
                say(f"[{time.monotonic() - begun:4.0f} s] {row.work}: {medians} {row.unit}")
    except KeyboardInterrupt:
        described["interrupted"] = "before its end"
    return Report({**described, "minutes": round((time.monotonic() - begun) / 60, 1)}, found)


def watched(group: str, rows: Iterator[Row]) -> Iterator[Row]:
    """Pass a group's rows on; when it breaks, tell so in place of the rest, so that the others are still measured."""
    try:
        yield from rows
    except Exception as error:
        traceback.print_exc()
        yield Row(group, f"the rest of {group}", "", {}, notes={OURS: f"broke off: {error!r}"})


def read(path: Path) -> Report:
    """Read an earlier run."""
    return Report.from_document(json.loads(path.read_text("utf-8")))


def publish() -> None:
    """Put the last whole run's table and chart into the docs."""
    page = DOCS / "benchmarks.md"
    page.write_text(replaced(page.read_text("utf-8"), markdown(read(RESULTS / "results.json"))), "utf-8")
    (DOCS / "images" / "benchmarks.svg").write_bytes((RESULTS / "results.svg").read_bytes())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON and the chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], choices=list(CELLS), help="measure these only")
    parser.add_argument("--quick", action="store_true", help="roughly, for development")
    parser.add_argument("--json", action="store_true", help="print the JSON in place of the table")
    parser.add_argument(
        "--table", type=Path, help="print the Markdown table of an earlier run's JSON, and end"
    )
    parser.add_argument("--publish", action="store_true", help="put the last run into the docs, and end")
    parser.add_argument("--out", type=Path, help="the folder for results.json and results.svg")
    options = parser.parse_args(arguments)
    if options.table is not None:
        print(markdown(read(options.table)))
        return
    if options.publish:
        publish()
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = run(Plan(options.quick, frozenset(options.only)))
    written = json.dumps(report.document(), indent=1) + "\n"
    print(written if options.json else text(report))
    whole = not (options.quick or options.only or "interrupted" in report.machine)
    folder = options.out or (RESULTS if whole else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(written, "utf-8")
        draw(report, folder / "results.svg")
        say(f"written to {folder}")


if __name__ == "__main__":
    main()
