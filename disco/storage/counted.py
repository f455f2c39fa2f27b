"""Which contributions counted: their keys, for as many rounds as a resent contribution could count again."""

from __future__ import annotations

import sqlite3

from disco.storage.contract import Counted


def remember(connection: sqlite3.Connection, task: int, round_: int, counted: Counted) -> None:
    """Keep a round's keys and forget those of old rounds, in a transaction."""
    connection.execute("DELETE FROM counted WHERE task = ? AND round < ?", (task, counted.since))
    rows = [(task, key, round_) for key in counted.keys]
    connection.executemany("INSERT OR REPLACE INTO counted VALUES (?, ?, ?)", rows)


def forget(connection: sqlite3.Connection, task: int) -> None:
    """Forget every key of a task, in a transaction."""
    connection.execute("DELETE FROM counted WHERE task = ?", (task,))
