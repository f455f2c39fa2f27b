"""Figures that come after their round was stored, and marks on rounds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from disco.core.evaluation import Mark


def amend(connection: sqlite3.Connection, task: int, number: int, figures: Mapping[str, float]) -> bool:
    """Add figures to a round, in a transaction; tell whether there is such a row."""
    where = "WHERE task = ? AND number = ?"
    found = connection.execute(f"SELECT figures FROM rounds {where}", (task, number)).fetchone()
    if found is None:
        return False
    whole = json.dumps({**json.loads(found[0]), **figures})
    connection.execute(f"UPDATE rounds SET figures = ? {where}", (whole, task, number))
    return True


def put_marks(connection: sqlite3.Connection, task: int, marks: Mapping[str, Mark]) -> None:
    """Put marks in the place of all that a task has, in a transaction."""
    connection.execute("DELETE FROM marks WHERE task = ?", (task,))
    rows = [(task, name, mark.round, mark.value) for name, mark in marks.items()]
    connection.executemany("INSERT INTO marks VALUES (?, ?, ?, ?)", rows)
