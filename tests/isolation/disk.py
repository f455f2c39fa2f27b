"""A disk under a server of the tests that refuses when told to."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from disco.storage import files


class Disk:
    """Refuses to open files for writing, with an error of the operating system's, while `code` is not 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.code = 0
        monkeypatch.setattr(files, "open", self._open, raising=False)

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
