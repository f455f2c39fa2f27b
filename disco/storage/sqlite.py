"""The store on disk: SQLite for what is queried, files for weights.

The row is the moment of truth. A file is durable before the transaction that names it commits, and a file is
removed after the transaction that forgets it has committed; so every row's file exists, and what a crash
leaves behind is a file without a row, which the next opening removes.

    save_round:   write 7-…f32.tmp → fsync → rename → fsync directory → COMMIT → remove what was pruned
                  └──────────── a crash here leaves round 6 ────────┘ └──── a crash here leaves round 7 ────┘
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from disco.core.aggregation import State
from disco.core.events import TaskID
from disco.core.model import Model
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import StorageError, TaskExists, UnknownTask
from disco.storage.contract import NOTHING_COUNTED, Counted, RoundRecord
from disco.storage.counted import forget, remember
from disco.storage.database import open_database, task_directories
from disco.storage.files import Kept, chunks_of, discard, keep, make_directory
from disco.storage.lock import DirectoryLock
from disco.storage.reader import ROUNDS, SqliteReader, TaskRow
from disco.storage.schema import database_refusals, primary_code, transaction

_log = logging.getLogger("disco.storage")

#: Names that this store gives. The sweep touches nothing else: somebody may keep notes beside the models.
_FILE = re.compile(r"((state-[a-z0-9-]+-)?\d+-[0-9a-f]{8}\.f32|model-[0-9a-f]{8}\.msgpack)(\.\d+\.tmp)?")


class SqliteStore(SqliteReader):
    """A `disco.storage.contract.Store` in a data directory, which is made if there is none.

    Args:
        data_dir: held by this store alone until it is closed; `disco.storage.reader.open_reader` may read.
        keep_last: how many of a task's newest rounds are kept, at least 1.
        keep_every: the rounds whose number is a multiple of this are kept too, and so is round 0.

    Raises:
        DataDirectoryInUse: another server holds it.
        StorageError: it cannot be made, written or read, or is not whole.
    """

    def __init__(self, data_dir: Path, *, keep_last: int = 10, keep_every: int = 100) -> None:
        if keep_last < 1 or keep_every < 1:
            raise ValueError("keep_last and keep_every must be at least 1")
        self._keep_last, self._keep_every = keep_last, keep_every
        self._superfluous: set[Path] = set()  # no row names them
        self._doubtful: set[Path] = set()  # written for a transaction that failed
        make_directory(data_dir)
        with ExitStack() as undo:
            self._lock = DirectoryLock(data_dir)
            undo.callback(self._lock.release)
            connection = open_database(data_dir)
            undo.callback(connection.close)
            super().__init__(data_dir, connection)
            self._sweep()
            undo.pop_all()

    def add_task(self, task: Task, model: Model, source: str, now: float) -> None:
        """Keep a task, its model, and its initial weights as round 0, durably.

        Raises:
            TaskExists: the ID is taken.
            StorageError: the disk refused; nothing has changed.
        """
        if self._task_rows("WHERE id = ?", task.id):
            raise TaskExists(f"There is a task {task.id} already")
        ((given,),) = self._select("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'tasks'")
        sequence = given + 1
        directory = self._directory(sequence, task.id)
        architecture = model.to_msgpack(tagged=True)
        try:
            make_directory(rounds := directory / ROUNDS)
            kept = keep(directory, "model", ".msgpack", [architecture])
            weights = keep(rounds, "0", ".f32", chunks_of(model.weights))
        except StorageError:
            discard(directory)
            raise
        shapes = json.dumps(model.structure)
        columns = "sequence, id, document, source, added_at, shapes, model_bytes, model_crc32"
        with self._transaction(directory):
            self._connection.execute(
                f"INSERT INTO tasks ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (sequence, task.id, _document(task), source, now, shapes, kept.size, kept.crc32),
            )
            self._insert_round(sequence, RoundRecord(0, now, 0, 0, 0.0), weights)

    def update_task(self, task: Task) -> None:
        """Replace a task's document, durably. Its rounds and its model stay.

        Raises:
            UnknownTask: no task has this ID.
            StorageError: the disk refused; nothing has changed.
        """
        with self._transaction():
            changed = self._connection.execute(
                "UPDATE tasks SET document = ? WHERE id = ?", (_document(task), task.id)
            )
            if not changed.rowcount:
                raise UnknownTask(f"There is no task {task.id}")

    def remove_task(self, task: TaskID) -> None:
        """Forget a task, its model and its rounds.

        Raises:
            UnknownTask: no task has this ID.
            StorageError: the disk refused; nothing has changed.
        """
        row = self._find(task)
        with self._transaction() as superfluous:
            self._connection.execute("DELETE FROM tasks WHERE sequence = ?", (row.sequence,))
            superfluous.add(row.directory)

    def save_round(
        self,
        task: TaskID,
        record: RoundRecord,
        weights: Weights,
        state: State | None = None,
        counted: Counted = NOTHING_COUNTED,
    ) -> None:
        """Keep a round with the strategy's state, durably, and forget what the rule of keeping does not name.

        Raises:
            UnknownTask: no task has this ID.
            InvalidUpdate: the weights do not have the model's structure.
            StorageError: the number is not larger than the latest, or the disk refused; nothing has changed.
        """
        row = self._find(task)
        weights.require_structure(row.shapes)
        latest = self.latest_round(task).number
        if record.number <= latest:
            raise StorageError(f"Round {record.number} of {task} cannot follow round {latest}")
        kept = keep(row.rounds, str(record.number), ".f32", chunks_of(weights))
        path = row.round_path(record.number, kept)
        states = self._keep_state(row, record.number, path, state or {})
        written = [row.state_path(name, record.number, each) for name, each in states.items()]
        with self._transaction(path, *written) as superfluous:
            self._insert_round(row.sequence, record, kept)
            remember(self._connection, row.sequence, record.number, counted)
            superfluous.update(self._replace_state(row, record.number, states))
            self._connection.execute(
                "UPDATE tasks SET closed_rounds = closed_rounds + 1, contributions = contributions + ?"
                " WHERE sequence = ?",
                (record.contributions, row.sequence),
            )
            superfluous.update(self._prune(row, self._keep_last, self._keep_every))

    def prune(self, task: TaskID, keep_last: int, every: int) -> None:
        """Forget all rounds but 0, the newest `keep_last`, and those that are a multiple of `every`.

        Raises:
            UnknownTask: no task has this ID.
            StorageError: the disk refused; nothing has changed.
        """
        if keep_last < 1 or every < 1:
            raise ValueError("keep_last and every must be at least 1")
        row = self._find(task)
        with self._transaction() as superfluous:
            superfluous.update(self._prune(row, keep_last, every))

    def reset_rounds(self, task: TaskID) -> None:
        """Forget every round but 0, which becomes the latest; the totals are 0 again.

        Raises:
            UnknownTask: no task has this ID.
            StorageError: the disk refused; nothing has changed.
        """
        row = self._find(task)
        with self._transaction() as superfluous:
            superfluous.update(self._forget_rounds(row, "number > 0"))
            forget(self._connection, row.sequence)
            superfluous.update(self._replace_state(row, 0, {}))
            self._connection.execute(
                "UPDATE tasks SET closed_rounds = 0, contributions = 0 WHERE sequence = ?", (row.sequence,)
            )

    def close(self) -> None:
        """Let go of the data directory. A second time does nothing."""
        super().close()
        self._lock.release()

    def _insert_round(self, task: int, record: RoundRecord, weights: Kept) -> None:
        figures = json.dumps(dict(record.figures))
        self._connection.execute(
            "INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                task,
                record.number,
                record.closed_at,
                record.participants,
                record.contributions,
                record.seconds,
                figures,
                weights.size,
                weights.crc32,
            ),
        )

    def _keep_state(self, row: TaskRow, number: int, weights: Path, state: State) -> dict[str, Kept]:
        """Write what the strategy remembers; if that fails, the file of the round's `weights` goes too."""
        states: dict[str, Kept] = {}
        try:
            for name, values in state.items():
                chunks = chunks_of(Weights.from_flat(values, ((values.size,),)))
                states[name] = keep(row.directory, f"state-{name}-{number}", ".f32", chunks)
        except StorageError:
            self._doubtful |= {
                weights,
                *(row.state_path(name, number, kept) for name, kept in states.items()),
            }
            self._tidy()
            raise
        return states

    def _replace_state(self, row: TaskRow, number: int, states: dict[str, Kept]) -> set[Path]:
        """Let rows name other states, in a transaction, and return the files that were named before."""
        before = {path for _, path, _ in self._states(row)}
        self._connection.execute("DELETE FROM states WHERE task = ?", (row.sequence,))
        values = [(row.sequence, name, number, kept.size, kept.crc32) for name, kept in states.items()]
        self._connection.executemany("INSERT INTO states VALUES (?, ?, ?, ?, ?)", values)
        return before

    def _prune(self, row: TaskRow, keep_last: int, every: int) -> set[Path]:
        newest = "SELECT number FROM rounds WHERE task = ? ORDER BY number DESC LIMIT ?"
        rule = f"number > 0 AND number % ? != 0 AND number NOT IN ({newest})"
        return self._forget_rounds(row, rule, every, row.sequence, keep_last)

    def _forget_rounds(self, row: TaskRow, rule: str, *values: object) -> set[Path]:
        """Delete the rows of rounds, in a transaction, and return the files to remove after it."""
        which = f"FROM rounds WHERE task = ? AND {rule}"
        found = self._connection.execute(
            f"SELECT number, weights_bytes, weights_crc32 {which}", (row.sequence, *values)
        ).fetchall()
        self._connection.execute(f"DELETE {which}", (row.sequence, *values))
        return {row.round_path(number, Kept(size, crc32)) for number, size, crc32 in found}

    @contextmanager
    def _transaction(self, *written: Path) -> Iterator[set[Path]]:
        """Commit what the block does, or nothing of it.

        Args:
            written: the files that it will name. They go if it fails.

        Yields:
            A set to add the files to that no row will name once it has committed. They go then.
        """
        superfluous: set[Path] = set()
        try:
            with database_refusals(self._path), transaction(self._connection):
                yield superfluous
        except BaseException as error:
            self._doubtful.update(written)
            # After an I/O error a crash could still bring the transaction back from the write-ahead log, and
            # with it a row that needs its file. The next commit overwrites it there.
            if primary_code(error.__cause__) != sqlite3.SQLITE_IOERR:
                self._tidy()
            raise
        self._superfluous |= superfluous
        self._tidy()

    def _tidy(self) -> None:
        """Remove the files that no row names. What cannot be removed now is tried again with the next."""
        if self._doubtful:
            with suppress(StorageError):
                self._superfluous |= self._doubtful - self._named()
                self._doubtful.clear()
        self._superfluous = {path for path in self._superfluous if not discard(path)}

    def _named(self) -> set[Path]:
        """Return every file and directory that a row names."""
        named: set[Path] = set()
        for row in self._task_rows():
            named |= {row.directory, row.model_path, row.rounds}
            named.update(path for _, path, _ in self._states(row))
            query = "SELECT number, weights_bytes, weights_crc32 FROM rounds WHERE task = ?"
            for number, size, crc32 in self._select(query, row.sequence):
                named.add(row.round_path(number, Kept(size, crc32)))
        return named

    def _sweep(self) -> None:
        """Remove what a crash left behind."""
        named = self._named()
        left: list[Path] = []
        for directory in task_directories(self._data_dir):
            if directory not in named:
                left.append(directory)
                continue
            files = {*directory.glob("*"), *directory.glob(f"{ROUNDS}/*")} - named
            left += sorted(path for path in files if _FILE.fullmatch(path.name))
        for path in left:
            if discard(path):
                _log.info("%s was left behind and is removed", path)


def _document(task: Task) -> str:
    return json.dumps(dict(task.document))
