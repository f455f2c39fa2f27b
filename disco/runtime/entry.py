"""One task that is served: what it is, who runs its sessions, and how they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from disco.core.decentralized import DecentralizedSession
from disco.core.evaluation import plan_of
from disco.core.model import Model
from disco.core.names import Scheme
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import DiscoError
from disco.runtime.coordinator import Coordinator
from disco.runtime.evaluation import Evaluator
from disco.runtime.journal import Journal
from disco.runtime.lifetime import Lifetime
from disco.runtime.opening import EVERYBODY, TrainingSession
from disco.runtime.pause import Pause
from disco.runtime.training import Training


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether a task trains; `reason` says why not. *Ended*: its model stays, and nothing counts any more."""

    state: Literal["running", "restarting", "paused", "ended"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """The global model that ``model.json`` and ``weights.bin`` serve.

    Args:
        version: differs from that of every other model which this task has had.
    """

    round: int
    weights: Weights
    version: str


@dataclass(slots=True, eq=False)
class Entry:
    """One task that is served.

    Args:
        added_at: when the task was added, in Unix seconds.
        training: runs the federated session; None while that is restarted, or if the task forbids the scheme.
        hub: runs the decentralized sessions, one for each dialect; None likewise.
        performer: what `training` sums and stores with.
        journal: what people who watch the task are shown.
        pause: on while an admin has paused the task.
        lifetime: of its coordinators, over all their restarts.
        crashes: why a coordinator is not there, by scheme.
        evaluator: evaluates the models of rounds; None if the task has no scorer.
    """

    task: Task
    model: Model
    added_at: float
    training: Coordinator[TrainingSession] | None = None
    hub: Coordinator[DecentralizedSession] | None = None
    performer: Training | None = None
    journal: Journal = field(default_factory=Journal)
    pause: Pause = field(default_factory=Pause)
    lifetime: Lifetime = field(default_factory=Lifetime)
    crashes: dict[Scheme, str] = field(default_factory=dict)
    evaluator: Evaluator | None = None

    @property
    def session(self) -> TrainingSession | None:
        """The federated session, if it runs."""
        return self.training.sessions[EVERYBODY] if self.training is not None else None

    def served(self) -> Served:
        """Return the latest global model of a federated task, and the initial one of a decentralized task."""
        session, performer = self.session, self.performer
        if self.task.scheme is Scheme.FEDERATED and session is not None and performer is not None:
            return Served(session.round, session.weights, f"{session.round}@{performer.closed_at!r}")
        return Served(0, self.model.weights, f"0@{self.added_at!r}")

    @property
    def ended(self) -> str:
        """Why the federated training has ended, as a sentence; empty while it goes on, or while that is not known."""
        return self.session.ended if self.session is not None else ""

    @property
    def best(self) -> int | None:
        """The best round so far; None where none is kept, or while that is not known."""
        return self.performer.judge.best if self.performer is not None else None

    @property
    def evaluation_trouble(self) -> str:
        """Why the newest round has no figures of the task's scorer, as a sentence; empty if it has, or may get them."""
        if self.evaluator is not None:
            return self.evaluator.trouble
        name = plan_of(self.task.document).data
        return (
            ""
            if name is None
            else f"rounds are not evaluated: {name} was in the task's folder, which is not here"
        )

    @property
    def running(self) -> bool:
        """Whether the coordinators of every scheme that the task is open in are running."""
        return all(self._coordinator(scheme) is not None for scheme in self.task.schemes)

    @property
    def condition(self) -> Condition:
        """Whether the task trains, and if not, why."""
        if self.pause.on:
            return Condition("paused", "an admin has paused the task")
        for scheme in sorted(self.task.schemes):
            if self._coordinator(scheme) is None:
                return Condition("restarting", self.crashes.get(scheme, f"{scheme} training starts"))
        if self.performer is not None and self.performer.trouble:
            return Condition("paused", self.performer.trouble)
        if self.ended:
            return Condition("ended", self.ended)
        return Condition("running")

    def crashed(self, scheme: Scheme, error: Exception, pause: float) -> None:
        """Remember why a coordinator is not there. What is no error of Disco's own is for the log alone."""
        why = (
            str(error)
            if isinstance(error, DiscoError)
            else f"an error of the server's, {type(error).__name__}"
        )
        self.crashes[scheme] = f"{scheme} training stopped and starts again in {pause:g} s: {why}"
        self.journal.changed()

    def _coordinator(self, scheme: Scheme) -> Coordinator[Any] | None:
        return self.training if scheme is Scheme.FEDERATED else self.hub

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection of the task."""
        for coordinator in (self.training, self.hub):
            if coordinator is not None:
                coordinator.close_all(code, reason)
