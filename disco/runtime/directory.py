"""The tasks that are served: what they are, and who runs their sessions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import trio

from disco.core.decentralized import DecentralizedSession
from disco.core.events import Scheme, TaskID
from disco.core.federated import FederatedSession
from disco.core.model import Model
from disco.core.submission import Submission
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import DiscoError, InvalidTask, Problem, TaskExists, UnknownTask
from disco.metrics import Metrics
from disco.runtime.coordinator import Coordinator
from disco.runtime.keeper import Keeper
from disco.runtime.opening import EVERYBODY, open_hub, open_training
from disco.runtime.supervision import supervise
from disco.runtime.training import Training
from disco.settings import Settings

log = logging.getLogger("disco.runtime")


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
    """

    task: Task
    model: Model
    added_at: float
    training: Coordinator[FederatedSession] | None = None
    hub: Coordinator[DecentralizedSession] | None = None
    performer: Training | None = None

    @property
    def session(self) -> FederatedSession | None:
        """The federated session, if it runs."""
        return self.training.sessions[EVERYBODY] if self.training is not None else None

    def served(self) -> Served:
        """Return the latest global model of a federated task, and the initial one of a decentralized task."""
        session, performer = self.session, self.performer
        if self.task.scheme is Scheme.FEDERATED and session is not None and performer is not None:
            return Served(session.round, session.weights, f"{session.round}@{performer.closed_at!r}")
        return Served(0, self.model.weights, f"0@{self.added_at!r}")

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection of the task."""
        for coordinator in (self.training, self.hub):
            if coordinator is not None:
                coordinator.close_all(code, reason)


class Directory:
    """All tasks by ID, in the order they were added, with their coordinators supervised in one nursery."""

    def __init__(self, settings: Settings, keeper: Keeper, metrics: Metrics, nursery: trio.Nursery) -> None:
        """Make an empty one; coordinators will live in `nursery`."""
        self._settings = settings
        self._keeper = keeper
        self._metrics = metrics
        self._nursery = nursery
        self._entries: dict[TaskID, Entry] = {}
        self._arriving: set[TaskID] = set()

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def get(self, task: str) -> Entry:
        """Return a task's entry.

        Raises:
            UnknownTask: there is none.
        """
        try:
            return self._entries[TaskID(task)]
        except KeyError:
            raise UnknownTask(f"there is no task {task!r} here; GET /tasks lists them") from None

    async def open(self, given: Sequence[tuple[Submission, str]]) -> list[tuple[TaskID, DiscoError]]:
        """Serve what the store holds, and the tasks given from folders and providers, each with its source.

        A given task that the store knows goes on with its rounds, under its document as it is now.

        Returns:
            The tasks that cannot be served, with the reason.
        """
        broken: list[tuple[TaskID, DiscoError]] = []
        for submission, source in given:
            try:
                await self._adopt(submission, source)
            except DiscoError as error:
                broken.append((submission.task.id, error))
        for stored in await self._keeper.tasks():
            try:
                await self._serve(stored.task, await self._keeper.model(stored.task.id), stored.added_at)
            except DiscoError as error:
                broken.append((stored.task.id, error))
        return broken

    async def add(self, submission: Submission, source: str) -> Entry:
        """Keep a new task and serve it; it is durable when this returns.

        Raises:
            TaskExists: the ID is taken.
            StorageError: the disk refused; the task is not served.
        """
        task = submission.task.id
        if task in self._entries or task in self._arriving:
            raise TaskExists(f"there is a task {task!r} already")
        self._arriving.add(task)
        try:
            added_at = time.time()
            await self._keeper.add_task(submission.task, submission.model, source, added_at)
            log.info("task=%s added from %s", task, source)
            return await self._serve(submission.task, submission.model, added_at)
        finally:
            self._arriving.discard(task)

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection of every task."""
        for entry in self:
            entry.close_all(code, reason)

    async def _adopt(self, submission: Submission, source: str) -> None:
        task = submission.task
        stored = {known.task.id: known for known in await self._keeper.tasks()}
        if task.id not in stored:
            await self._keeper.add_task(task, submission.model, source, time.time())
            return
        kept = (await self._keeper.model(task.id)).structure
        if kept != submission.model.structure:
            found = f"{[list(shape) for shape in submission.model.structure]}"
            problem = f"has tensors {found}, but its rounds on disk have {[list(shape) for shape in kept]}"
            raise InvalidTask([Problem("model", f"{problem}: give the changed task another ID")])
        if stored[task.id].task.document != task.document:
            await self._keeper.update_task(task)

    async def _serve(self, task: Task, model: Model, added_at: float) -> Entry:
        entry = Entry(task, model, added_at)
        if Scheme.FEDERATED in task.schemes:
            await self._nursery.start(supervise, f"task={task.id} federated", self._run_training, entry)
        if Scheme.DECENTRALIZED in task.schemes:
            await self._nursery.start(supervise, f"task={task.id} decentralized", self._run_hub, entry)
        self._entries[task.id] = entry
        return entry

    async def _run_training(self, entry: Entry, task_status: trio.TaskStatus[None]) -> None:
        """Run one life of a task's federated session, from what is on disk."""
        coordinator, performer = await open_training(
            entry.task, entry.model, self._keeper, self._settings, self._metrics
        )
        entry.training, entry.performer = coordinator, performer
        task_status.started()
        try:
            await coordinator.run()
        finally:
            entry.training = entry.performer = None
            coordinator.close_all(1011, "the training stopped on an error of the server's and starts again")

    async def _run_hub(self, entry: Entry, task_status: trio.TaskStatus[None]) -> None:
        """Run one life of a task's hub."""
        entry.hub = coordinator = open_hub(entry.task, self._settings, self._metrics)
        task_status.started()
        try:
            await coordinator.run()
        finally:
            entry.hub = None
            coordinator.close_all(1011, "the hub stopped on an error of the server's and starts again")
