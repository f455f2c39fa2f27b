"""A disk under a server of the tests that refuses when told to."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import AbstractContextManager
from typing import Any

import pytest

from disco.storage import files, leftovers, schema

#: SQLite's codes for what the operating system tells it.
_SQLITE = {errno.ENOSPC: sqlite3.SQLITE_FULL, errno.EROFS: sqlite3.SQLITE_READONLY}


class Disk:
    """Refuses to open files for writing, and SQLite's transactions, while `code` is not 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.code = 0
        monkeypatch.setattr(files, "open", self._open, raising=False)
        monkeypatch.setattr(leftovers, "transaction", self._transaction)

    def fill(self) -> None:
        self.code = errno.ENOSPC

    def turn_read_only(self) -> None:
        self.code = errno.EROFS

    def recover(self) -> None:
        self.code = 0

    def _open(self, path: Any, mode: str = "r", *more: Any, **others: Any) -> Any:
        if self.code and "r" not in mode:
            raise OSError(self.code, os.strerror(self.code), str(path))
        return open(path, mode, *more, **others)

    def _transaction(self, connection: sqlite3.Connection) -> AbstractContextManager[None]:
        if self.code:
            error = sqlite3.OperationalError(os.strerror(self.code))
            error.sqlite_errorcode = _SQLITE[self.code]
            raise error
        return schema.transaction(connection)
