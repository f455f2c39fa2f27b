"""The store, seen from Trio: one caller at a time, in a worker thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import trio

from disco.core.aggregation import State
from disco.core.aggregation.registry import recipe_of
from disco.core.evaluation import Mark
from disco.core.model import Model
from disco.core.names import TaskID
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import InvalidTask, Problem
from disco.metrics import Metrics
from disco.storage.contract import NOTHING_COUNTED, Counted, RoundRecord, Store, StoredTask

log = logging.getLogger("disco.runtime")

ResultT = TypeVar("ResultT")


class Keeper:
    """Runs a store's methods in the order of the calls, in a worker thread if the store waits for a disk.

    A call that has begun is finished even if its caller is cancelled; errors are the store's own. What a call leaves
    to tidy up is tidied after its caller has been answered, and before the next call.
    """

    def __init__(self, store: Store, metrics: Metrics | None = None) -> None:
        """Own `store` from now on; `metrics` are told how long its methods take."""
        self._store = store
        self._metrics = metrics or Metrics()
        self._limiter = trio.CapacityLimiter(1)

    @trio.lowlevel.enable_ki_protection
    async def _call(self, operation: str, call: Callable[[], ResultT]) -> ResultT:
        def timed() -> ResultT:
            with self._metrics.timed("store_seconds", operation=operation):
                return call()

        if not self._store.durable:
            await trio.lowlevel.checkpoint_if_cancelled()
            return timed()
        # What `trio.to_thread.run_sync` does, without what makes it a third slower here: a name for the thread, a
        # copy of the context variables, a pass through the loop before it begins.
        turn = _Turn(self._store, self._limiter)
        await turn.take()
        try:
            trio.lowlevel.start_thread_soon(timed, turn.report)
        except BaseException:
            turn.end()
            raise
        answer: ResultT = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return answer

    def _require_durable(self, task: Task) -> None:
        """Check that a task may be kept by this store.

        Raises:
            InvalidTask: it has a privacy budget, which a restart must not give back.
        """
        if not self._store.durable and recipe_of(task).privacy is not None:
            why = "is spent for good, and this server keeps all in memory: serve the task with storage.medium = disk"
            raise InvalidTask([Problem("task.aggregation.privacy.epsilonBudget", why)])

    async def tasks(self) -> Sequence[StoredTask]:
        """See `Store.tasks`."""
        return await self._call("tasks", self._store.tasks)

    async def add_task(self, task: Task, model: Model, source: str, now: float) -> None:
        """See `Store.add_task`.

        Raises:
            InvalidTask: see `_require_durable`.
        """
        self._require_durable(task)
        await self._call("add_task", lambda: self._store.add_task(task, model, source, now))

    async def update_task(self, task: Task) -> None:
        """See `Store.update_task`.

        Raises:
            InvalidTask: see `_require_durable`.
        """
        self._require_durable(task)
        await self._call("update_task", lambda: self._store.update_task(task))

    async def remove_task(self, task: TaskID) -> None:
        """See `Store.remove_task`."""
        await self._call("remove_task", lambda: self._store.remove_task(task))

    async def model(self, task: TaskID) -> Model:
        """See `Store.model`."""
        return await self._call("model", lambda: self._store.model(task))

    async def save_round(
        self,
        task: TaskID,
        record: RoundRecord,
        weights: Weights,
        state: State | None = None,
        counted: Counted = NOTHING_COUNTED,
        cost: float = 0.0,
    ) -> None:
        """See `Store.save_round`."""
        await self._call(
            "save_round", lambda: self._store.save_round(task, record, weights, state, counted, cost)
        )

    async def add_figures(
        self, task: TaskID, number: int, figures: Mapping[str, float], marks: Mapping[str, Mark] | None = None
    ) -> None:
        """See `Store.add_figures`."""
        await self._call("add_figures", lambda: self._store.add_figures(task, number, figures, marks))

    async def marks(self, task: TaskID) -> Mapping[str, Mark]:
        """See `Store.marks`."""
        return await self._call("marks", lambda: self._store.marks(task))

    async def spent(self, task: TaskID) -> float:
        """See `Store.spent`."""
        return await self._call("spent", lambda: self._store.spent(task))

    async def counted(self, task: TaskID) -> Mapping[str, int]:
        """See `Store.counted`."""
        return await self._call("counted", lambda: self._store.counted(task))

    async def latest_state(self, task: TaskID) -> State:
        """See `Store.latest_state`."""
        return await self._call("latest_state", lambda: self._store.latest_state(task))

    async def latest(self, task: TaskID) -> tuple[RoundRecord, Weights, tuple[int, int]]:
        """Return the newest round with its weights, and the totals of rounds and contributions."""

        def read() -> tuple[RoundRecord, Weights, tuple[int, int]]:
            record = self._store.latest_round(task)
            return record, self._store.round_weights(task, record.number), self._store.totals(task)

        return await self._call("latest", read)

    async def rounds(self, task: TaskID) -> Sequence[RoundRecord]:
        """See `Store.rounds`."""
        return await self._call("rounds", lambda: self._store.rounds(task))

    async def round_weights(self, task: TaskID, number: int) -> Weights:
        """See `Store.round_weights`."""
        return await self._call("round_weights", lambda: self._store.round_weights(task, number))

    async def reset_rounds(self, task: TaskID) -> None:
        """See `Store.reset_rounds`."""
        await self._call("reset_rounds", lambda: self._store.reset_rounds(task))

    async def close(self) -> None:
        """See `Store.close`; waits for the calls before it."""
        with trio.CancelScope(shield=True):
            await self._call("close", self._store.close)


class _Turn:
    """A caller's turn with the store: its call, and the tidying up after it."""

    __slots__ = ("_limiter", "_store", "_task", "_token")

    def __init__(self, store: Store, limiter: trio.CapacityLimiter) -> None:
        self._store, self._limiter = store, limiter
        self._task = trio.lowlevel.current_task()
        self._token = trio.lowlevel.current_trio_token()

    async def take(self) -> None:
        """Wait until those before are through."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._limiter.acquire_on_behalf_of_nowait(self)
        except trio.WouldBlock:
            await self._limiter.acquire_on_behalf_of(self)

    def report(self, answer: Any) -> None:
        """Hand over from the worker thread what the call returned or raised, an `outcome.Outcome`."""
        self._token.run_sync_soon(self._answer, answer)

    def end(self) -> None:
        """Let the next one."""
        self._limiter.release_on_behalf_of(self)

    def _answer(self, answer: Any) -> None:
        trio.lowlevel.reschedule(self._task, answer)
        if not self._store.untidy:
            self.end()
            return
        try:
            trio.lowlevel.start_thread_soon(self._tidy, self._report_tidy)
        except RuntimeError:  # no thread can be started; the next turn may have one
            self.end()

    def _tidy(self) -> None:
        try:
            self._store.tidy()
        except Exception:
            log.exception("what rounds have left behind cannot be tidied up")

    def _report_tidy(self, _: object) -> None:
        with suppress(trio.RunFinishedError):  # nobody waits for it
            self._token.run_sync_soon(self.end)
