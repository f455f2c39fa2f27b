"""Opening a data directory's database for writing."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

from disco.errors import StorageError
from disco.storage.files import make_directory
from disco.storage.reader import DATABASE, TASKS, connect
from disco.storage.schema import database_refusals, migrate

#: Names that the store gives to the directories of tasks.
_DIRECTORY = re.compile(r"\d+-[\w-]+")


def open_database(data_dir: Path) -> sqlite3.Connection:
    """Open a data directory's database for writing, with today's tables.

    Raises:
        StorageError: the disk refused, or the database is missing beside its models.
    """
    path, tasks = data_dir / DATABASE, data_dir / TASKS
    make_directory(tasks)
    if not path.exists() and task_directories(data_dir):
        raise StorageError(
            f"{path} is missing beside the models in {tasks}; restore it from a back-up, or move them away"
        )
    with database_refusals(path):
        connection = connect(path, "mode=rwc")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # every commit is fsynced, in WAL mode too
            connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = OFF")  # files are not overwritten either
            migrate(connection, path, time.time())
        except BaseException:
            connection.close()
            raise
    return connection


def task_directories(data_dir: Path) -> list[Path]:
    """Return the directories of tasks that this store made."""
    return [path for path in (data_dir / TASKS).iterdir() if _DIRECTORY.fullmatch(path.name)]
