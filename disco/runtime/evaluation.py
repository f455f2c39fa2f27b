"""Evaluates a task's models one after the other, beside its training, which never waits for it.

    Training ── offer ──▶ the newest model that waits ──▶ a scorer's process ──▶ figures ──▶ Judge.add, by the owner

When models come faster than they are evaluated, only the newest is. A scorer that crashes, hangs or answers nonsense
costs its round the figures and nothing else; its process is started again for the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import trio

from disco.core.names import TaskID
from disco.core.weights import Weights
from disco.errors import DiscoError, ScorerFailed, UnknownRound
from disco.metrics import Metrics
from disco.runtime.journal import Journal
from disco.runtime.scorer import Bounds, ScorerProcess, scorer_process
from disco.storage.contract import RoundRecord

log = logging.getLogger("disco.runtime")

#: Takes a round's figures, and keeps them.
Deliver = Callable[[RoundRecord, Mapping[str, float]], Awaitable[None]]


class Evaluator:
    """Evaluates one task's rounds; `run` is its task.

    Args:
        task: whose.
        scorer: pickled; it has a method `evaluate`.
        bounds: what its process may use.
        metrics: count what became of evaluations.
    """

    def __init__(self, task: TaskID, scorer: bytes, bounds: Bounds, metrics: Metrics) -> None:
        self._task = task
        self._scorer = scorer
        self._bounds = bounds
        self._metrics = metrics
        self._waiting: tuple[RoundRecord, Weights] | None = None
        self._number = 0  # of the newest round that was begun with
        self._bell = trio.Event()
        self.journal = Journal()
        self.trouble = ""  # why the newest evaluation has no figures, as a sentence

    def offer(self, record: RoundRecord, weights: Weights) -> None:
        """Have a round's model evaluated as soon as the one before it is; it takes the place of one that waits."""
        if self._waiting is not None:
            skipped, newer = self._waiting[0].number, record.number
            log.info("task=%s round=%s is not evaluated: round %s is newer", self._task, skipped, newer)
            self._metrics.count("evaluations", task=self._task, outcome="skipped")
        self._waiting = (record, weights)
        self._bell.set()

    async def run(self, deliver: Deliver) -> None:
        """Evaluate what is offered, until cancelled. Nothing that a scorer or `deliver` does ends it."""
        while True:
            try:
                async with AsyncExitStack() as stack:
                    await self._serve(stack, deliver)
            except ScorerFailed as error:
                self._fail(str(error))
            except DiscoError as error:
                self._fail(f"its figures cannot be kept: {error}")
            except Exception as error:  # training must not suffer from an error here
                log.exception("task=%s evaluation failed", self._task)
                self._fail(f"an error of the server's, {type(error).__name__}")

    async def _serve(self, stack: AsyncExitStack, deliver: Deliver) -> None:
        """Evaluate with one process, which is started when there is something to do.

        Raises:
            DiscoError: an evaluation came to nothing.
        """
        process: ScorerProcess | None = None
        while True:
            record, weights = await self._next()
            if process is None:
                process = await stack.enter_async_context(scorer_process(self._scorer, self._bounds))
            with self._metrics.timed("evaluation_seconds", task=self._task):
                figures = await process.evaluate(weights)
            del weights
            outcome = await self._deliver(deliver, record, figures)
            self._metrics.count("evaluations", task=self._task, outcome=outcome)
            self._say("")

    async def _deliver(self, deliver: Deliver, record: RoundRecord, figures: Mapping[str, float]) -> str:
        """Have figures kept, and return what became of them: the round may have been pruned, or reset, meanwhile."""
        try:
            await deliver(record, figures)
        except UnknownRound as error:
            log.info("task=%s round=%s its figures are dropped: %s", self._task, record.number, error)
            return "dropped"
        return "done"

    async def _next(self) -> tuple[RoundRecord, Weights]:
        while self._waiting is None:
            self._bell = trio.Event()
            await self._bell.wait()
        taken, self._waiting = self._waiting, None
        self._number = taken[0].number
        return taken

    def _fail(self, reason: str) -> None:
        self._metrics.count("evaluations", task=self._task, outcome="failed")
        log.error("task=%s round=%s is not evaluated: %s", self._task, self._number, reason)
        self._say(f"round {self._number} is not evaluated: {reason}")

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self.journal.changed()
