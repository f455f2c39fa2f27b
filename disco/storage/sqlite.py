"""The store on disk: SQLite for what is queried, files for weights.

The row is the moment of truth. A file is durable before the transaction that names it commits, and a file is
removed after the transaction that forgets it has committed; so every row's file exists, and what a crash
leaves behind is a file without a row, which the next opening removes. A small model is in its row: one wait for
the disk where a file takes three.

    save_round:   write 7-…f32.tmp → fsync → rename → fsync directory → COMMIT → remove what was pruned
                  └──────────── a crash here leaves round 6 ────────┘ └──── a crash here leaves round 7 ────┘
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from disco.core.aggregation import State
from disco.core.evaluation import Mark
from disco.core.events import TaskID
from disco.core.model import Model
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import StorageError, TaskExists, UnknownRound, UnknownTask
from disco.storage.contract import NOTHING_COUNTED, Counted, RoundRecord
from disco.storage.counted import forget, remember
from disco.storage.database import open_database, task_directories
from disco.storage.figures import amend, put_marks
from disco.storage.files import Chunk, Kept, checksum, chunks_of, discard, keep, make_directory
from disco.storage.leftovers import Leftovers
from disco.storage.lock import DirectoryLock
from disco.storage.reader import SqliteReader
from disco.storage.rows import ROUNDS, Held, TaskRow

#: Arrays up to this many bytes are in their rows.
INLINE_BYTES = 256 * 1024


class SqliteStore(SqliteReader):
    """A `disco.storage.contract.Store` in a data directory, which is made if there is none.

    Args:
        data_dir: held by this store alone until it is closed; `disco.storage.reader.open_reader` may read.
        keep_last: how many of a task's newest rounds are kept, at least 1.
        keep_every: the rounds whose number is a multiple of this are kept too, and so is round 0.
        inline_bytes: arrays up to this many bytes are in their rows, larger ones in files.

    Raises:
        DataDirectoryInUse: another server holds it.
        StorageError: it cannot be made, written or read, or is not whole.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        keep_last: int = 10,
        keep_every: int = 100,
        inline_bytes: int = INLINE_BYTES,
    ) -> None:
        if keep_last < 1 or keep_every < 1:
            raise ValueError("keep_last and keep_every must be at least 1")
        self._keep_last, self._keep_every = keep_last, keep_every
        self._inline_bytes = inline_bytes
        make_directory(data_dir)
        with ExitStack() as undo:
            self._lock = DirectoryLock(data_dir)
            undo.callback(self._lock.release)
            connection = open_database(data_dir)
            undo.callback(connection.close)
            super().__init__(data_dir, connection)
            self._leftovers = Leftovers(self._path, connection, self._named)
            self._transaction = self._leftovers.transaction
            self._leftovers.sweep(task_directories(data_dir))
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
            weights = self._hold(rounds, "0", chunks_of(model.weights))
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
        cost: float = 0.0,
    ) -> None:
        """Keep a round with the strategy's state, durably, and forget what the rule of keeping does not name.

        Raises:
            UnknownTask: no task has this ID.
            InvalidUpdate: the weights do not have the model's structure.
            StorageError: the number is not larger than the latest, or the disk refused; nothing has changed.
        """
        row = self._find(task)
        weights.require_structure(row.shapes)
        ((latest,),) = self._select("SELECT max(number) FROM rounds WHERE task = ?", row.sequence)
        if record.number <= latest:
            raise StorageError(f"Round {record.number} of {task} cannot follow round {latest}")
        held = self._hold(row.rounds, str(record.number), chunks_of(weights))
        written = row.files_of_round(record.number, held)
        states = self._hold_state(row, record.number, written, state or {})
        for name, each in states.items():
            written |= row.files_of_state(name, record.number, each)
        with self._transaction(*written) as superfluous:
            self._insert_round(row.sequence, record, held)
            remember(self._connection, row.sequence, record.number, counted)
            superfluous.update(self._replace_state(row, record.number, states))
            self._connection.execute(
                "UPDATE tasks SET closed_rounds = closed_rounds + 1, contributions = contributions + ?,"
                " spent = spent + ? WHERE sequence = ?",
                (record.contributions, cost, row.sequence),
            )
            superfluous.update(self._prune(row, self._keep_last, self._keep_every))

    def add_figures(
        self, task: TaskID, number: int, figures: Mapping[str, float], marks: Mapping[str, Mark] | None = None
    ) -> None:
        """Add figures to a round on disk, and put marks on rounds, durably.

        Raises:
            UnknownTask: no task has this ID.
            UnknownRound: the task has no such round, or not any more.
            StorageError: the disk refused; nothing has changed.
        """
        row = self._find(task)
        with self._transaction():
            if not amend(self._connection, row.sequence, number, figures):
                raise UnknownRound(f"The task {task} has no round {number} on disk")
            if marks is not None:
                put_marks(self._connection, row.sequence, marks)

    def prune(self, task: TaskID, keep_last: int, every: int) -> None:
        """Forget all rounds but 0, the newest `keep_last`, those that are a multiple of `every`, and marked ones.

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
        """Forget every round but 0, which becomes the latest; the totals are 0 again. What was spent stays.

        Raises:
            UnknownTask: no task has this ID.
            StorageError: the disk refused; nothing has changed.
        """
        row = self._find(task)
        with self._transaction() as superfluous:
            superfluous.update(self._forget_rounds(row, "number > 0"))
            forget(self._connection, row.sequence)
            put_marks(self._connection, row.sequence, {})
            superfluous.update(self._replace_state(row, 0, {}))
            self._connection.execute(
                "UPDATE tasks SET closed_rounds = 0, contributions = 0 WHERE sequence = ?", (row.sequence,)
            )

    def close(self) -> None:
        """Let go of the data directory. A second time does nothing."""
        super().close()
        self._lock.release()

    def _hold(self, directory: Path, stem: str, chunks: Sequence[Chunk]) -> Held:
        """Take an array's bytes for its row if they are few; else write them to a file of `directory`.

        Raises:
            StorageError: the disk refused; there is no such file.
        """
        size = sum(len(chunk) for chunk in chunks)
        if size > self._inline_bytes:
            return Held(keep(directory, stem, ".f32", chunks))
        return Held(Kept(size, checksum(chunks)), b"".join(chunks))

    def _insert_round(self, task: int, record: RoundRecord, weights: Held) -> None:
        self._connection.execute(
            "INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                task,
                record.number,
                record.closed_at,
                record.participants,
                record.contributions,
                record.seconds,
                json.dumps(dict(record.figures)),
                weights.kept.size,
                weights.kept.crc32,
                weights.content,
            ),
        )

    def _hold_state(self, row: TaskRow, number: int, written: set[Path], state: State) -> dict[str, Held]:
        """Hold what the strategy remembers; if that fails, the files `written` before go too."""
        states: dict[str, Held] = {}
        try:
            for name, values in state.items():
                chunks = chunks_of(Weights.from_flat(values, ((values.size,),)))
                states[name] = self._hold(row.directory, f"state-{name}-{number}", chunks)
        except StorageError:
            files = (row.files_of_state(name, number, held) for name, held in states.items())
            self._leftovers.abandon(written.union(*files))
            raise
        return states

    def _replace_state(self, row: TaskRow, number: int, states: dict[str, Held]) -> set[Path]:
        """Let rows hold other states, in a transaction, and return the files that were named before."""
        before = self._state_files(row)
        self._connection.execute("DELETE FROM states WHERE task = ?", (row.sequence,))
        values = [
            (row.sequence, name, number, held.kept.size, held.kept.crc32, held.content)
            for name, held in states.items()
        ]
        self._connection.executemany("INSERT INTO states VALUES (?, ?, ?, ?, ?, ?)", values)
        return before

    def _prune(self, row: TaskRow, keep_last: int, every: int) -> set[Path]:
        newest = "SELECT number FROM rounds WHERE task = ? ORDER BY number DESC LIMIT ?"
        marked = "SELECT round FROM marks WHERE task = ?"
        rule = f"number > 0 AND number % ? != 0 AND number NOT IN ({newest}) AND number NOT IN ({marked})"
        return self._forget_rounds(row, rule, every, row.sequence, keep_last, row.sequence)

    def _forget_rounds(self, row: TaskRow, rule: str, *values: object) -> set[Path]:
        """Delete the rows of rounds, in a transaction, and return the files to remove after it."""
        files = self._round_files(row, f"AND {rule}", *values)
        self._connection.execute(f"DELETE FROM rounds WHERE task = ? AND {rule}", (row.sequence, *values))
        return files

    def _named(self) -> set[Path]:
        """Return every file and directory that a row names."""
        named: set[Path] = set()
        for row in self._task_rows():
            named |= {row.directory, row.model_path, row.rounds}
            named |= self._state_files(row) | self._round_files(row)
        return named


def _document(task: Task) -> str:
    return json.dumps(dict(task.document))
