"""The database's tables, and how an older database becomes today's.

A migration is applied in one transaction together with its own record, so a crash leaves it done or undone. A
released migration never changes; a new one is added below it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from disco.errors import StorageError

#: Name and statements, in the order of their application.
MIGRATIONS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "0001 tasks and rounds",
        (
            # AUTOINCREMENT: the number names the task's directory and is not given twice.
            """CREATE TABLE tasks (
                sequence INTEGER PRIMARY KEY AUTOINCREMENT,
                id TEXT NOT NULL UNIQUE,
                document TEXT NOT NULL,
                source TEXT NOT NULL,
                added_at REAL NOT NULL,
                shapes TEXT NOT NULL,
                model_bytes INTEGER NOT NULL,
                model_crc32 INTEGER NOT NULL,
                closed_rounds INTEGER NOT NULL DEFAULT 0,
                contributions INTEGER NOT NULL DEFAULT 0
            )""",
            """CREATE TABLE rounds (
                task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
                number INTEGER NOT NULL,
                closed_at REAL NOT NULL,
                participants INTEGER NOT NULL,
                contributions INTEGER NOT NULL,
                seconds REAL NOT NULL,
                figures TEXT NOT NULL,
                weights_bytes INTEGER NOT NULL,
                weights_crc32 INTEGER NOT NULL,
                PRIMARY KEY (task, number)
            ) WITHOUT ROWID""",
        ),
    ),
    (
        "0002 what strategies remember",
        (
            # Of each task's newest round only: each an array of float32 in a file, as the weights are.
            """CREATE TABLE states (
                task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
                name TEXT NOT NULL,
                round INTEGER NOT NULL,
                state_bytes INTEGER NOT NULL,
                state_crc32 INTEGER NOT NULL,
                PRIMARY KEY (task, name)
            ) WITHOUT ROWID""",
        ),
    ),
    (
        "0003 which contributions counted",
        (
            """CREATE TABLE counted (
                task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
                key TEXT NOT NULL,
                round INTEGER NOT NULL,
                PRIMARY KEY (task, key)
            ) WITHOUT ROWID""",
        ),
    ),
    (
        "0004 small arrays in their rows",
        (
            # Small ones only: a file costs two waits for the disk more than the commit that names it.
            "ALTER TABLE rounds ADD COLUMN content BLOB",
            "ALTER TABLE states ADD COLUMN content BLOB",
        ),
    ),
    (
        "0005 what rounds have spent",
        # Not a sum over rows of rounds: what is spent stays spent when they are pruned, reset or rolled back.
        ("ALTER TABLE tasks ADD COLUMN spent REAL NOT NULL DEFAULT 0",),
    ),
    (
        "0006 rounds that are singled out",
        (
            """CREATE TABLE marks (
                task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
                name TEXT NOT NULL,
                round INTEGER NOT NULL,
                value REAL NOT NULL,
                PRIMARY KEY (task, name)
            ) WITHOUT ROWID""",
        ),
    ),
)

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full; make room on it and try again",
    sqlite3.SQLITE_READONLY: "it is read-only; make its directory writable or choose another directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look at the permissions of its directory",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore the data directory from a back-up",
    sqlite3.SQLITE_NOTADB: "it is not a database; restore the data directory from a back-up",
    sqlite3.SQLITE_BUSY: "another program holds it; stop that and try again",
}

_PRIMARY = 0xFF  # an extended result code's low byte is its primary one


def primary_code(error: BaseException | None) -> int:
    """Return SQLite's primary result code of an error; 0 (no error) if SQLite gave none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & _PRIMARY


@contextmanager
def database_refusals(path: Path) -> Iterator[None]:
    """Turn what SQLite refuses inside the block into one sentence.

    Raises:
        StorageError: instead of `sqlite3.Error`.
    """
    try:
        yield
    except sqlite3.Error as error:
        reason = _REASONS.get(primary_code(error), str(error))
        raise StorageError(f"The database {path} refuses: {reason}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # the first error is the one to tell
                connection.execute("ROLLBACK")


def migrate(connection: sqlite3.Connection, path: Path, now: float) -> None:
    """Bring a database, a new one too, to today's tables.

    Raises:
        StorageError: a newer Disco made it.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at REAL NOT NULL)"
    )
    for name, statements in MIGRATIONS[_applied(connection, path) :]:
        with transaction(connection):
            for statement in statements:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", (name, now))


def require_current(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a database has today's tables, for those who may only read.

    Raises:
        StorageError: it has older or newer ones.
    """
    if _applied(connection, path) < len(MIGRATIONS):
        raise StorageError(f"{path} was made by an older Disco; start the server once to bring it up to date")


def _applied(connection: sqlite3.Connection, path: Path) -> int:
    names = [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY name")]
    if names != [name for name, _ in MIGRATIONS[: len(names)]]:
        raise StorageError(f"{path} was made by a newer Disco; use that version, or choose another directory")
    return len(names)
