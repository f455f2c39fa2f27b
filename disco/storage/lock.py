"""One server at a time in a data directory.

The lock is the kernel's (``flock``) on an open file, so it goes with its process, whatever ends that; the
file's content only tells others whom to ask. The file itself stays: removing it would let two processes each
lock a file of the same name.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from disco.errors import DataDirectoryInUse
from disco.storage.files import refusals

NAME = "lock"


class DirectoryLock:
    """Holds a data directory from its making until `release`, or until the process is gone.

    Raises:
        DataDirectoryInUse: another holds it, in this process or another; the message says who.
        StorageError: the lock file cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / NAME
        with refusals(path, "written"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._take(directory)
            except BaseException:
                os.close(self._descriptor)
                raise

    def _take(self, directory: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryInUse(
                f"The data directory {directory.absolute()} is in use by {self._holder()}; "
                "stop it or choose another with --data-dir"
            ) from None
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def _holder(self) -> str:
        try:
            holder = json.loads(os.pread(self._descriptor, 4096, 0))
            return f"process {holder['pid']} on host {holder['host']} since {holder['since']}"
        except (ValueError, KeyError, TypeError):
            return "another process"  # which has locked the file and not yet said who it is

    def release(self) -> None:
        """Let others in. A second time does nothing."""
        if self._descriptor >= 0:
            with suppress(OSError):  # on a disk that refuses, a stale name is better than a lock kept
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1
