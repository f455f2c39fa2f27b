"""A copy of a data directory that is whole, also while a server writes to the one that is copied.

No round can be written, or pruned, while the database is copied and the files that it names are linked: some
milliseconds, for which a server's own transaction waits. Files are never changed, so the links can be copied after.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from disco.errors import StorageError
from disco.storage.files import make_directory, refusals, sync_directory
from disco.storage.pauses import FILE as PAUSES
from disco.storage.reader import DATABASE, SqliteReader, connect, open_reader
from disco.storage.schema import database_refusals, primary_code
from disco.storage.tokens import FILE as TOKENS


def back_up(data_dir: Path, to: Path) -> int:
    """Copy a data directory, and compare every copied model with its checksum.

    Args:
        data_dir: a server may hold it.
        to: a directory that is not there yet.

    Returns:
        How many bytes were copied.

    Raises:
        StorageError: it cannot be read, is damaged, or cannot be written there; there is no half copy.
    """
    if to.exists():
        raise StorageError(f"{to} exists already; name a directory that is not there yet")
    with closing(open_reader(data_dir)):  # it is a data directory, of this version
        pass
    unfinished = to.with_name(f".{to.name}.{os.getpid()}.unfinished")
    try:
        with refusals(to, "written"):
            make_directory(unfinished)
            with _held(data_dir):
                linked = _take_all(data_dir, unfinished)
            for path in linked:
                copy = path.with_name(f"{path.name}.copy")
                shutil.copy2(path, copy)
                os.replace(copy, path)
            with closing(open_reader(unfinished)) as copied:
                _check(copied)
            size = _settle(unfinished)
            os.replace(unfinished, to)
            sync_directory(to.parent)
            return size
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _held(data_dir: Path) -> Iterator[None]:
    """Keep a server from committing, if there may be one: nobody writes to a directory that is read-only."""
    with closing(connect(data_dir / DATABASE, "mode=rw")) as connection:
        try:
            with database_refusals(data_dir / DATABASE):
                connection.execute("BEGIN IMMEDIATE")
        except StorageError as error:
            if primary_code(error.__cause__) != sqlite3.SQLITE_READONLY:
                raise
        yield


def _take_all(data_dir: Path, to: Path) -> list[Path]:
    """Copy the database, and hold on to what it names; return what is linked only."""
    with (
        database_refusals(data_dir / DATABASE),
        closing(connect(data_dir / DATABASE, "mode=ro")) as source,
        closing(sqlite3.connect(to / DATABASE)) as target,
    ):
        source.backup(target)
    for name in (TOKENS, PAUSES):
        if (data_dir / name).exists():
            shutil.copy2(data_dir / name, to / name)
    with closing(open_reader(to)) as copied:
        named = [path for stored in copied.tasks() for path in copied.files(stored.task.id)]
    return [path for path in named if _take(data_dir / path.relative_to(to), path)]


def _take(source: Path, path: Path) -> bool:
    """Hold on to a file that is removed when its round is pruned: by a link, which takes no time; else by copying.

    Returns:
        Whether it is a link, to be made a copy.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, path)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, path)
        return False
    return True


def _check(reader: SqliteReader) -> None:
    """Read everything, and so compare it with its checksum.

    Raises:
        StorageError: something is damaged.
    """
    for stored in reader.tasks():
        reader.model(stored.task.id)
        reader.latest_state(stored.task.id)
        for record in reader.rounds(stored.task.id):
            reader.round_weights(stored.task.id, record.number)


def _settle(to: Path) -> int:
    """Make a copy durable; return its size."""
    size = 0
    for path in sorted(to.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            size += path.stat().st_size if path.is_file() else 0
        finally:
            os.close(descriptor)
    sync_directory(to)
    return size
