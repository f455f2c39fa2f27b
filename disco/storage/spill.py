"""Room for contributions that have to be held: memory up to a limit, then temporary files that are mapped."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from disco.core.weights import Float32s
from disco.storage.files import refusals


class SpillingSpace:
    """A `disco.core.aggregation.held.Space` for one task.

    Files have no names, so nothing is left of them, whatever ends the process. Their blocks are claimed before they
    are mapped: a disk that fills up refuses a contribution, instead of killing whoever writes to the mapping.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        """Take up to `limit_bytes` of memory, and then files on the disk of `directory`."""
        self._directory = directory
        self._free_bytes = limit_bytes
        self._in_memory: set[int] = set()

    def take(self, parameters: int) -> Float32s:
        """Return an array of this size with any content.

        Raises:
            StorageError: the disk has no room for it.
        """
        size = 4 * parameters
        if size > self._free_bytes:
            return self._mapped(size)
        row = np.empty(parameters, dtype=np.float32)
        self._free_bytes -= size
        self._in_memory.add(id(row))
        return row

    def give_back(self, row: Float32s) -> None:
        """Let go of an array that `take` returned. A file goes with its array's last reference."""
        if id(row) in self._in_memory:
            self._in_memory.remove(id(row))
            self._free_bytes += row.nbytes

    def _mapped(self, size: int) -> Float32s:
        refused = refusals(self._directory, "used for contributions that do not fit in memory")
        with refused, tempfile.TemporaryFile(dir=self._directory) as file:
            _claim(file.fileno(), size)
            return np.frombuffer(mmap.mmap(file.fileno(), size), dtype=np.float32)


def _claim(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS has none
        os.pwrite(descriptor, bytes(size), 0)
