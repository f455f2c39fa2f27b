"""A store that forgets everything with its process: the contract at its plainest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from disco.core.aggregation import State
from disco.core.evaluation import Mark
from disco.core.model import Model
from disco.core.names import TaskID
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import StorageError, TaskExists, UnknownRound, UnknownTask
from disco.storage.contract import NOTHING_COUNTED, Counted, RoundRecord, StoredTask


@dataclass(slots=True)
class _Entry:
    stored: StoredTask
    model: Model
    rounds: dict[int, tuple[RoundRecord, Weights]]
    closed_rounds: int = 0
    contributions: int = 0
    spent: float = 0.0
    state: State = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryStore:
    """A `disco.storage.contract.Store` without a disk. Every round that is kept takes the memory of a model.

    Args:
        keep_last: how many of a task's newest rounds are kept, at least 1.
        keep_every: the rounds whose number is a multiple of this are kept too, and so is round 0.
    """

    keep_last: int = 10
    keep_every: int = 100
    _entries: dict[TaskID, _Entry] = field(default_factory=dict, init=False, repr=False)

    def tasks(self) -> Sequence[StoredTask]:
        """Return every task, in the order they were added."""
        return [entry.stored for entry in self._entries.values()]

    def add_task(self, task: Task, model: Model, source: str, now: float) -> None:
        """Keep a task, its model, and its initial weights as round 0."""
        if task.id in self._entries:
            raise TaskExists(f"There is a task {task.id} already")
        initial = (RoundRecord(0, now, 0, 0, 0.0), _copy(model.weights))
        self._entries[task.id] = _Entry(StoredTask(task, source, now), model, {0: initial})

    def update_task(self, task: Task) -> None:
        """Replace a task's document; its rounds and its model stay."""
        entry = self._find(task.id)
        entry.stored = replace(entry.stored, task=task)

    def remove_task(self, task: TaskID) -> None:
        """Forget a task, its model and its rounds."""
        self._find(task)
        del self._entries[task]

    def model(self, task: TaskID) -> Model:
        """Return a task's model with its initial weights."""
        return self._find(task).model

    def save_round(
        self,
        task: TaskID,
        record: RoundRecord,
        weights: Weights,
        state: State | None = None,
        counted: Counted = NOTHING_COUNTED,
        cost: float = 0.0,
    ) -> None:
        """Keep a round with the strategy's state, and forget the rounds that the rule of keeping does not name."""
        entry = self._find(task)
        weights.require_structure(entry.model.structure)
        if record.number <= max(entry.rounds):
            raise StorageError(f"Round {record.number} of {task} cannot follow round {max(entry.rounds)}")
        entry.rounds[record.number] = (record, _copy(weights))
        entry.state = {name: kept.copy() for name, kept in (state or {}).items()}
        kept = {key: round_ for key, round_ in entry.counted.items() if round_ >= counted.since}
        entry.counted = kept | dict.fromkeys(counted.keys, record.number)
        entry.closed_rounds += 1
        entry.contributions += record.contributions
        entry.spent += cost
        self.prune(task, self.keep_last, self.keep_every)

    def add_figures(
        self, task: TaskID, number: int, figures: Mapping[str, float], marks: Mapping[str, Mark] | None = None
    ) -> None:
        """Add figures to a round, and put marks on rounds."""
        entry = self._find(task)
        if number not in entry.rounds:
            raise UnknownRound(f"The task {task} has no round {number} in memory")
        record, weights = entry.rounds[number]
        entry.rounds[number] = (replace(record, figures={**record.figures, **figures}), weights)
        if marks is not None:
            entry.marks = dict(marks)

    def marks(self, task: TaskID) -> dict[str, Mark]:
        """Return all marks by name."""
        return dict(self._find(task).marks)

    def prune(self, task: TaskID, keep_last: int, every: int) -> None:
        """Forget all rounds but 0, the newest `keep_last`, those that are a multiple of `every`, and marked ones."""
        entry = self._find(task)
        marked = {mark.round for mark in entry.marks.values()}
        newest = sorted(entry.rounds)[-keep_last:]
        entry.rounds = {
            number: kept
            for number, kept in entry.rounds.items()
            if number == 0 or number in newest or number % every == 0 or number in marked
        }

    def latest_round(self, task: TaskID) -> RoundRecord:
        """Return a task's newest round."""
        rounds = self._find(task).rounds
        return rounds[max(rounds)][0]

    def rounds(self, task: TaskID) -> Sequence[RoundRecord]:
        """Return every round kept of a task, oldest first."""
        return [record for record, _ in self._find(task).rounds.values()]

    def round_weights(self, task: TaskID, number: int) -> Weights:
        """Return a round's global model."""
        rounds = self._find(task).rounds
        if number not in rounds:
            raise UnknownRound(f"The task {task} has no round {number} in memory")
        return rounds[number][1]

    def latest_state(self, task: TaskID) -> State:
        """Return what was kept with the newest round for the strategy."""
        return self._find(task).state

    def counted(self, task: TaskID) -> dict[str, int]:
        """Return the keys of what counted, each with its round."""
        return dict(self._find(task).counted)

    def reset_rounds(self, task: TaskID) -> None:
        """Forget every round but 0, which becomes the latest; the totals are 0 again."""
        entry = self._find(task)
        entry.rounds = {0: entry.rounds[0]}
        entry.closed_rounds = entry.contributions = 0
        entry.state = {}
        entry.counted = {}
        entry.marks = {}

    def spent(self, task: TaskID) -> float:
        """Return what all rounds that were ever kept have cost."""
        return self._find(task).spent

    def totals(self, task: TaskID) -> tuple[int, int]:
        """Return the numbers of closed rounds and of contributions, forgotten ones included."""
        entry = self._find(task)
        return entry.closed_rounds, entry.contributions

    @property
    def durable(self) -> bool:
        """Tell that nothing outlives the process."""
        return False

    @property
    def untidy(self) -> bool:
        """Tell that there is nothing to tidy."""
        return False

    def tidy(self) -> None:
        """Do nothing: what is forgotten is gone."""

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _find(self, task: TaskID) -> _Entry:
        if task not in self._entries:
            raise UnknownTask(f"There is no task {task}")
        return self._entries[task]


def _copy(weights: Weights) -> Weights:
    """Copy weights whose tensors may be views into somebody's message; a model in one buffer is nobody else's."""
    return weights if weights.buffer is not None else Weights.from_flat(weights.flat.copy(), weights.shapes)
