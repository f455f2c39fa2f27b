"""Runs a task's evaluator beside its coordinator, which hears of it in errands only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import trio

from disco.core.evaluation import EVALUATION
from disco.runtime.coordinator import Coordinator
from disco.runtime.evaluation import Evaluator
from disco.runtime.opening import EVERYBODY, TrainingSession
from disco.runtime.training import Training
from disco.storage.contract import RoundRecord


async def run_with(
    evaluator: Evaluator, coordinator: Coordinator[TrainingSession], training: Training
) -> None:
    """Run a coordinator, and evaluate the rounds that it closes, beginning with the newest one on disk if that was not.

    What the coordinator raises comes out as it is.
    """

    async def deliver(record: RoundRecord, figures: Mapping[str, float]) -> None:
        await coordinator.run_errand(partial(training.judge.add, record, figures), EVERYBODY)

    evaluator.journal = training.judge.journal = training.journal
    training.on_model = evaluator.offer
    newest = training.journal.rounds[-1]
    if not any(name.startswith(EVALUATION) for name in newest.figures):
        evaluator.offer(newest, coordinator.sessions[EVERYBODY].weights)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(evaluator.run, deliver)
        try:
            await coordinator.run()
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
