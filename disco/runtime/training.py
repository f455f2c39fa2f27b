"""What a federated session wants done beside sending: sum updates, close rounds, keep them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import trio

from disco.core.aggregation import Aggregator
from disco.core.events import (
    Aggregate,
    Aggregated,
    AggregationFailed,
    Contributed,
    Effect,
    Event,
    Fold,
    Folded,
    FoldRefused,
    Reset,
    RoundFigures,
    TaskID,
)
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, StorageError
from disco.runtime.coordinator import THREAD_PARAMETERS
from disco.runtime.keeper import Keeper
from disco.storage.contract import RoundRecord

log = logging.getLogger("disco.runtime")


class Training:
    """Performs `Fold`, `Aggregate` and `Reset` for one task, in worker threads where they take long."""

    def __init__(
        self,
        task: TaskID,
        aggregator: Aggregator,
        keeper: Keeper,
        initial: Weights,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make one; `begin` before the first effect. `clock` gives Unix seconds for the records."""
        self._task = task
        self._aggregator = aggregator
        self._keeper = keeper
        self._initial = initial
        self._clock = clock
        self.closed_at = 0.0

    def begin(self, current: Weights, closed_at: float) -> None:
        """Start the current round from its global model, made at `closed_at` (Unix seconds)."""
        self._aggregator.begin(current)
        self.closed_at = closed_at

    async def perform(self, effect: Effect) -> Event | None:
        """Perform one effect and return the event that answers it."""
        match effect:
            case Fold(contribution):
                return await self._fold(contribution)
            case Aggregate(figures):
                return await self._aggregate(figures)
            case Reset():
                await self._keeper.reset_rounds(self._task)
                self.begin(self._initial, self._clock())
                log.info("task=%s round=0 started anew: its last participant left", self._task)
                return None
            case _:
                raise NotImplementedError(type(effect).__name__)

    async def _fold(self, contribution: Contributed) -> Event:
        update = contribution.update
        try:
            if update.parameters > THREAD_PARAMETERS:
                await trio.to_thread.run_sync(self._aggregator.add, update, 1.0)
            else:
                self._aggregator.add(update, 1.0)
        except InvalidUpdate as error:
            return FoldRefused(contribution, str(error))
        return Folded(contribution)

    async def _aggregate(self, figures: RoundFigures) -> Event:
        if self._initial.parameters > THREAD_PARAMETERS:
            weights = await trio.to_thread.run_sync(self._aggregator.finish)
        else:
            weights = self._aggregator.finish()
        record = RoundRecord(
            number=figures.number,
            closed_at=self._clock(),
            participants=figures.participants,
            contributions=figures.contributions,
            seconds=figures.seconds,
        )
        try:
            await self._keeper.save_round(self._task, record, weights)
        except StorageError as error:
            log.error("task=%s round=%s cannot be stored: %s", self._task, figures.number, error)
            return AggregationFailed(str(error))
        self.begin(weights, record.closed_at)
        log.info(
            "task=%s round=%s aggregated: contributions=%s participants=%s seconds=%.3f",
            self._task,
            figures.number,
            figures.contributions,
            figures.participants,
            figures.seconds,
        )
        return Aggregated(figures.number, weights)
