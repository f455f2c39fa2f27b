"""Files that no row names: what a transaction gave up, what a failed one had written, what a crash left."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from disco.errors import StorageError
from disco.storage.files import discard
from disco.storage.rows import ROUNDS
from disco.storage.schema import database_refusals, primary_code, transaction

_log = logging.getLogger("disco.storage")

#: Names that the store gives. The sweep touches nothing else: somebody may keep notes beside the models.
_FILE = re.compile(r"((state-[a-z0-9-]+-)?\d+-[0-9a-f]{8}\.f32|model-[0-9a-f]{8}\.msgpack)(\.\d+\.tmp)?")


def strays(directories: Iterable[Path], named: set[Path]) -> Iterator[Path]:
    """Find what is in the directories of tasks, or is one of them, and has a name of the store's but no row."""
    for directory in directories:
        if directory not in named:
            yield directory
            continue
        files = {*directory.glob("*"), *directory.glob(f"{ROUNDS}/*")} - named
        yield from sorted(path for path in files if _FILE.fullmatch(path.name))


class Leftovers:
    """Removes files once it is certain that no row names them."""

    def __init__(
        self, database: Path, connection: sqlite3.Connection, named: Callable[[], set[Path]]
    ) -> None:
        """Begin with nothing to remove.

        Args:
            database: where `connection` leads, for messages.
            connection: the writer's.
            named: reads every path that a row names.
        """
        self._database = database
        self._connection = connection
        self._named = named
        self._superfluous: set[Path] = set()  # no row names them
        self._doubtful: set[Path] = set()  # written for a transaction that failed

    @contextmanager
    def transaction(self, *written: Path, later: bool = False) -> Iterator[set[Path]]:
        """Commit what the block does, or nothing of it.

        Args:
            written: the files that it will name. They go if it fails.
            later: whether files that no row names any more wait for `remove`, or for the next transaction.

        Yields:
            A set to add the files to that no row will name once it has committed. They go then, or `later`.
        """
        superfluous: set[Path] = set()
        self._superfluous.difference_update(written)  # a file that could not be removed may be wanted again
        try:
            with database_refusals(self._database), transaction(self._connection):
                yield superfluous
        except BaseException as error:
            self._doubtful.update(written)
            # After an I/O error a crash could still bring the transaction back from the write-ahead log, and
            # with it a row that needs its file. The next commit overwrites it there.
            if primary_code(error.__cause__) != sqlite3.SQLITE_IOERR:
                self._decide()
                self.remove()
            raise
        self._decide()
        if later:
            self.remove()  # what has waited since another one
        self._superfluous |= superfluous
        if not later:
            self.remove()

    def sweep(self, directories: Iterable[Path]) -> None:
        """Remove what a crash left behind in the directories of tasks, and of tasks that there are not."""
        for path in strays(directories, self._named()):
            if discard(path):
                _log.info("%s was left behind and is removed", path)

    def abandon(self, paths: set[Path]) -> None:
        """Remove files that were written for a transaction that did not come to its beginning."""
        self._doubtful |= paths
        self._decide()
        self.remove()

    @property
    def waiting(self) -> bool:
        """Whether there is something to `remove`."""
        return bool(self._superfluous)

    def remove(self) -> None:
        """Remove what is certain. What cannot be removed now is tried again with the next."""
        if self._superfluous:
            self._superfluous = {path for path in self._superfluous if not discard(path)}

    def close(self) -> None:
        """Remove what can be removed, and leave the rest to the sweep of whoever opens the directory next."""
        self.remove()
        self._superfluous.clear()

    def _decide(self) -> None:
        """Find out what no row names of the files that are in doubt. If the database does not tell, they stay so."""
        if self._doubtful:
            with suppress(StorageError):
                self._superfluous |= self._doubtful - self._named()
                self._doubtful.clear()
