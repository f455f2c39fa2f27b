"""The store on disk: SQLite for what is queried, files for weights.

The row is the moment of truth. A file is durable before the transaction that names it commits, and a file is
removed after the transaction that forgets it has committed; so every row's file exists, and what a crash
leaves behind is a file without a row, which the next opening removes. A small model is in its row: one wait for
the disk where a file takes three.

    save_round:   write 7-…f32.tmp → rename → fsync → fsync directory → COMMIT     tidy: remove what was pruned
                  └──────────── a crash here leaves round 6 ────────┘ └──── a crash here leaves round 7 ────┘
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from disco.core.aggregation import State
from disco.core.evaluation import Mark
from disco.core.model import Model
from disco.core.names import TaskID
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import StorageError, TaskExists, UnknownRound, UnknownTask
from disco.storage.contract import NOTHING_COUNTED, Counted, RoundRecord
from disco.storage.counted import remember
from disco.storage.database import open_database, task_directories
from disco.storage.figures import amend, put_marks
from disco.storage.files import Chunk, Kept, checksum, chunks_of, discard, keep, make_directory
from disco.storage.leftovers import Leftovers
from disco.storage.lock import DirectoryLock
from disco.storage.log import Log
from disco.storage.reader import SqliteReader
from disco.storage.rounds import (
    count_round,
    delete_rounds,
    files_of,
    forget_rounds,
    insert_round,
    placed,
    replace_states,
)
from disco.storage.rows import ROUNDS, Held, TaskRow
from disco.storage.schema import database_refusals
from disco.storage.standing import Standing, read_standing

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
            self._standings: dict[TaskID, Standing] = {}
            self._log = Log(connection)
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
            insert_round(self._connection, sequence, RoundRecord(0, now, 0, 0, 0.0), weights)

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
        self._standings.pop(task, None)
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
        standing = self._standings.pop(task, None) or self._stand(task, self._keep_last, self._keep_every)
        row, number = standing.row, record.number
        weights.require_structure(row.shapes)
        if number <= standing.latest:
            raise StorageError(f"Round {number} of {task} cannot follow round {standing.latest}")
        held = self._hold(row.rounds, str(number), chunks_of(weights))
        files = row.files_of_round(number, held)
        states = self._hold_state(row, number, files, state or {})
        files_of_states = row.files_of_states(number, states)
        leaving = standing.leaving(self._keep_every)
        with self._transaction(*files, *files_of_states, later=True) as superfluous:
            # These go first: what they leave free in the database the new row takes.
            delete_rounds(self._connection, row.sequence, leaving)
            insert_round(self._connection, row.sequence, record, held)
            if standing.counted or counted.keys:
                remember(self._connection, row.sequence, number, counted)
            if standing.remembers or states:
                replace_states(self._connection, row.sequence, number, states)
            count_round(self._connection, row.sequence, record.contributions, cost)
            superfluous.update(standing.state_files, files_of(leaving))
        standing.advance((number, files), files_of_states, bool(states), bool(counted.keys))
        self._standings[task] = standing
        self._log.add_round(sum(each.inline_bytes for each in (held, *states.values())))

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
        if marks is not None:
            self._standings.pop(task, None)
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
        self._standings.pop(task, None)
        standing = self._stand(task, keep_last, every)
        with self._transaction() as superfluous:
            delete_rounds(self._connection, standing.row.sequence, standing.older)
            superfluous.update(files_of(standing.older))

    def reset_rounds(self, task: TaskID) -> None:
        """Forget every round but 0, which becomes the latest; the totals are 0 again. What was spent stays.

        Raises:
            UnknownTask: no task has this ID.
            StorageError: the disk refused; nothing has changed.
        """
        row = self._find(task)
        self._standings.pop(task, None)
        with self._transaction() as superfluous:
            superfluous.update(
                files_of(placed(self._connection, row, "AND number > 0")), self._state_files(row)
            )
            forget_rounds(self._connection, row.sequence)
            put_marks(self._connection, row.sequence, {})

    @property
    def durable(self) -> bool:
        """Tell that all that is kept outlives the process."""
        return True

    @property
    def untidy(self) -> bool:
        """Whether `tidy` has something to do."""
        return self._leftovers.waiting or self._log.long

    def tidy(self) -> None:
        """Remove the files of rounds that are forgotten, and move what was committed from the log to the database."""
        self._leftovers.remove()
        if self._log.long:
            self._log.move()

    def close(self) -> None:
        """Let go of the data directory. A second time does nothing."""
        self._leftovers.close()
        self._standings.clear()
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

    def _hold_state(self, row: TaskRow, number: int, written: set[Path], state: State) -> dict[str, Held]:
        """Hold what the strategy remembers; if that fails, the files `written` before go too."""
        states: dict[str, Held] = {}
        try:
            for name, values in state.items():
                chunks = chunks_of(Weights.from_flat(values, ((values.size,),)))
                states[name] = self._hold(row.directory, f"state-{name}-{number}", chunks)
        except StorageError:
            self._leftovers.abandon(written | row.files_of_states(number, states))
            raise
        return states

    def _stand(self, task: TaskID, keep_last: int, every: int) -> Standing:
        row = self._find(task)
        with database_refusals(self._path):
            return read_standing(self._connection, row, keep_last, every)

    def _named(self) -> set[Path]:
        """Return every file and directory that a row names."""
        named: set[Path] = set()
        for row in self._task_rows():
            named |= {row.directory, row.model_path, row.rounds}
            named |= self._state_files(row) | self._round_files(row)
        return named


def _document(task: Task) -> str:
    return json.dumps(dict(task.document))
