"""SQLite's write-ahead log: how much is in it, and when it is moved to the database."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

#: The log is to be moved when about so many bytes are in it. At twice as many SQLite moves it in the midst of a commit.
LOG_BYTES = 2 * 1024 * 1024
#: What a round puts into the log besides its arrays: some pages of 4 KiB.
_ROUND_BYTES = 5 * 4096


class Log:
    """The log of a connection to a database, reckoned in rounds."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._bytes = 0

    @property
    def long(self) -> bool:
        """Whether it is to be moved."""
        return self._bytes > LOG_BYTES

    def add_round(self, array_bytes: int) -> None:
        """Count a round that was committed, and so many bytes of arrays in its rows."""
        self._bytes += _ROUND_BYTES + array_bytes

    def move(self) -> None:
        """Move what was committed to the database. What cannot be moved is in the log and stays there."""
        self._bytes = 0
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
