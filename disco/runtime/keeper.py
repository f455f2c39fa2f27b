"""The store, seen from Trio: one caller at a time, in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from disco.core.events import TaskID
from disco.core.model import Model
from disco.core.task import Task
from disco.core.weights import Weights
from disco.storage.contract import RoundRecord, Store, StoredTask

ResultT = TypeVar("ResultT")


class Keeper:
    """Runs a store's methods in a worker thread, in the order of the calls.

    A call that has begun is finished even if its caller is cancelled; errors are the store's own.
    """

    def __init__(self, store: Store) -> None:
        """Own `store` from now on."""
        self._store = store
        self._turn = trio.CapacityLimiter(1)

    async def _call(self, call: Callable[[], ResultT]) -> ResultT:
        return await trio.to_thread.run_sync(call, limiter=self._turn)

    async def tasks(self) -> Sequence[StoredTask]:
        """See `Store.tasks`."""
        return await self._call(self._store.tasks)

    async def add_task(self, task: Task, model: Model, source: str, now: float) -> None:
        """See `Store.add_task`."""
        await self._call(lambda: self._store.add_task(task, model, source, now))

    async def update_task(self, task: Task) -> None:
        """See `Store.update_task`."""
        await self._call(lambda: self._store.update_task(task))

    async def model(self, task: TaskID) -> Model:
        """See `Store.model`."""
        return await self._call(lambda: self._store.model(task))

    async def save_round(self, task: TaskID, record: RoundRecord, weights: Weights) -> None:
        """See `Store.save_round`."""
        await self._call(lambda: self._store.save_round(task, record, weights))

    async def latest(self, task: TaskID) -> tuple[RoundRecord, Weights, tuple[int, int]]:
        """Return the newest round with its weights, and the totals of rounds and contributions."""

        def read() -> tuple[RoundRecord, Weights, tuple[int, int]]:
            record = self._store.latest_round(task)
            return record, self._store.round_weights(task, record.number), self._store.totals(task)

        return await self._call(read)

    async def rounds(self, task: TaskID) -> Sequence[RoundRecord]:
        """See `Store.rounds`."""
        return await self._call(lambda: self._store.rounds(task))

    async def reset_rounds(self, task: TaskID) -> None:
        """See `Store.reset_rounds`."""
        await self._call(lambda: self._store.reset_rounds(task))

    async def close(self) -> None:
        """See `Store.close`; waits for the calls before it."""
        with trio.CancelScope(shield=True):
            await self._call(self._store.close)
