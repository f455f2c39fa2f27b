"""What a masked session wants done beside sending: sum what is masked, unmask the sum, and the rest as ever."""

from __future__ import annotations

import logging

import trio

from disco.core.effects import Effect
from disco.core.events import Event
from disco.core.masking.total import MaskedTotal
from disco.core.masking.words import (
    Abandon,
    BeginSum,
    FoldMasked,
    MaskedContributed,
    MaskedFolded,
    Unmask,
    Unmasked,
    UnmaskingFailed,
)
from disco.core.names import TaskID
from disco.errors import ProtocolViolation
from disco.runtime.letters import LATER, Later
from disco.runtime.lines import THREAD_PARAMETERS
from disco.runtime.training import Training

log = logging.getLogger("disco.runtime")


class MaskedTraining:
    """Performs the effects of a `MaskedSession` for one task, in worker threads where they take long.

    Args:
        task: whose they are.
        training: performs what masked sessions have in common with others.
    """

    def __init__(self, task: TaskID, training: Training) -> None:
        self._task = task
        self._training = training
        self._total = MaskedTotal(0)

    def perform_now(self, effect: Effect) -> Event | Later | None:
        """Leave everything for later; see `Performer.perform_now`."""
        return LATER

    async def perform(self, effect: Effect) -> Event | None:
        """Perform one effect and return the event that answers it."""
        match effect:
            case BeginSum(parameters):
                self._total = MaskedTotal(parameters)
            case FoldMasked(contribution):
                return await self._fold(contribution)
            case Unmask():
                return await self._unmask(effect)
            case Abandon(round_, reason):
                self._total = MaskedTotal(0)
                self._training.metrics.count("masked_rounds_abandoned", task=self._task)
                log.warning("task=%s round=%s begins again: %s", self._task, round_, reason)
            case _:
                return await self._training.perform(effect)
        return None

    async def settle(self) -> None:
        """See `Performer.settle`."""
        await self._training.settle()

    async def _fold(self, contribution: MaskedContributed) -> Event:
        with self._training.tracer.span("disco.fold", {"masked": True}):
            if contribution.masked.size > THREAD_PARAMETERS:
                await trio.to_thread.run_sync(self._total.add, contribution.masked)
            else:
                self._total.add(contribution.masked)
        return MaskedFolded(contribution)

    async def _unmask(self, plan: Unmask) -> Event:
        """Unmask in a thread: opening secrets takes a while for large rounds, too, whatever the model's size."""
        dropped = len(plan.mask_keys)
        about = {"survivors": len(plan.survivors), "dropped": dropped}
        with self._training.tracer.span("disco.unmask", about):
            try:
                moved = await trio.to_thread.run_sync(self._total.unmask, plan)
            except ProtocolViolation as error:
                return UnmaskingFailed(str(error))
            finally:
                self._total = MaskedTotal(0)
        log.info(
            "task=%s unmasked a sum: contributions=%s dropped=%s", self._task, len(plan.survivors), dropped
        )
        return Unmasked(moved)
