"""Reading a data directory, also while a server writes to it.

    <data_dir>/
    ├── lock                              held by the process that writes
    ├── disco.sqlite3                     tasks, the figures of rounds, small arrays; what it names exists
    └── tasks/<sequence>-<task ID>/
        ├── model-<crc32>.msgpack         architecture and initial weights, as clients get them
        ├── state-<name>-<number>-<crc32>.f32   what the strategy remembers after the newest round, likewise
        └── rounds/<number>-<crc32>.f32   a global model: its tensors' little-endian float32 values in order

An array that is small is in the database, and has no file. Files are never changed, only added and removed: a
reader sees one round or another and nothing between.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from disco.core.aggregation import State
from disco.core.evaluation import Mark
from disco.core.model import Model
from disco.core.names import TaskID
from disco.core.task import Task
from disco.core.weights import Float32s, Structure, Weights
from disco.errors import InvalidTask, StorageError, UnknownRound, UnknownTask
from disco.storage.contract import RoundRecord, StoredTask
from disco.storage.files import Kept, floats_of, read, read_floats
from disco.storage.rounds import files_of, placed, state_files
from disco.storage.rows import Held, TaskRow
from disco.storage.schema import database_refusals, primary_code, require_current

DATABASE = "disco.sqlite3"
TASKS = "tasks"

_ROUND = "SELECT number, closed_at, participants, contributions, seconds, figures FROM rounds WHERE task = ?"


class SqliteReader:
    """The reading half of `disco.storage.contract.Store`. Open one with `open_reader`."""

    def __init__(self, data_dir: Path, connection: sqlite3.Connection) -> None:
        self._data_dir = data_dir
        self._path = data_dir / DATABASE
        self._connection = connection

    def tasks(self) -> Sequence[StoredTask]:
        """Return every task, in the order they were added."""
        rows = self._select("SELECT document, source, added_at FROM tasks ORDER BY sequence")
        return [StoredTask(self._task(document), source, added_at) for document, source, added_at in rows]

    def model(self, task: TaskID) -> Model:
        """Return a task's model with its initial weights.

        Raises:
            UnknownTask: no task has this ID.
            StorageError: the file is missing or damaged.
        """
        row = self._find(task)
        content = read(row.model_path, row.model)
        try:
            return Model.from_msgpack(content.data)
        except InvalidTask as error:
            raise StorageError(f"{row.model_path} is not a model that this Disco reads: {error}") from error

    def latest_round(self, task: TaskID) -> RoundRecord:
        """Return a task's newest round.

        Raises:
            UnknownTask: no task has this ID.
        """
        row = self._find(task)
        (latest,) = self._select(f"{_ROUND} ORDER BY number DESC LIMIT 1", row.sequence)
        return _record(latest)

    def rounds(self, task: TaskID) -> Sequence[RoundRecord]:
        """Return every round kept of a task, oldest first.

        Raises:
            UnknownTask: no task has this ID.
        """
        row = self._find(task)
        return [_record(found) for found in self._select(f"{_ROUND} ORDER BY number", row.sequence)]

    def round_weights(self, task: TaskID, number: int) -> Weights:
        """Return a round's global model.

        Raises:
            UnknownTask: no task has this ID.
            UnknownRound: the task has no such round, or not any more.
            StorageError: the file is missing or damaged.
        """
        found = self._locate(task, number)
        path, held, shapes = found
        try:
            return Weights.from_flat(self._read(path, held), shapes)
        except StorageError:
            if self._locate(task, number) != found:  # removed under a reader's eyes, and there is another now
                return self.round_weights(task, number)
            raise

    def latest_state(self, task: TaskID) -> State:
        """Return what was kept with a task's newest round for its strategy; empty if nothing was.

        Raises:
            UnknownTask: no task has this ID.
            StorageError: a file is missing or damaged.
        """
        row = self._find(task)
        query = (
            "SELECT name, round, state_bytes, state_crc32, content FROM states WHERE task = ? ORDER BY name"
        )
        state = {}
        for name, number, size, crc32, content in self._select(query, row.sequence):
            held = Held(Kept(size, crc32), content)
            state[name] = self._read(row.state_path(name, number, held.kept), held)
        return state

    def files(self, task: TaskID) -> list[Path]:
        """Return every file of a task's that the database names.

        Raises:
            UnknownTask: no task has this ID.
        """
        row = self._find(task)
        return [row.model_path, *sorted(self._state_files(row)), *sorted(self._round_files(row))]

    def totals(self, task: TaskID) -> tuple[int, int]:
        """Return the numbers of closed rounds and of contributions over all of them, pruned ones included.

        Raises:
            UnknownTask: no task has this ID.
        """
        return self._find(task).totals

    def spent(self, task: TaskID) -> float:
        """Return what all rounds that were ever kept have cost, forgotten ones included.

        Raises:
            UnknownTask: no task has this ID.
        """
        row = self._find(task)
        ((spent,),) = self._select("SELECT spent FROM tasks WHERE sequence = ?", row.sequence)
        return float(spent)

    def counted(self, task: TaskID) -> dict[str, int]:
        """Return the keys of what counted in the newest rounds, each with its round.

        Raises:
            UnknownTask: no task has this ID.
        """
        row = self._find(task)
        return dict(self._select("SELECT key, round FROM counted WHERE task = ?", row.sequence))

    def marks(self, task: TaskID) -> dict[str, Mark]:
        """Return the rounds of a task that are singled out, by the names of their marks.

        Raises:
            UnknownTask: no task has this ID.
        """
        found = self._select("SELECT name, round, value FROM marks WHERE task = ?", self._find(task).sequence)
        return {name: Mark(round_, value) for name, round_, value in found}

    def close(self) -> None:
        """Close the database. A second time does nothing."""
        self._connection.close()

    def _select(self, query: str, *values: object) -> list[Any]:
        with database_refusals(self._path):
            return self._connection.execute(query, values).fetchall()

    def _find(self, task: TaskID) -> TaskRow:
        rows = self._task_rows("WHERE id = ?", task)
        if not rows:
            raise UnknownTask(f"There is no task {task}")
        return rows[0]

    def _task_rows(self, where: str = "", *values: object) -> list[TaskRow]:
        columns = "sequence, id, shapes, model_bytes, model_crc32, closed_rounds, contributions"
        return [
            TaskRow(
                sequence,
                self._directory(sequence, id_),
                tuple(map(tuple, json.loads(shapes))),
                Kept(size, crc32),
                (closed_rounds, contributions),
            )
            for sequence, id_, shapes, size, crc32, closed_rounds, contributions in self._select(
                f"SELECT {columns} FROM tasks {where}", *values
            )
        ]

    def _read(self, path: Path, held: Held) -> Float32s:
        if held.content is None:
            return read_floats(path, held.kept)
        return floats_of(held.content, held.kept, f"{path.stem} in {self._path}")

    def _state_files(self, row: TaskRow) -> set[Path]:
        with database_refusals(self._path):
            return state_files(self._connection, row)

    def _round_files(self, row: TaskRow) -> set[Path]:
        with database_refusals(self._path):
            return files_of(placed(self._connection, row))

    def _directory(self, sequence: int, task: TaskID) -> Path:
        # The sequence keeps titanic and Titanic apart, also where the file system does not.
        return self._data_dir / TASKS / f"{sequence}-{task}"

    def _locate(self, task: TaskID, number: int) -> tuple[Path, Held, Structure]:
        row = self._find(task)
        query = "SELECT weights_bytes, weights_crc32, content FROM rounds WHERE task = ? AND number = ?"
        found = self._select(query, row.sequence, number)
        if not found:
            raise UnknownRound(f"The task {task} has no round {number} on disk")
        ((size, crc32, content),) = found
        held = Held(Kept(size, crc32), content)
        return row.round_path(number, held.kept), held, row.shapes

    def _task(self, document: str) -> Task:
        try:
            return Task.from_document(json.loads(document))
        except InvalidTask as error:
            raise StorageError(f"{self._path} holds a task that cannot be used: {error}") from error


def open_reader(data_dir: Path) -> SqliteReader:
    """Open a data directory for reading only, whether or not a server holds it.

    Raises:
        StorageError: there is no such data directory, or it cannot be read.
    """
    path = data_dir / DATABASE
    if not path.is_file():
        raise StorageError(
            f"{data_dir.absolute()} is not a data directory: {DATABASE} is missing there; "
            "name the server's with --data-dir"
        )
    with database_refusals(path):
        connection = connect(path, "mode=ro")
        try:
            require_current(connection, path)
        except sqlite3.OperationalError as error:
            connection.close()
            log = path.with_name(f"{DATABASE}-wal")
            unwritable = primary_code(error) in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
            if not unwritable or (log.exists() and log.stat().st_size):
                raise
            # Reading needs a file of shared memory beside the database, unless nobody can be writing.
            connection = connect(path, "immutable=1")
            require_current(connection, path)
    return SqliteReader(data_dir, connection)


def connect(path: Path, options: str) -> sqlite3.Connection:
    """Open a database for callers that take turns, in whichever threads, and begin their own transactions."""
    uri = f"{path.absolute().as_uri()}?{options}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _record(row: tuple[int, float, int, int, float, str]) -> RoundRecord:
    number, closed_at, participants, contributions, seconds, figures = row
    return RoundRecord(number, closed_at, participants, contributions, seconds, json.loads(figures))
