"""The tasks that are served: what they are, and who runs their sessions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import trio

from disco.core.model import Model
from disco.core.names import Scheme, TaskID
from disco.core.submission import Submission
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import DiscoError, StorageError, TaskExists, Unavailable, UnknownTask
from disco.metrics import Metrics
from disco.runtime.adoption import adopt
from disco.runtime.entry import Entry, Served
from disco.runtime.evaluating import run_with
from disco.runtime.journal import Bell, Journal
from disco.runtime.keeper import Keeper
from disco.runtime.opening import EVERYBODY, open_hub, open_training
from disco.runtime.scorers import Scorers
from disco.runtime.supervision import supervise
from disco.runtime.tracing import NoTracer, Tracer
from disco.runtime.turn import Turn
from disco.settings import Settings
from disco.storage.contract import RoundRecord
from disco.storage.pauses import read_paused, write_paused

__all__ = ["Directory", "Entry", "Served"]

log = logging.getLogger("disco.runtime")


class Directory:
    """All tasks by ID, in the order they were added, with their coordinators supervised in one nursery."""

    def __init__(self, settings: Settings, keeper: Keeper, metrics: Metrics, nursery: trio.Nursery) -> None:
        """Make an empty one; coordinators will live in `nursery`."""
        self.settings = settings
        self._kept_in = settings.data_dir if settings.storage.durable else None
        self._keeper = keeper
        self._metrics = metrics
        self._nursery = nursery
        self.tracer: Tracer = NoTracer()
        self.turn = Turn()
        self.bell = Bell()
        self._entries: dict[TaskID, Entry] = {}
        self._arriving: set[TaskID] = set()
        self._scorers = Scorers(settings.limits, metrics)
        self._pausing = trio.Lock()  # the file of paused tasks is written by one at a time

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
                self._scorers.take(submission)
                await adopt(self._keeper, submission, source)
            except DiscoError as error:
                broken.append((submission.task.id, error))
        for stored in await self._keeper.tasks():
            try:
                await self._serve(stored.task, await self._keeper.model(stored.task.id), stored.added_at)
            except DiscoError as error:
                broken.append((stored.task.id, error))
        for name in await trio.to_thread.run_sync(read_paused, self._kept_in):
            if (entry := self._entries.get(TaskID(name))) is not None:
                entry.pause.begin()
        return broken

    async def add(self, submission: Submission, source: str) -> Entry:
        """Keep a new task and serve it; it is durable when this returns.

        Raises:
            TaskExists: the ID is taken.
            InvalidTask: it names held-out data, and comes without a folder.
            StorageError: the disk refused; the task is not served.
        """
        task = submission.task.id
        if task in self._entries or task in self._arriving:
            raise TaskExists(f"there is a task {task!r} already")
        self._scorers.take(submission)
        self._arriving.add(task)
        try:
            added_at = time.time()
            with trio.CancelScope(shield=True):  # who asked may leave; on disk and not served is nothing
                await self._keeper.add_task(submission.task, submission.model, source, added_at)
                log.info("task=%s added from %s", task, source)
                await self._serve(submission.task, submission.model, added_at)
            return self._entries[task]
        finally:
            self._arriving.discard(task)

    async def pause(self, task: str) -> None:
        """Stop a task's training and its hub, over restarts too; its participants are let go, with the reason.

        What was contributed to the open round is dropped: its senders contribute again when they come back.

        Raises:
            UnknownTask: there is none.
            StorageError: the disk refused; nothing has changed.
        """
        await self._set_paused(task, paused=True)

    async def resume(self, task: str) -> None:
        """Let a paused task go on from its newest round.

        Raises:
            UnknownTask: there is none.
            StorageError: the disk refused; nothing has changed.
        """
        await self._set_paused(task, paused=False)

    async def rounds(self, task: str) -> Sequence[RoundRecord]:
        """See `Store.rounds`."""
        return await self._keeper.rounds(self.get(task).task.id)

    async def round_weights(self, task: str, number: int) -> Weights:
        """See `Store.round_weights`."""
        return await self._keeper.round_weights(self.get(task).task.id, number)

    async def _set_paused(self, task: str, *, paused: bool) -> None:
        entry = self.get(task)
        async with self._pausing:
            others = {other.task.id for other in self if other.pause.on} - {entry.task.id}
            names = others | {entry.task.id} if paused else others
            await trio.to_thread.run_sync(write_paused, self._kept_in, names)
            entry.pause.begin() if paused else entry.pause.end()
        log.warning("task=%s %s", task, "paused" if paused else "resumed")
        entry.journal.changed()

    async def roll_back(self, task: str, number: int) -> int:
        """Make an earlier round's model the newest, as a new round, and return that round's number.

        Raises:
            UnknownTask: there is none.
            UnknownRound: the round is not on disk.
            Unavailable: the task is paused, restarted, or not open for federated training.
            StorageError: the disk refused; nothing has changed.
        """
        entry = self.get(task)
        coordinator, performer, session = entry.training, entry.performer, entry.session
        if coordinator is None or performer is None or session is None:
            raise Unavailable(f"the task {task!r} has no federated training that runs: resume it first")
        await coordinator.run_errand(lambda: performer.roll_back(number, len(session.present)), EVERYBODY)
        return session.round

    async def change(self, task: Task) -> Entry:
        """Give a task another document; its model and its rounds stay. Its participants are let go, to come back.

        What was contributed to the open round is dropped: its senders contribute again when they come back.

        Raises:
            UnknownTask: there is none of this ID.
            InvalidTask: it names other held-out data than before.
            Unavailable: it is being changed already.
            StorageError: the disk refused; nothing has changed.
        """
        with self._changing(task.id) as entry, trio.CancelScope(shield=True):
            self._scorers.require_same_data(entry.task, task)
            await self._keeper.update_task(task)
            await self._retire(entry, 1012, "the task was changed; come back")
            log.warning("task=%s changed", task.id)
            changed = await self._serve(task, entry.model, entry.added_at)
        if entry.pause.on:
            changed.pause.begin()
        return changed

    async def remove(self, task: str) -> None:
        """Forget a task, its model and its rounds; its participants are let go.

        Raises:
            UnknownTask: there is none.
            Unavailable: it is being changed already.
            StorageError: the disk refused; it is served from its newest round again.
        """
        with self._changing(task) as entry, trio.CancelScope(shield=True):
            await self._retire(entry, UnknownTask.close_code, "the task was removed")
            try:
                await self._keeper.remove_task(entry.task.id)
            except StorageError:
                await self._serve(entry.task, entry.model, entry.added_at)
                raise
            del self._entries[entry.task.id]
            self._scorers.forget(entry.task.id)
        log.warning("task=%s removed", task)
        self.bell.ring()

    @contextmanager
    def _changing(self, task: str) -> Iterator[Entry]:
        """Keep others from changing a task's entry at the same time."""
        entry = self.get(task)
        if entry.task.id in self._arriving:
            raise Unavailable(f"the task {task!r} is being changed; try again in a moment")
        self._arriving.add(entry.task.id)
        try:
            yield entry
        finally:
            self._arriving.discard(entry.task.id)

    async def _retire(self, entry: Entry, code: int, reason: str) -> None:
        """End a task's coordinators; what is being written is finished."""
        entry.close_all(code, reason)
        await entry.lifetime.end()
        entry.journal.bell.close()

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection of every task, and whatever watches them."""
        self.bell.close()
        for entry in self:
            entry.journal.bell.close()
            entry.close_all(code, reason)

    async def _serve(self, task: Task, model: Model, added_at: float) -> Entry:
        evaluator = self._scorers.evaluator(task)
        entry = Entry(task, model, added_at, journal=Journal(self.bell), evaluator=evaluator)
        entry.journal.begin(await self._keeper.rounds(task.id))
        for scheme in sorted(task.schemes):
            await self._nursery.start(self._keep_running, entry, scheme)
        self._entries[task.id] = entry
        self.bell.ring()
        return entry

    async def _keep_running(self, entry: Entry, scheme: Scheme, task_status: trio.TaskStatus[None]) -> None:
        """Run the lives of a task's coordinator in one scheme, until its entry is retired."""
        life = self._run_training if scheme is Scheme.FEDERATED else self._run_hub
        name, report = f"task={entry.task.id} {scheme}", partial(entry.crashed, scheme)
        await entry.lifetime.run(partial(supervise, name, life, entry, report, task_status=task_status))

    async def _run_training(self, entry: Entry, task_status: trio.TaskStatus[None]) -> None:
        """Run one life of a task's federated session, from what is on disk; a pause interrupts it."""
        while True:
            coordinator, performer = await open_training(
                entry.task, entry.model, self._keeper, self.settings, self._metrics
            )
            coordinator.report_to(entry.journal, self.tracer, self.turn)
            performer.journal, performer.tracer = entry.journal, self.tracer
            performer.metrics = self._metrics
            run = coordinator.run
            if entry.evaluator is not None:
                run = partial(run_with, entry.evaluator, coordinator, performer)
            entry.training, entry.performer = coordinator, performer
            entry.journal.changed()
            task_status.started()
            try:
                await entry.pause.run_unless_on(run)
            finally:
                entry.training = entry.performer = None
                entry.journal.changed()
                coordinator.close_all(*_farewell(entry, "training"))
            await entry.pause.over()

    async def _run_hub(self, entry: Entry, task_status: trio.TaskStatus[None]) -> None:
        """Run one life of a task's hub; a pause interrupts it."""
        while True:
            entry.hub = coordinator = open_hub(entry.task, self.settings, self._metrics)
            coordinator.report_to(entry.journal, self.tracer, self.turn)
            entry.journal.changed()
            task_status.started()
            try:
                await entry.pause.run_unless_on(coordinator.run)
            finally:
                entry.hub = None
                entry.journal.changed()
                coordinator.close_all(*_farewell(entry, "hub"))
            await entry.pause.over()


def _farewell(entry: Entry, what: str) -> tuple[int, str]:
    """Return the close code and the reason for those whose coordinator has stopped."""
    if entry.pause.on:
        return Unavailable.close_code, "the task is paused; come back later"
    return 1011, f"the {what} stopped on an error of the server's and starts again"
