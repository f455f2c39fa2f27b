"""What a store promises. Implementations are synchronous; one owner at a time calls them.

A round is either wholly on disk or not at all: whoever has been told of it finds it again, bit for bit, after
any crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from disco.core.aggregation import State
from disco.core.evaluation import Mark
from disco.core.model import Model
from disco.core.names import TaskID
from disco.core.task import Task
from disco.core.weights import Weights


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task on disk.

    Args:
        source: where it came from: ``folder``, ``provider`` or ``post``.
        added_at: Unix seconds.
    """

    task: Task
    source: str
    added_at: float


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """A round on disk: its number and figures, without its weights.

    Args:
        number: from 0, the initial model.
        closed_at: Unix seconds.
        participants: present when it closed.
        contributions: summed in it.
        seconds: from its first contribution to its closing.
        figures: other figures, by name (evaluation, privacy).
    """

    number: int
    closed_at: float
    participants: int
    contributions: int
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counted:
    """Which contributions a round summed, so that none that is sent again counts twice, after a restart neither.

    Args:
        keys: of those that have one.
        since: rounds before this one are over for good, and their keys are forgotten.
    """

    keys: tuple[str, ...] = ()
    since: int = 0


#: What a round of contributions without keys counts.
NOTHING_COUNTED = Counted()


class Store(Protocol):
    """Tasks, their models, and every round's global model."""

    def tasks(self) -> Sequence[StoredTask]:
        """Behaviour: in the order they were added; empty when there are none."""

    def add_task(self, task: Task, model: Model, source: str, now: float) -> None:
        """Keep a task, its model, and its initial weights as round 0.

        Behaviour: durable when it returns. The ID is taken → `TaskExists`, nothing changes. The disk refuses
        → `StorageError`, nothing changes.
        """

    def update_task(self, task: Task) -> None:
        """Replace a task's document. Behaviour: unknown ID → `UnknownTask`. Rounds and model stay."""

    def remove_task(self, task: TaskID) -> None:
        """Forget a task, its model and rounds. Behaviour: unknown ID → `UnknownTask`."""

    def model(self, task: TaskID) -> Model:
        """Return the model with its initial weights. Behaviour: unknown ID → `UnknownTask`."""

    def save_round(
        self,
        task: TaskID,
        record: RoundRecord,
        weights: Weights,
        state: State | None = None,
        counted: Counted = NOTHING_COUNTED,
        cost: float = 0.0,
    ) -> None:
        """Keep a round, with the keys of what counted in it; the store may forget older ones, never 0.

        `state` is what the strategy needs to go on from this round: it takes the place of what was kept with the
        round before, of which nothing is left. `cost` is what the round spends of what nothing gives back.

        Behaviour: durable when it returns; on `StorageError` the round before is still the latest. Unknown ID
        → `UnknownTask`. The number is not larger than the latest → `StorageError`. Weights of another
        structure than the model's → `InvalidUpdate`.
        """

    def add_figures(
        self, task: TaskID, number: int, figures: Mapping[str, float], marks: Mapping[str, Mark] | None = None
    ) -> None:
        """Add figures to a round that is on disk, and put marks on rounds, the same or others, together.

        `marks` take the place of all that there are; None leaves them. The store does not forget a round that is
        marked, except in `reset_rounds`.

        Behaviour: durable when it returns. Figures of the same names are replaced, the others stay. Unknown ID →
        `UnknownTask`; no such round → `UnknownRound`, and nothing changes.
        """

    def marks(self, task: TaskID) -> Mapping[str, Mark]:
        """Return all marks by name. Behaviour: unknown ID → `UnknownTask`."""

    def latest_round(self, task: TaskID) -> RoundRecord:
        """Return the newest round. Behaviour: unknown ID → `UnknownTask`."""

    def rounds(self, task: TaskID) -> Sequence[RoundRecord]:
        """Return all rounds kept, oldest first. Behaviour: unknown ID → `UnknownTask`."""

    def round_weights(self, task: TaskID, number: int) -> Weights:
        """Return a round's global model.

        Behaviour: unknown ID → `UnknownTask`; no such round → `UnknownRound`; damaged → `StorageError`.
        """

    def latest_state(self, task: TaskID) -> State:
        """Return what was kept with the newest round for the strategy; empty if nothing was.

        Behaviour: unknown ID → `UnknownTask`; damaged → `StorageError`.
        """

    def counted(self, task: TaskID) -> Mapping[str, int]:
        """Return the keys that are kept, each with the round that its contribution made.

        Behaviour: unknown ID → `UnknownTask`.
        """

    def reset_rounds(self, task: TaskID) -> None:
        """Forget every round but 0, which becomes the latest, all marks, and what was kept for the strategy.

        The totals are 0 again; what was spent stays spent.

        Behaviour: unknown ID → `UnknownTask`.
        """

    def spent(self, task: TaskID) -> float:
        """Return the sum of what all rounds that were ever kept have cost, whatever has become of them.

        Behaviour: unknown ID → `UnknownTask`.
        """

    def totals(self, task: TaskID) -> tuple[int, int]:
        """Return the numbers of closed rounds and of contributions over all of them, forgotten ones included.

        Behaviour: unknown ID → `UnknownTask`.
        """

    @property
    def durable(self) -> bool:
        """Whether what is kept outlives the process; then methods may wait for a disk, and else they never wait."""

    @property
    def untidy(self) -> bool:
        """Whether a round that was kept has left something to `tidy`."""

    def tidy(self) -> None:
        """Do what can wait until it has been said that a round is durable, such as removing what is forgotten.

        Behaviour: nothing to tidy → nothing. What cannot be tidied now, or never is, goes with a later change.
        """

    def close(self) -> None:
        """Let go of the data directory. The store cannot be used afterwards."""
