"""Rows of rounds, and of what strategies remember after the newest one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from disco.storage.contract import RoundRecord
from disco.storage.counted import forget
from disco.storage.files import Kept
from disco.storage.rows import Held, TaskRow

#: A round's number, and the files that its weights are in: one or none.
Placed: TypeAlias = tuple[int, set[Path]]


def placed(connection: sqlite3.Connection, row: TaskRow, rule: str = "", *values: object) -> list[Placed]:
    """Return those of a task's rounds that a rule finds; it is the end of a WHERE clause."""
    columns = "number, weights_bytes, weights_crc32, content IS NULL"
    found = connection.execute(f"SELECT {columns} FROM rounds WHERE task = ? {rule}", (row.sequence, *values))
    return [
        (number, {row.round_path(number, Kept(size, crc32))} if in_file else set())
        for number, size, crc32, in_file in found
    ]


def state_files(connection: sqlite3.Connection, row: TaskRow) -> set[Path]:
    """Return the files of what a task's strategy remembers."""
    columns = "SELECT name, round, state_bytes, state_crc32 FROM states WHERE task = ?"
    found = connection.execute(f"{columns} AND content IS NULL", (row.sequence,))
    return {row.state_path(name, number, Kept(size, crc32)) for name, number, size, crc32 in found}


def files_of(rounds: Iterable[Placed]) -> set[Path]:
    """Return the files of rounds."""
    return set[Path]().union(*(files for _, files in rounds))


def insert_round(connection: sqlite3.Connection, task: int, record: RoundRecord, weights: Held) -> None:
    """Add a round, in a transaction."""
    connection.execute(
        "INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            task,
            record.number,
            record.closed_at,
            record.participants,
            record.contributions,
            record.seconds,
            json.dumps(dict(record.figures)),
            weights.kept.size,
            weights.kept.crc32,
            weights.content,
        ),
    )


def delete_rounds(connection: sqlite3.Connection, task: int, rounds: Iterable[Placed]) -> None:
    """Forget rounds, in a transaction."""
    for number, _ in rounds:
        connection.execute("DELETE FROM rounds WHERE task = ? AND number = ?", (task, number))


def forget_rounds(connection: sqlite3.Connection, task: int) -> None:
    """Forget every round but 0, what counted in them and what the strategy remembers, in a transaction.

    The totals are 0 again; what was spent stays spent.
    """
    connection.execute("DELETE FROM rounds WHERE task = ? AND number > 0", (task,))
    connection.execute("DELETE FROM states WHERE task = ?", (task,))
    connection.execute("UPDATE tasks SET closed_rounds = 0, contributions = 0 WHERE sequence = ?", (task,))
    forget(connection, task)


def count_round(connection: sqlite3.Connection, task: int, contributions: int, cost: float) -> None:
    """Add a round to its task's totals, in a transaction."""
    connection.execute(
        "UPDATE tasks SET closed_rounds = closed_rounds + 1, contributions = contributions + ?,"
        " spent = spent + ? WHERE sequence = ?",
        (contributions, cost, task),
    )


def replace_states(
    connection: sqlite3.Connection, task: int, number: int, states: Mapping[str, Held]
) -> None:
    """Put what a strategy remembers after a round in the place of what it remembered, in a transaction."""
    connection.execute("DELETE FROM states WHERE task = ?", (task,))
    rows = [
        (task, name, number, held.kept.size, held.kept.crc32, held.content) for name, held in states.items()
    ]
    connection.executemany("INSERT INTO states VALUES (?, ?, ?, ?, ?, ?)", rows)
