"""What a federated session wants done beside sending: sum updates, close rounds, keep them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

import trio

from disco.core.aggregation.norm_bound import require_norm
from disco.core.aggregation.strategy import Strategy
from disco.core.effects import Aggregate, Effect, Fold, Reset, RoundFigures
from disco.core.events import Aggregated, AggregationFailed, Contributed, Event, Folded, FoldRefused, Restored
from disco.core.names import TaskID
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, StorageError
from disco.metrics import Metrics
from disco.runtime.journal import Journal
from disco.runtime.judging import Judge
from disco.runtime.keeper import Keeper
from disco.runtime.letters import LATER, Later
from disco.runtime.lines import THREAD_PARAMETERS
from disco.runtime.tracing import NoTracer, Tracer
from disco.storage.contract import Counted, RoundRecord

log = logging.getLogger("disco.runtime")


class Training:
    """Performs `Fold`, `Aggregate` and `Reset` for one task, in worker threads where they take long."""

    def __init__(
        self,
        task: TaskID,
        strategy: Strategy,
        keeper: Keeper,
        initial: Weights,
        judge: Judge,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make one; `begin` before the first effect. `judge` keeps figures; `clock` gives Unix seconds for records."""
        self._task = task
        self._strategy = strategy
        self._keeper = keeper
        self._initial = initial
        self._clock = clock
        self._current = initial
        self._begun = False  # a round, since the last `settle`
        self.judge = judge
        self.on_model: Callable[[RoundRecord, Weights], None] = lambda record, weights: None
        self.max_norm = math.inf
        self.closed_at = 0.0
        self.trouble = ""
        self.journal = Journal()
        self.tracer: Tracer = NoTracer()
        self.metrics = Metrics()

    def begin(self, current: Weights, round_: int, closed_at: float) -> None:
        """Start the current round from its global model, made at `closed_at` (Unix seconds)."""
        self._strategy.begin(current, round_)
        self._begun = True
        self.judge.begin()
        self._current = current
        self.trouble = ""
        self.closed_at = closed_at

    def forget(self) -> None:
        """Drop what the strategy remembers of earlier rounds; `begin` next."""
        self._strategy.restore({}, self._initial.parameters)

    def perform_now(self, effect: Effect) -> Event | Later | None:
        """Sum a small contribution; see `Performer.perform_now`."""
        if not isinstance(effect, Fold) or effect.contribution.update.parameters > THREAD_PARAMETERS:
            return LATER
        contribution = effect.contribution
        with self.tracer.span("disco.fold", {"round": contribution.round}):
            try:
                self._add(contribution)
            except (InvalidUpdate, StorageError) as error:
                return self._refuse(contribution, error)
        return Folded(contribution)

    async def perform(self, effect: Effect) -> Event | None:
        """Perform one effect and return the event that answers it."""
        match effect:
            case Fold(contribution):
                with self.tracer.span("disco.fold", {"round": contribution.round}):
                    return await self._fold(contribution)
            case Aggregate(figures, keys, since):
                with self.tracer.span("disco.aggregate", {"round": figures.number}):
                    return await self._aggregate(figures, Counted(keys, since))
            case Reset():
                await self._keeper.reset_rounds(self._task)
                self.forget()
                await self.judge.resume()
                self.begin(self._initial, 0, self._clock())
                self.journal.reset()
                log.info("task=%s round=0 started anew: its last participant left", self._task)
                return None
            case _:
                raise NotImplementedError(type(effect).__name__)

    async def settle(self) -> None:
        """Prepare the next round, if one has begun; see `Performer.settle`."""
        if not self._begun:
            return
        self._begun = False
        if self._initial.parameters > THREAD_PARAMETERS:
            await trio.to_thread.run_sync(self._strategy.prepare)
        else:
            self._strategy.prepare()

    async def _fold(self, contribution: Contributed) -> Event:
        try:
            await trio.to_thread.run_sync(self._add, contribution)
        except (InvalidUpdate, StorageError) as error:
            return self._refuse(contribution, error)
        return Folded(contribution)

    def _refuse(self, contribution: Contributed, error: InvalidUpdate | StorageError) -> FoldRefused:
        if isinstance(error, InvalidUpdate):
            return FoldRefused(contribution, str(error))
        log.error("task=%s round=%s a contribution cannot be held: %s", self._task, contribution.round, error)
        return FoldRefused(contribution, f"the server has no room to hold it: {error}")

    def _add(self, contribution: Contributed) -> None:
        require_norm(contribution.update, self._current, self.max_norm)
        self._strategy.add(contribution)
        self.judge.take(contribution)

    async def _aggregate(self, figures: RoundFigures, counted: Counted) -> Event:
        try:
            walked = self._strategy.walked(figures.contributions) * self._initial.parameters
            if walked > THREAD_PARAMETERS:
                weights = await trio.to_thread.run_sync(self._strategy.finish)
            else:
                weights = self._strategy.finish()
        except InvalidUpdate as error:
            self.trouble = f"round {figures.number} cannot be aggregated and is tried again: {error}"
            self.journal.changed()
            log.error("task=%s round=%s cannot be aggregated: %s", self._task, figures.number, error)
            return AggregationFailed(str(error))
        record = RoundRecord(
            number=figures.number,
            closed_at=self._clock(),
            participants=figures.participants,
            contributions=figures.contributions,
            seconds=figures.seconds,
            figures={**self._strategy.figures(), **self.judge.reported()},
        )
        try:
            with self.tracer.span("disco.persist", {"round": record.number}):
                await self._keeper.save_round(
                    self._task, record, weights, self._strategy.state(), counted, self._strategy.cost()
                )
        except StorageError as error:
            self.trouble = f"round {figures.number} cannot be stored and is tried again: {error}"
            self.journal.changed()
            log.error("task=%s round=%s cannot be stored: %s", self._task, figures.number, error)
            return AggregationFailed(str(error))
        self.begin(weights, record.number, record.closed_at)
        self._tell(record)
        await self.judge.see(record)
        self.on_model(record, weights)
        log.info(
            "task=%s round=%s aggregated: contributions=%s participants=%s seconds=%.3f",
            self._task,
            figures.number,
            figures.contributions,
            figures.participants,
            figures.seconds,
        )
        return Aggregated(figures.number, weights, self._end(figures.number))

    @property
    def ended(self) -> str:
        """Why the training has come to its end, as a sentence; empty while it goes on."""
        return self._strategy.ended() or self.judge.ended

    def _end(self, round_: int) -> str:
        if ended := self.ended:
            log.warning("task=%s round=%s the training has ended: %s", self._task, round_, ended)
        return ended

    def _tell(self, record: RoundRecord) -> None:
        self.journal.closed(record)
        self.metrics.count("rounds", task=self._task)
        self.metrics.count("round_contributions", record.contributions, task=self._task)
        self.metrics.observe("round_seconds", record.seconds, task=self._task)

    async def roll_back(self, number: int, participants: int) -> Restored:
        """Make an earlier round's model the newest, as a round of its own: rounds only grow, clients never go back.

        What was contributed to the open round is dropped, and so is what the strategy remembers.

        Args:
            number: the round whose model comes back.
            participants: present now.

        Raises:
            UnknownRound: the round is not on disk.
            StorageError: the disk refused; nothing has changed.
        """
        weights = await self._keeper.round_weights(self._task, number)
        latest, _, _ = await self._keeper.latest(self._task)
        figures = {"restored": float(number)}
        record = RoundRecord(latest.number + 1, self._clock(), participants, 0, 0.0, figures)
        await self._keeper.save_round(self._task, record, weights)
        self.forget()
        self.begin(weights, record.number, record.closed_at)
        self.journal.closed(record)
        await self.judge.restart(record.number)
        self.on_model(record, weights)
        log.warning("task=%s round=%s restored from round %s", self._task, record.number, number)
        return Restored(record.number, weights, self._end(record.number))
