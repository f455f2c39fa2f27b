"""A report as a table, for the terminal and for the docs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.measuring import OURS, SERVERS, Report, Row

#: Between these marks a page has the table of the last run.
BEGIN, END = "<!-- begin: python -m benchmarks --publish -->", "<!-- end -->"


def value(number: float, unit: str) -> str:
    """Write a number with three digits or so, and its unit."""
    if math.isnan(number):
        return ""
    if unit == "ms" and number >= 1000:
        return f"{number / 1000:.2f} s"
    digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2 if abs(number) >= 1 else 3
    return f"{number:,.{digits}f} {unit}"


def cell(row: Row, server: str) -> str:
    """Write a server's median and, for a peer, how many times better Disco is."""
    if server not in row.samples:
        return "n/a" if server in row.notes else ""
    written = value(row.median(server), row.unit)
    ratio = row.ratio(server)
    return written if server == OURS or math.isnan(ratio) else f"{written} ({ratio:.1f}×)"


def columns(rows: Sequence[Row]) -> list[str]:
    """Return the servers that were measured in any row, in their order."""
    return [name for name in SERVERS if any(name in row.samples or name in row.notes for row in rows)]


def lines(rows: Sequence[Row]) -> list[list[str]]:
    """Return the table's cells, its head first."""
    servers = columns(rows)
    head = ["", *(SERVERS[server] for server in servers), "goal"]
    return [head, *([row.work, *(cell(row, server) for server in servers), verdict(row)] for row in rows)]


def verdict(row: Row) -> str:
    """Tell whether a row reaches its goals: *met*, what is missed, or nothing where there is no goal."""
    if not row.goals and row.limit is None:
        return ""
    missed = row.missed()
    return "; ".join(missed) if missed else "met"


def text(report: Report) -> str:
    """Write the table for a terminal."""
    table = lines(report.rows)
    widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
    written = [
        "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)) for line in table
    ]
    return "\n".join([machine(report), "", *(line.rstrip() for line in written), *notes(report.rows)])


def markdown(report: Report) -> str:
    """Write the table for the docs, a part for each cell."""
    parts = [f"{machine(report)}."]
    for group in dict.fromkeys(row.group for row in report.rows):
        rows = [row for row in report.rows if row.group == group]
        head, *body = lines(rows)
        written = [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body)]
        parts.append("\n".join([f"**{group}**", "", *written, *notes(rows)]))
    return "\n\n".join(parts)


def replaced(page: str, table: str) -> str:
    """Put the table between a page's marks, in place of the one that is there.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def notes(rows: Sequence[Row]) -> list[str]:
    """Write each note once."""
    found = dict.fromkeys(
        f"{SERVERS.get(server, server)}, {row.work}: {note}."
        for row in rows
        for server, note in row.notes.items()
    )
    return ["", *found] if found else []


def machine(report: Report) -> str:
    """Write where and when a run was made."""
    return ", ".join(f"{name} {entry}" for name, entry in report.machine.items())
